"""Omni3D's JSON."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.spatial.transform import Rotation

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.data.datasets.omni3d import load_omni3d
from d2road.evaluation.omni3d_evaluator import Omni3DEvaluator
from d2road.structures.upright_boxes import box_corners, project_boxes

K = [[700.0, 0, 320], [0, 710, 240], [0, 0, 1]]
TURN = Rotation.from_euler("yxz", [0.4, 0.1, -0.05]).as_matrix()


def _vertices(center, dimensions_whl, rotation) -> np.ndarray:
    """(8, 3) as DATA.md draws them: v0 to v3 the near side from top left clockwise, v4 to v7 the far side."""
    w, h, l = dimensions_whl  # noqa: E741
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    local = np.array([[x * l, y * h, z * w] for z in (-0.5, 0.5) for x, y in square])
    return local @ np.asarray(rotation).T + center


def _annotation(number: int, image: int, category: int, center=(1.0, 0.5, 12.0), **changes) -> dict:
    dimensions, rotation = [1.8, 1.5, 4.2], TURN
    vertices = _vertices(center, dimensions, rotation)
    pixels = vertices @ np.array(K).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    box = [*pixels.min(axis=0), *pixels.max(axis=0)]
    return {
        "id": number, "image_id": image, "category_id": category, "category_name": "", "valid3D": True,
        "bbox2D_tight": [-1] * 4, "bbox2D_proj": box, "bbox2D_trunc": [-1] * 4, "bbox3D_cam": vertices.tolist(),
        "center_cam": list(center), "dimensions": dimensions, "R_cam": rotation.tolist(), "behind_camera": False,
        "visibility": -1, "truncation": -1, "segmentation_pts": -1, "lidar_pts": -1, "depth_error": -1, **changes,
    }  # fmt: skip


def _content(annotations: list[dict], name: str = "KITTI Test") -> dict:
    image = {"width": 640, "height": 480, "K": K, "src_90_rotate": 0, "src_flagged": False, "dataset_id": 0}
    return {
        "info": {"id": 0, "source": "x", "name": name, "split": "Test", "version": "0.1", "url": ""},
        "images": [{"id": i, "file_path": f"{i}.jpg", **image} for i in (8, 3)],
        "categories": [{"id": 7, "name": "bus"}, {"id": 2, "name": "car"}, {"id": 90, "name": "dontcare"}],
        "annotations": annotations,
    }


@pytest.fixture
def save(tmp_path):
    """Writes content and returns the name of the data set."""

    def write(content: dict) -> str:
        path = tmp_path / f"omni_{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps(content))
        return f"omni3d:{path}:{tmp_path}"

    return write


def test_boxes_come_back(save, caplog):
    name = save(_content([_annotation(1, 3, 7), _annotation(2, 3, 90), _annotation(3, 8, 2, center=(-2, 1, 30))]))
    register_by_name(name)
    first, second = DatasetCatalog.get(name)
    assert "differs" not in caplog.text
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["car", "bus"]
    assert (metadata.ry_frame, metadata.evaluator_type, metadata.exhaustively_labelled) == ("camera", "omni3d", True)
    assert [first["image_id"], second["image_id"]] == [3, 8]
    assert [a["category_id"] for a in first["annotations"]] == [1]
    assert [a["type"] for a in first["ignored_annotations"]] == ["dontcare"]
    camera = read_camera(first)
    np.testing.assert_array_equal(camera.K, K)
    for record, center in ((first, (1.0, 0.5, 12.0)), (second, (-2, 1, 30))):
        (a,) = record["annotations"]
        assert a["has_3d"] and not a["iscrowd"] and not a["ignore_in_test"]
        corners = box_corners(a["location"], a["dimensions_hwl"], 0.0, np.array(a["box_rotation"]))
        vertices = _vertices(center, [1.8, 1.5, 4.2], TURN)
        assert sorted(map(tuple, corners[0].round(6))) == sorted(map(tuple, vertices.round(6)))
        np.testing.assert_allclose(project_boxes(camera, corners)[0][0], a["bbox"], atol=1e-9)
        np.testing.assert_allclose(np.mean(corners[0, :4], axis=0), a["location"], atol=1e-12)
        heading = TURN[:, 0]
        assert a["rotation_y"] == pytest.approx(np.arctan2(-heading[2], heading[0]))


def test_2d_boxes_and_validity(save):
    trunc = {"bbox2D_trunc": [10, 20, 100, 200]}
    rows = [
        _annotation(1, 3, 2, **trunc),
        _annotation(2, 3, 2, valid3D=False, dimensions=[-1] * 3, bbox2D_proj=[-1] * 4, bbox2D_tight=[5, 6, 70, 80]),
        _annotation(3, 3, 2, behind_camera=True, **trunc),
        _annotation(4, 3, 2, valid3D=False, bbox2D_proj=[-1] * 4),
    ]
    _, path, folder = save(_content(rows)).split(":")
    annotations = load_omni3d(path, folder)[0]["annotations"]
    assert [a["bbox"] for a in annotations] == [[10, 20, 100, 200], [5, 6, 70, 80], [10, 20, 100, 200]]
    assert [(a["has_3d"], a["iscrowd"], a["ignore_in_test"]) for a in annotations] == [
        (True, 0, False),
        (False, 1, True),
        (False, 1, True),
    ]


@pytest.mark.parametrize(
    ("change", "crowd", "ignored"),
    [
        ({"truncation": 0.2, "visibility": 0.5}, 0, False),
        ({"truncation": 0.4}, 0, True),
        ({"truncation": 0.8}, 1, True),
        ({"visibility": 0.3}, 0, True),
        ({"visibility": 0.2}, 1, True),
        ({"lidar_pts": 0}, 1, True),
        ({"segmentation_pts": 0}, 1, True),
        ({"depth_error": 0.6}, 1, True),
        ({"bbox2D_trunc": [0, 0, 20, 27]}, 0, True),  # less than 1/16 of the height, more than 1/20
        ({"bbox2D_trunc": [0, 0, 20, 20]}, 1, True),
    ],
)
def test_rules_of_training_and_evaluation(save, change, crowd, ignored):
    _, path, folder = save(_content([_annotation(1, 3, 2, **change)])).split(":")
    (a,) = load_omni3d(path, folder)[0]["annotations"]
    assert (a["iscrowd"], a["ignore_in_test"]) == (crowd, ignored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, r"annotation id 1 belongs to image_id 5"),
        ({"category_id": 5}, r"annotation id 1 has category_id 5"),
        ({"R_cam": [[1, 0, 0], [0, 1, 0]]}, r"annotation id 1: R_cam is .*, expected 9 finite numbers"),
        ({"R_cam": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, r"annotation id 1: R_cam is no rotation"),
        ({"center_cam": [1, 2, float("nan")]}, r"annotation id 1: center_cam"),
        ({"bbox2D_proj": [1, 2, 3]}, r"annotation id 1: bbox2D_proj is \[1, 2, 3\], expected 4"),
        ({"bbox2D_trunc": 7}, "annotation id 1: bbox2D_trunc is 7, expected 4"),
        ({"truncation": "0.1"}, "annotation id 1: 'truncation' is the text '0.1', expected a finite number"),
        ({"valid3D": "false"}, "annotation id 1: 'valid3D' is the text 'false', expected true or false"),
        ({"dimensions": ["a", 1, 2]}, "annotation id 1: dimensions is "),
        ({"category_id": 1.0}, "annotation id 1: 'category_id' is the number 1.0, expected a whole number or a text"),
    ],
)
def test_wrong_annotations_are_named(save, change, message):
    _, path, folder = save(_content([{**_annotation(1, 3, 2), **change}])).split(":")
    with pytest.raises(ValueError, match=message):
        load_omni3d(path, folder)


def test_wrong_images_and_mixed_up_dimensions_are_named(save, caplog):
    content = _content([_annotation(1, 3, 2, dimensions=[4.2, 1.5, 1.8])])
    _, path, folder = save(content).split(":")
    load_omni3d(path, folder)
    assert "1 of 1 annotations have a bbox3D_cam that differs from center_cam, dimensions [w, h, l]" in caplog.text
    del content["images"][0]["K"]
    _, path, folder = save(content).split(":")
    with pytest.raises(ValueError, match=r"images\[0\] has no 'K'"):
        load_omni3d(path, folder)
    with pytest.raises(FileNotFoundError, match="image folder nowhere"):
        load_omni3d(path, "nowhere")


def test_data_that_is_not_exhaustively_labelled(save):
    name = save(_content([], "Objectron Test"))
    register_by_name(name)
    assert [r["annotations"] for r in DatasetCatalog.get(name)] == [[], []]
    assert not MetadataCatalog.get(name).exhaustively_labelled


OFFICIAL = {"SUNRGBD": "SUNRGBD/kv2/kinect2data/000002/image.jpg", "KITTI": "KITTI_object/training/image_2/000008.png"}


def _from(*file_paths: str, info=None) -> dict:
    """Content whose images have these paths, as Omni3D's files have them, and dataset ids 0, 1, ..."""
    content = _content([])
    content["images"] = [
        {**content["images"][0], "id": i, "file_path": path, "dataset_id": i} for i, path in enumerate(file_paths)
    ]
    content.pop("info")
    return content if info is None else {**content, "info": info}


