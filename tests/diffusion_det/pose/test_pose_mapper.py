"""Cameras and 3D labels through the mapper: 3D labels project onto the 2D labels of the transformed image."""

import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from d2road.config import make_cfg
from d2road.data import build_mapper, register_by_name
from d2road.data.camera_files import read_camera
from d2road.structures import Boxes3D, Camera
from tests.factories.pose_models import POSE

W, H = 240, 160
INPUTS = {
    "resize": ("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", "(96, 120, 200)"),
    "flip": ("INPUT.RANDOM_FLIP", "horizontal", "INPUT.MIN_SIZE_TRAIN", "(160,)"),
    "crop": ("INPUT.RANDOM_FLIP", "none", "INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "relative_range",
             "INPUT.CROP.SIZE", "[0.5, 0.5]", "INPUT.MIN_SIZE_TRAIN", "(160,)"),
    "all": ("INPUT.RANDOM_FLIP", "horizontal", "INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute_range",
            "INPUT.CROP.SIZE", "(250, 400)", "INPUT.MIN_SIZE_TRAIN", "(96, 120, 200)", "INPUT.COLOR_JITTER", 0.2),
}  # fmt: skip


def mapper_for(*opts, is_train=True):
    base = ("MODEL.META_ARCHITECTURE", "DiffusionDet", POSE + "ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 2000)
    return build_mapper(make_cfg(opts=[str(o) for o in (*base, *opts)]), is_train)


@pytest.fixture
def record(tmp_path) -> dict:
    """A roadside image with objects whose 2D labels are exactly what their 3D labels project to."""
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)).save(path)
    P = [[230.0, 0, 118, 9], [0, 215, 60, -2], [0, 0, 1, 0.02]]
    pitch, roll = np.radians(12), np.radians(2)
    up = [np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)]
    camera = Camera(np.array(P), [*up, 6.0])
    rng = np.random.default_rng(1)
    annotations = []
    for z in (11, 14, 18, 24, 30, 40):
        location = camera.ground_rotation() @ np.array([rng.uniform(-0.3, 0.3) * z, 6.0, z])
        row = [*location, 1.5, 1.8, 4.3, rng.uniform(-3, 3)]
        box, _ = Boxes3D.from_kitti(torch.tensor([row]), camera.ground_rotation()).project(camera, (W, H))
        annotations.append({
            "bbox": box[0].tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0, "has_3d": True,
            "location": list(location), "dimensions_hwl": row[3:6], "rotation_y": row[6],
        })  # fmt: skip
    ground = camera.ground.tolist()
    return {
        "file_name": str(path), "image_id": 3, "width": W, "height": H, "camera": {"P": P, "ground": ground},
        "annotations": annotations,
    }  # fmt: skip


def check(output, on_ground=True, atol=2e-3):
    """The labels of one output agree; returns their number and whether they are mirrored."""
    camera, instances = output["camera"], output["instances"]
    height, width = output["image"].shape[1:]
    assert instances.image_size == (height, width)
    known = instances.gt_has_3d
    frame = camera.ground_rotation() if on_ground else None
    boxes3d = Boxes3D.from_kitti(instances.gt_boxes3d[known].double(), frame)
    boxes, _ = boxes3d.project(camera, (width, height))
    torch.testing.assert_close(instances.gt_boxes.tensor[known].double(), boxes, atol=atol, rtol=0)
    return len(boxes)


@pytest.mark.parametrize("name", INPUTS)
def test_labels_agree_after_augmentation(record, name):
    mapper, before = mapper_for(*INPUTS[name]), copy.deepcopy(record)
    shapes, signs, count = set(), set(), 0
    for seed in range(12):
        np.random.seed(seed)
        output = mapper(record)
        count += check(output)
        shapes.add(output["image"].shape)
        signs.add(bool(output["camera"].ground[0] < 0))  # roll
    assert count > 40
    assert len(signs) == (2 if name in ("flip", "all") else 1)
    assert len(shapes) > (0 if name == "flip" else 1)
    assert record == before


