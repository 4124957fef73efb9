"""DAIR-V2X-I's files, written from known geometry, are read back to that geometry."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from scipy.spatial.transform import Rotation

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.data.datasets.dair import load_dair
from d2road.data.datasets.dair_files import nearest_rotation
from d2road.data.datasets.rope3d import load_rope3d
from d2road.data.input_checks import collected_defects
from d2road.structures.upright_boxes import box_corners, project_boxes

K = np.array([[1500.0, 0, 960], [0, 1520, 540], [0, 0, 1]])
# Axes of the levelled camera frame (right, down, forward) in a LiDAR frame (forward, left, up).
LEVEL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
ROAD_Z = -1.7  # the road in the frame of the virtual LiDAR


def _pose(pitch_deg: float, roll_deg: float, yaw_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """LiDAR -> camera: rotation and translation of a camera 6 m above the LiDAR's origin."""
    turn = Rotation.from_euler("zxy", [roll_deg, pitch_deg, yaw_deg], degrees=True).as_matrix()
    rotation = turn @ LEVEL
    return rotation, -rotation @ np.array([0.4, -0.2, 6.0])


def _label(kind: str, xy: tuple[float, float], yaw: float, hwl: tuple[float, float, float], text: bool = False) -> dict:
    h, w, l = hwl  # noqa: E741
    say = (lambda v: str(v)) if text else (lambda v: v)
    return {
        "type": kind,
        "truncated_state": say(0),
        "occluded_state": say(1),
        "2d_box": {k: say(v) for k, v in zip(("xmin", "ymin", "xmax", "ymax"), (10.5, 11, 40, 30.25))},
        "3d_dimensions": {"h": say(h), "w": say(w), "l": say(l)},
        "3d_location": {"x": say(xy[0]), "y": say(xy[1]), "z": say(ROAD_Z + h / 2)},
        "rotation": say(yaw),
    }


def _lidar_corners(label: dict) -> np.ndarray:
    """(8, 3) corners in the LiDAR frame in the order of `boxes3d`: bottom then top; front left first."""
    h, w, l = (float(label["3d_dimensions"][k]) for k in "hwl")  # noqa: E741
    center, yaw = np.array([float(label["3d_location"][k]) for k in "xyz"]), float(label["rotation"])
    ahead, left = np.array([math.cos(yaw), math.sin(yaw), 0]), np.array([-math.sin(yaw), math.cos(yaw), 0])
    signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    return np.array(
        [center + a * l / 2 * ahead + b * w / 2 * left + up * h / 2 * np.array([0, 0, 1.0])
         for up in (-1, 1) for a, b in signs]
    )  # fmt: skip


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_frame(base: Path, frame: str, labels: list[dict] | None, pose, K=K, distort: float = 0.0) -> dict:
    rotation, translation = pose
    rotation = rotation @ np.diag([1 + distort, 1 - distort, 1 + distort / 2])
    _write_json(base / f"calib/camera_intrinsic/{frame}.json", {"cam_D": [0.0] * 5, "cam_K": K.ravel().tolist()})
    extrinsic = {"rotation": rotation.tolist(), "translation": translation.reshape(3, 1).tolist()}
    _write_json(base / f"calib/virtuallidar_to_camera/{frame}.json", extrinsic)
    if labels is not None:
        _write_json(base / f"label/camera/{frame}.json", labels)
    return {
        "image_path": f"image/{frame}.jpg",
        "pointcloud_path": f"velodyne/{frame}.pcd",
        "label_camera_std_path": f"label/camera/{frame}.json",
        "label_lidar_std_path": f"label/virtuallidar/{frame}.json",
        "calib_camera_intrinsic_path": f"calib/camera_intrinsic/{frame}.json",
        "calib_virtuallidar_to_camera_path": f"calib/virtuallidar_to_camera/{frame}.json",
    }


POSES = {"a": _pose(12, 1.5, 20), "b": _pose(8, -0.5, -70)}
DIMENSIONS = {"Car": (1.5, 1.8, 4.4), "Bus": (3.2, 2.6, 11.0), "Pedestrian": (1.7, 0.6, 0.5), "Tricyclist": (1.6, 1, 2)}


def _scene(rng: np.random.Generator, camera: str, count: int) -> list[dict]:
    heading = {"a": 20, "b": -70}[camera]
    labels = []
    for kind, hwl in list(DIMENSIONS.items())[:count]:
        ahead, aside = rng.uniform(15, 70), rng.uniform(-9, 9)
        turn = np.radians(heading)
        x, y = ahead * math.cos(turn) - aside * math.sin(turn), ahead * math.sin(turn) + aside * math.cos(turn)
        labels.append(_label(kind, (x, y), float(rng.uniform(-7, 7)), hwl, text=bool(rng.integers(2))))
    return labels