@pytest.mark.parametrize(
    ("content", "whole", "sparse"),
    [
        (_from(OFFICIAL["SUNRGBD"]), False, {0}),
        (_from(OFFICIAL["SUNRGBD"], info={}), False, {0}),
        (_from(OFFICIAL["SUNRGBD"], info=[{"id": 0, "name": "SUN RGB-D Test"}]), False, {0}),
        (_from(OFFICIAL["KITTI"]), True, set()),
        (_from("a.jpg", info=[{"name": "Objectron Val"}]), False, {0}),
        (_from("a.jpg", "b.jpg", info=[{"id": 1, "name": "SUNRGBD Test"}, {"id": 0, "name": "KITTI"}]), False, {1}),
        (_from(OFFICIAL["KITTI"], OFFICIAL["SUNRGBD"]), False, {1}),
        (_from("a.jpg", info={"name": "my yard"}), True, set()),
        (_from("a.jpg", info={"exhaustively_labelled": False}), False, {0}),
        (_from("a.jpg"), None, set()),
        (_from("a.jpg", info={"name": ""}), None, set()),
    ],
)
def test_which_data_an_image_is_from_decides_whether_it_is_wholly_labelled(save, content, whole, sparse):
    name = save(content)
    register_by_name(name)
    DatasetCatalog.get(name)
    metadata = MetadataCatalog.get(name)
    assert (metadata.exhaustively_labelled, metadata.sparsely_labelled) == (whole, sparse)


def test_the_name_of_the_file_tells_too(tmp_path):
    (tmp_path / "Objectron_test.json").write_text(json.dumps(_from("a.jpg")))
    name = f"omni3d:{tmp_path}/Objectron_test.json:{tmp_path}"
    register_by_name(name)
    DatasetCatalog.get(name)
    assert MetadataCatalog.get(name).exhaustively_labelled is False


def test_data_that_tells_nothing_is_not_scored(save):
    name = save(_from("a.jpg"))
    register_by_name(name)
    with pytest.raises(ValueError, match=r"does not tell .*exhaustively_labelled"):
        Omni3DEvaluator(name, "")