def test_testing_resizes_the_camera_alone(record):
    output = mapper_for("INPUT.MIN_SIZE_TEST", 80, is_train=False)(record)
    assert isinstance(output["camera"], Camera) and "instances" not in output
    np.testing.assert_allclose(output["camera"].P[:2], np.array(record["camera"]["P"])[:2] / 2)
    np.testing.assert_allclose(output["camera"].ground, record["camera"]["ground"])


def test_objects_without_3d_stay_for_2d(record):
    record["annotations"][1].update(has_3d=False, location=[0, 0, 0], dimensions_hwl=[0, 0, 0], rotation_y=0)
    for key in ("has_3d", "location", "dimensions_hwl", "rotation_y"):
        del record["annotations"][2][key]
    instances = mapper_for(*INPUTS["resize"])(record)["instances"]
    assert instances.gt_has_3d.tolist() == [True, False, False, True, True, True]
    assert torch.isfinite(instances.gt_boxes3d).all() and (instances.gt_boxes3d[:, 3:6] > 0).all()


def test_images_without_objects(record):
    record["annotations"] = []
    instances = mapper_for(*INPUTS["all"])(record)["instances"]
    assert len(instances) == 0 and instances.gt_boxes3d.shape == (0, 7) and instances.gt_has_3d.dtype == torch.bool


def test_labels_stay_with_their_objects_when_others_leave(record):
    """What is cropped away or left out for its occlusion goes with all its fields."""
    record["annotations"][0]["occluded"] = 3
    mapper = mapper_for(*INPUTS["crop"], "INPUT.MAX_OCCLUDED", 2)
    numbers = set()
    for seed in range(12):
        np.random.seed(seed)
        output = mapper(record)
        check(output)
        numbers.add(len(output["instances"]))
    assert max(numbers) <= 5 and min(numbers) < 5


def test_pose_off_asks_for_no_camera(record):
    del record["camera"]
    output = mapper_for(POSE + "ENABLED", False, "INPUT.MIN_SIZE_TRAIN", "(160,)")(record)
    assert not output["instances"].has("gt_boxes3d")
    with pytest.raises(ValueError, match=r"street\.png has no calibration, which 3D needs"):
        mapper_for("INPUT.MIN_SIZE_TRAIN", "(160,)")(record)


def test_transforms_that_poses_cannot_follow(record):
    mapper = mapper_for("INPUT.RANDOM_FLIP", "vertical", "INPUT.MIN_SIZE_TRAIN", "(160,)")
    with pytest.raises(ValueError, match="VFlipTransform is not supported with 3D labels"):
        for seed in range(10):
            np.random.seed(seed)
            mapper(record)


@pytest.mark.parametrize("source", ["kitti:{}/data/kitti", "rope3d:{}/data/rope3d_sample:val"])
def test_real_frames(shared_dir, source):
    """With the 2D labels put to the projection of the 3D ones, the mapper keeps them together."""
    name = source.format(shared_dir)
    register_by_name(name)
    on_ground = MetadataCatalog.get(name).ry_frame == "ground"
    mapper = mapper_for(*INPUTS["all"], "INPUT.COLOR_JITTER", 0.0)
    count = 0
    for seed, record in enumerate(list(DatasetCatalog.get(name))[:8] * (2 if on_ground else 1)):
        record = copy.deepcopy(record)
        camera = read_camera(record)
        for a in record["annotations"]:
            row = torch.tensor([[*a["location"], *a["dimensions_hwl"], a["rotation_y"]]], dtype=torch.float64)
            boxes3d = Boxes3D.from_kitti(row, camera.ground_rotation() if on_ground else None)
            box, visible = boxes3d.project(camera, (record["width"], record["height"]))
            if a["has_3d"] and visible.all():
                a["bbox"], a["bbox_mode"] = box[0].tolist(), BoxMode.XYXY_ABS
            else:
                a["has_3d"] = False
        np.random.seed(seed)
        output = mapper(record)
        count += check(output, on_ground, atol=2e-2)
    assert count >= 8
