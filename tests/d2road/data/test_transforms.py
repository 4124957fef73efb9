"""Cameras and labels under image transforms: what they project to is what the transforms make of the pixels."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.transforms import ColorTransform, ExtentTransform, ResizeTransform, RotationTransform
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    TransformList,
    VFlipTransform,
)

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.data.transforms import mirror_rows, transform_camera
from d2road.structures import Boxes3D, Camera

W, H = 1000, 600
P = np.array([[900.0, 2, 480, 45], [0, 850, 310, -3], [0, 0, 1, 0.01]])
STEPS = {
    "flip": [HFlipTransform(W)],
    "resize": [ResizeTransform(H, W, 331, 777)],  # unequal factors
    "crop": [CropTransform(120, 75, 600, 400, W, H)],
    "pad": [PadTransform(13, 7, 20, 30)],
    "nothing": [],
    "colours": [NoOpTransform(), BlendTransform(np.zeros(1), 0.1, 0.9), ColorTransform(lambda image: image)],
    "flip, shrink, crop, resize": [
        HFlipTransform(W), ResizeTransform(H, W, 400, 667), CropTransform(40, 30, 500, 300, 667, 400),
        ResizeTransform(300, 500, 480, 800),
    ],
    "crop, flip, flip, pad": [
        CropTransform(120, 75, 600, 400, W, H), HFlipTransform(600), HFlipTransform(600), PadTransform(5, 6, 7, 8),
    ],
}  # fmt: skip


def camera_on_ground() -> Camera:
    pitch, roll = np.radians(12), np.radians(2)
    up = [np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)]
    return Camera(P, [*up, 7.0])


def label_rows(camera: Camera, count: int = 40) -> np.ndarray:
    """Boxes on the ground, ry about its normal."""
    rng = np.random.default_rng(0)
    z = rng.uniform(10, 80, count)
    level = np.stack([rng.uniform(-0.5, 0.5, count) * z, np.full(count, 7.0), z], axis=1)
    sizes = rng.uniform([1, 1, 2], [3, 3, 10], (count, 3))
    return np.concatenate([level @ camera.ground_rotation().T, sizes, rng.uniform(-3, 3, (count, 1))], axis=1)


def projected(rows: np.ndarray, camera: Camera) -> np.ndarray:
    boxes, visible = Boxes3D.from_kitti(torch.tensor(rows), camera.ground_rotation()).project(camera)
    assert visible.all()
    return boxes.numpy()


@pytest.mark.parametrize("name", STEPS)
def test_points_and_boxes(name):
    camera, steps = camera_on_ground(), TransformList(STEPS[name])
    rows = label_rows(camera)
    after, mirrored = transform_camera(camera, steps)
    assert mirrored == (name.startswith("flip"))
    moved = mirror_rows(rows) if mirrored else rows
    pixels, depth = camera.project(rows[:, :3])
    pixels_after, depth_after = after.project(moved[:, :3])
    np.testing.assert_allclose(pixels_after, steps.apply_coords(pixels.copy()), atol=1e-8)
    np.testing.assert_allclose(depth_after, depth, atol=1e-12)
    np.testing.assert_allclose(projected(moved, after), steps.apply_box(projected(rows, camera)), atol=1e-6)
    # What stood on the ground stands on it.
    np.testing.assert_allclose(moved[:, :3] @ after.ground[:3] + after.ground[3], 0, atol=1e-9)
    np.testing.assert_allclose(camera.P, P)  # the camera given is left alone


def test_mirrored_rows_are_mirrored_boxes():
    camera = camera_on_ground()
    rows = label_rows(camera)
    boxes = Boxes3D.from_kitti(torch.tensor(rows), camera.ground_rotation())
    after, _ = transform_camera(camera, HFlipTransform(W))
    flipped = Boxes3D.from_kitti(torch.tensor(mirror_rows(rows)), after.ground_rotation())
    torch.testing.assert_close(flipped.rotation, boxes.flipped().rotation)
    torch.testing.assert_close(flipped.location, boxes.flipped().location)
    torch.testing.assert_close(flipped.dimensions, boxes.dimensions)
    # Front stays front: the point half a length ahead is the mirror of that of the original.
    front, front_after = (b.location + b.rotation[:, :, 0] * b.dimensions[:, 2:] / 2 for b in (boxes, flipped))
    torch.testing.assert_close(front_after, front * torch.tensor([-1.0, 1, 1], dtype=torch.float64))


def test_mirroring_twice_gives_the_rows_back():
    rows = label_rows(camera_on_ground())
    before = rows.copy()
    np.testing.assert_allclose(mirror_rows(mirror_rows(rows)), rows)
    assert np.array_equal(rows, before)
    assert mirror_rows(np.zeros((0, 7))).shape == (0, 7)


@pytest.mark.parametrize(
    "step",
    [VFlipTransform(H), RotationTransform(H, W, 10), ExtentTransform((0, 0, 100, 100), (50, 50))],
    ids=lambda step: type(step).__name__,
)
def test_unknown_transforms_are_refused(step):
    with pytest.raises(ValueError, match=f"{type(step).__name__} is not supported with 3D labels: known are"):
        transform_camera(camera_on_ground(), TransformList([NoOpTransform(), TransformList([step])]))


AUGMENTATIONS = {
    "flip": [T.RandomFlip(prob=1.0)],
    "resize": [T.ResizeShortestEdge([300, 333], 1200, "choice")],
    "crop": [T.RandomCrop("relative_range", (0.4, 0.5))],
    "fixed size": [T.ResizeScale(0.5, 0.9, 600, 900), T.FixedSizeCrop((500, 1000))],
    "all": [
        T.RandomFlip(prob=1.0), T.RandomBrightness(0.8, 1.2), T.RandomLighting(1.0),
        T.ResizeShortestEdge([240], sample_style="choice"), T.RandomCrop("absolute_range", (100, 200)),
        T.ResizeShortestEdge([256], 1333, "choice"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("source", ["kitti:{}/data/kitti", "rope3d:{}/data/rope3d_sample:val"])
def test_labels_of_real_frames(shared_dir, source, augmentation):
    """Real labels and calibrations (KITTI's has a fourth column) under Detectron2's own augmentations."""
    name = source.format(shared_dir)
    register_by_name(name)
    on_ground = MetadataCatalog.get(name).ry_frame == "ground"
    np.random.seed(0)
    count = 0
    for record in DatasetCatalog.get(name):
        camera = read_camera(record)
        annotations = [a for a in record["annotations"] if a["has_3d"]]
        rows = np.array([[*a["location"], *a["dimensions_hwl"], a["rotation_y"]] for a in annotations]).reshape(-1, 7)
        image = np.zeros((record["height"], record["width"], 3), dtype=np.uint8)
        image, steps = T.apply_transform_gens(AUGMENTATIONS[augmentation], image)
        after, mirrored = transform_camera(camera, steps)
        assert mirrored == (augmentation in ("flip", "all"))
        boxes = []
        for r, c in ((rows, camera), (mirror_rows(rows) if mirrored else rows, after)):
            boxes3d = Boxes3D.from_kitti(torch.tensor(r), c.ground_rotation() if on_ground else None)
            boxes.append(boxes3d.project(c)[0].numpy())
        np.testing.assert_allclose(boxes[1], steps.apply_box(boxes[0]), atol=1e-5)
        count += len(rows)
    assert count >= 20