@pytest.fixture
def dair(tmp_path, write_image):
    """Two cameras, a with 6 and b with 4 frames; the last of each is validation, one of a is test. Returns the root."""
    base, rng, info = tmp_path / "single-infrastructure-side", np.random.default_rng(0), []
    for number, camera in enumerate("aaaaaabbbb"):
        frame = f"{number:06d}"
        labels = None if number == 4 else _scene(rng, camera, 4)
        info.append(_write_frame(base, frame, labels, POSES[camera], distort=2e-3))
        write_image(base / "image" / f"{frame}.jpg")
    _write_json(base / "data_info.json", info)
    split = {"train": [f"{i:06d}" for i in (0, 1, 2, 3, 6, 7, 8)], "val": ["000005", "000009"], "test": ["000004"]}
    _write_json(tmp_path / "single-infrastructure-split-data.json", split)
    return tmp_path


def _labels(root: Path, frame: str) -> list[dict]:
    return json.loads((root / f"single-infrastructure-side/label/camera/{frame}.json").read_text())


@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_and_planes_come_back(dair, split):
    name = f"dair:{dair}:{split}"
    register_by_name(name)
    assert (MetadataCatalog.get(name).thing_classes, MetadataCatalog.get(name).ry_frame) == (
        ["Car", "Pedestrian", "Cyclist"],
        "ground",
    )
    for record in DatasetCatalog.get(name):
        rotation, translation = POSES["a" if int(record["image_id"]) < 6 else "b"]
        camera = read_camera(record)
        # The road as a plane of the camera frame: normal is the LiDAR's z axis, camera at 6 - ROAD_Z above it.
        np.testing.assert_allclose(camera.ground, [*rotation[:, 2], 6.0 - ROAD_Z], atol=1e-6)
        labels = _labels(dair, record["image_id"])
        assert [a["type"] for a in record["annotations"]] == [label["type"] for label in labels]
        for a, label in zip(record["annotations"], labels):
            expected = _lidar_corners(label) @ rotation.T + translation
            corners = box_corners(a["location"], a["dimensions_hwl"], a["rotation_y"], camera.ground_rotation())[0]
            np.testing.assert_allclose(corners, expected, atol=1e-5)
            np.testing.assert_allclose(a["location"], expected[:4].mean(axis=0), atol=1e-9)
            axes = np.array(a["box_rotation"])
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(axes) > 0
            h, w, l = a["dimensions_hwl"]  # noqa: E741
            np.testing.assert_allclose(axes[:, 0] * l, expected[0] - expected[1], atol=1e-9)
            np.testing.assert_allclose(axes[:, 1] * h, expected[0] - expected[4], atol=1e-9)
            np.testing.assert_allclose(axes[:, 2] * w, expected[0] - expected[3], atol=1e-9)
            assert -math.pi <= a["rotation_y"] < math.pi and -math.pi <= a["alpha"] < math.pi
            seen = a["rotation_y"] - math.atan2(a["location"][0], a["location"][2])
            assert math.cos(a["alpha"] - seen) == pytest.approx(1)
            assert a["has_3d"] and a["occluded"] == 1


