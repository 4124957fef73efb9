"""Labels of real and of generated frames, read by the loaders, project to where they say."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.structures.upright_boxes import box_corners, project_boxes

# Lowest mean IoU and largest median error of a box side (px) of the labels that are not cut off by the image. KITTI's
# 2D boxes of people follow their limbs, which the 3D boxes do not.
KITTI_FLOOR = (0.90, 0.5)
KITTI_VEHICLES_FLOOR = (0.965, 0.4)
ROPE3D_FLOOR = (0.985, 0.1)


def _agreement(name: str, types: tuple[str, ...] = ()) -> tuple[float, float, int]:
    """Mean IoU, median error of a side in pixels and number of the labelled 2D boxes and the projected 3D ones."""
    register_by_name(name)
    frame_of = MetadataCatalog.get(name).ry_frame
    ious, errors = [], []
    for record in DatasetCatalog.get(name):
        camera = read_camera(record)
        rotation = camera.ground_rotation() if frame_of == "ground" else None
        size = (record["width"], record["height"])
        for a in record["annotations"] + record["ignored_annotations"]:
            label = np.array(a["bbox"])
            inside = (label[:2] > 2).all() and (label[2:] < np.array(size) - 2).all()
            if not a["has_3d"] or a["truncated"] > 0 or not inside or (types and a["type"] not in types):
                continue
            corners = box_corners([a["location"]], [a["dimensions_hwl"]], [a["rotation_y"]], rotation)
            (box,), _ = project_boxes(camera, corners, size)
            low, high = np.maximum(box[:2], label[:2]), np.minimum(box[2:], label[2:])
            inter = np.clip(high - low, 0, None).prod()
            ious.append(inter / ((box[2:] - box[:2]).prod() + (label[2:] - label[:2]).prod() - inter))
            errors.append(np.abs(box - label))
    return float(np.mean(ious)), float(np.median(errors)), len(ious)


def test_kitti(shared_dir):
    iou, error, count = _agreement(f"kitti:{shared_dir}/data/kitti")
    assert count >= 40
    assert iou >= KITTI_FLOOR[0] and error <= KITTI_FLOOR[1], (iou, error)
    iou, error, count = _agreement(f"kitti:{shared_dir}/data/kitti", ("Car", "Van", "Truck", "Tram"))
    assert count >= 20
    assert iou >= KITTI_VEHICLES_FLOOR[0] and error <= KITTI_VEHICLES_FLOOR[1], (iou, error, count)


def test_rope3d(shared_dir):
    iou, error, count = _agreement(f"rope3d:{shared_dir}/data/rope3d_sample:val")
    assert count >= 35
    assert iou >= ROPE3D_FLOOR[0] and error <= ROPE3D_FLOOR[1], (iou, error)


def test_generated_frames(tmp_path):
    from d2road.synthetic.roadside import make_toy_roadside

    make_toy_roadside(tmp_path, seed=3, train=1, val=3, workers=0)
    iou, error, count = _agreement(f"rope3d:{tmp_path}:val")
    assert count > 5
    assert iou > 0.9999 and error < 0.01


def test_a_wrong_frame_of_ry_shows(shared_dir):
    """The floors above can tell the conventions apart: turned about the camera's y axis, Rope3D's boxes miss."""
    name = f"rope3d:{shared_dir}/data/rope3d_sample:val"
    right = _agreement(name)[0]
    metadata = MetadataCatalog.get(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(metadata.__dict__, "ry_frame", "camera")
        assert _agreement(name)[0] < right - 0.1