def test_classes_merge_and_cones_are_left_aside(dair):
    path = dair / "single-infrastructure-side/label/camera/000000.json"
    kinds = ["Car", "Truck", "Van", "Bus", "Pedestrian", "Cyclist", "Tricyclist", "Motorcyclist", "Barrowlist"]
    _write_json(path, [_label(k, (20 + i, 5), 0, (1, 1, 1)) for i, k in enumerate([*kinds, "Trafficcone"])])
    record = load_dair(str(dair), "train")[0]
    assert [a["category_id"] for a in record["annotations"]] == [0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert [a["type"] for a in record["annotations"]] == kinds
    assert [a["type"] for a in record["ignored_annotations"]] == ["TrafficCone"]


def test_splits(dair, tmp_path):
    assert [r["image_id"] for r in load_dair(str(dair), "val")] == ["000005", "000009"]
    (test,) = load_dair(str(dair), "test")
    assert "annotations" not in test  # its plane is that of the camera's training frames
    assert read_camera(test).height_m == pytest.approx(6.0 - ROAD_Z)
    (tmp_path / "few.txt").write_text("000003\n000000\n")
    assert [r["image_id"] for r in load_dair(str(dair), str(tmp_path / "few.txt"))] == ["000003", "000000"]
    (tmp_path / "few.txt").write_text("000003 123456")
    with pytest.raises(ValueError, match=r"1 frames of '.*few\.txt' are not in data_info\.json, e\.g\. 123456"):
        load_dair(str(dair), str(tmp_path / "few.txt"))
    with pytest.raises(FileNotFoundError, match=r"label/camera/000004\.json does not exist"):
        load_dair(str(dair))


def test_validation_labels_do_not_move_the_plane(dair):
    before = load_dair(str(dair), "val")[0]["camera"]["ground"]
    path = dair / "single-infrastructure-side/label/camera/000005.json"
    labels = _labels(dair, "000005")
    for label in labels:
        label["3d_location"]["z"] = float(label["3d_location"]["z"]) + 2
    _write_json(path, labels)
    assert load_dair(str(dair), "val")[0]["camera"]["ground"] == before
    assert load_dair(str(dair), "val")[0]["camera"]["group"] == 0


def test_a_camera_with_few_objects_takes_the_lidars_normal(dair, caplog):
    for number in range(6, 10):
        _write_json(
            dair / f"single-infrastructure-side/label/camera/{number:06d}.json",
            [_label("Car", (5.0, -30.0), 0.3, DIMENSIONS["Car"])] if number == 6 else [],
        )
    records = load_dair(str(dair), "train")
    rotation, _ = POSES["b"]
    np.testing.assert_allclose(records[-1]["camera"]["ground"], [*rotation[:, 2], 6.0 - ROAD_Z], atol=1e-9)
    assert "normal of the ground taken from the virtual LiDAR" in caplog.text
    _write_json(dair / "single-infrastructure-side/label/camera/000006.json", [])
    with pytest.raises(ValueError, match="no labelled object stands on the ground in the 3 frames of a camera"):
        load_dair(str(dair), "train")


def test_rotations_are_projected_and_reflections_refused():
    rotation = Rotation.from_euler("xyz", [1, 2, 3]).as_matrix()
    noise = np.random.default_rng(0).normal(0, 1e-3, (3, 3))
    found = nearest_rotation(rotation + noise, "f")
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    # Nearest in the Frobenius norm: no small turn of it is nearer.
    best = np.linalg.norm(found - rotation - noise)
    for turn in np.random.default_rng(1).normal(0, 1e-3, (50, 3)):
        assert np.linalg.norm(Rotation.from_rotvec(turn).as_matrix() @ found - rotation - noise) >= best
    for wrong in (rotation @ np.diag([1, 1, -1]), 2 * rotation, np.zeros((3, 3))):
        with pytest.raises(ValueError, match=r"^f: no rotation"):
            nearest_rotation(wrong, "f")


def _set(path: Path, keys: tuple, value: object) -> None:
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(content))


LABEL, EXTRINSIC = "label/camera/000001.json", "calib/virtuallidar_to_camera/000001.json"
INTRINSIC = "calib/camera_intrinsic/000001.json"


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        (LABEL, (1, "type"), "Boat", r"000001\.json object 2 has type 'Boat', expected one of Car, Truck"),
        (LABEL, (1, "3d_location", "z"), None, r"000001\.json object 2 has no 3d_location\.z"),
        (LABEL, (0, "3d_dimensions", "w"), "wide", r"object 1: 3d_dimensions\.w is 'wide', expected a number"),
        (LABEL, (0, "rotation"), "nan", r"object 1: rotation is not finite"),
        (LABEL, (0, "3d_dimensions", "w"), 0, r"object 1: height width length are"),
        (LABEL, (0, "3d_location", "x"), -300, r"object 1: the object lies behind the camera"),
        (EXTRINSIC, ("rotation",), None, r"virtuallidar_to_camera/000001\.json has no 'rotation'"),
        (EXTRINSIC, ("translation",), [[1], [2]], r"translation has 2 numbers, expected 3"),
        (EXTRINSIC, ("rotation",), [[1, 0, 0], [0, 1, 0], [0, 0, -1]], r"000001\.json: no rotation"),
        (INTRINSIC, ("cam_K",), [1, 2, 3], r"camera_intrinsic/000001\.json: cam_K has 3 numbers, expected 9"),
        (INTRINSIC, ("cam_K",), [0] * 9, r"cam_K is no camera matrix"),
    ],
)
def test_wrong_entries_are_named(dair, file, keys, value, message):
    _set(dair / "single-infrastructure-side" / file, keys, value)
    with pytest.raises(ValueError, match=message):
        load_dair(str(dair), "train")


def test_missing_and_broken_files_are_named(dair, tmp_path):
    side = dair / "single-infrastructure-side"
    (side / LABEL).write_text('[{"type": "Car"')
    with pytest.raises(ValueError, match=r"000001\.json is not JSON: .*line 1"):
        load_dair(str(dair), "train")
    for file in (LABEL, EXTRINSIC, INTRINSIC, "image/000000.jpg"):
        (side / file).unlink()
    for message in (INTRINSIC, EXTRINSIC, LABEL):
        with pytest.raises(FileNotFoundError, match=rf"{message} does not exist"):
            load_dair(str(dair), "train")
        source = (side / message.replace("000001", "000002")).read_bytes()
        (side / message).write_bytes(source)
    with pytest.raises(FileNotFoundError, match=r"image/000000\.jpg"):
        load_dair(str(dair), "train")
    (dair / "single-infrastructure-split-data.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"split-data\.json does not exist; it comes with"):
        load_dair(str(dair), "train")
    with pytest.raises(FileNotFoundError, match=r"data_info\.json does not exist\. To get it: ask"):
        load_dair(str(tmp_path / "nowhere"), hint="ask")


def test_all_defects_can_be_listed(dair):
    side = dair / "single-infrastructure-side"
    _set(side / LABEL, (1, "type"), "Boat")
    (side / "image/000002.jpg").unlink()
    (side / "calib/camera_intrinsic/000003.json").unlink()
    with collected_defects() as defects:
        records = load_dair(str(dair), "train")
    assert [r["image_id"] for r in records] == ["000000", "000001", "000006", "000007", "000008"]
    assert [next(n for n in ("Boat", "000002", "000003") if n in d) for d in defects] == ["Boat", "000003", "000002"]


def test_generated_frames_written_in_this_layout_project_to_their_boxes(tmp_path):
    """Frames of the toy data with cameras of all kinds: one frame is enough for a plane where it holds objects."""
    from d2road.synthetic.roadside import make_toy_roadside

    toy, base = tmp_path / "toy", tmp_path / "dair"
    make_toy_roadside(toy, seed=5, train=1, val=4, workers=0)
    info, original = [], {}
    for record in load_rope3d(str(toy), "val"):
        camera = read_camera(record)
        rotation = camera.ground_rotation() @ LEVEL
        translation = -rotation @ np.array([0, 0, camera.height_m + ROAD_Z])
        labels = []
        for a in record["annotations"]:
            h, w, l = a["dimensions_hwl"]  # noqa: E741
            bottom = rotation.T @ (np.array(a["location"]) - translation)
            # Seen from above, ry turns from right to back, the yaw of the LiDAR from ahead to left.
            label = _label(a["type"].capitalize(), (bottom[0], bottom[1]), -a["rotation_y"] - math.pi / 2, (h, w, l))
            label["3d_location"]["z"] = bottom[2] + h / 2
            label["2d_box"] = dict(zip(("xmin", "ymin", "xmax", "ymax"), a["bbox"]))
            labels.append(label)
        info.append(_write_frame(base, record["image_id"], labels, (rotation, translation), camera.K))
        info[-1]["image_path"] = str(Path(record["file_name"]).resolve())
        if len(labels) >= 4:
            original[record["image_id"]] = (camera, record)
    _write_json(base / "data_info.json", [i for i in info if Path(i["image_path"]).stem in original])
    assert original
    for record in load_dair(str(base)):
        camera, truth = original[record["image_id"]]
        read = read_camera(record)
        np.testing.assert_allclose(read.ground[:3], camera.ground[:3], atol=2e-5)
        assert read.height_m == pytest.approx(camera.height_m, abs=0.01)
        for a, b in zip(record["annotations"], truth["annotations"]):
            np.testing.assert_allclose(a["location"], b["location"], atol=1e-6)
            one = box_corners(a["location"], a["dimensions_hwl"], a["rotation_y"], read.ground_rotation())
            two = box_corners(b["location"], b["dimensions_hwl"], b["rotation_y"], camera.ground_rotation())
            np.testing.assert_allclose(one, two, atol=1e-3)
            boxes, _ = project_boxes(read, one, (record["width"], record["height"]))
            np.testing.assert_allclose(boxes[0], a["bbox"], atol=0.1)
