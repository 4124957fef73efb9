"""Boxes of real labels through rows, projection and flips; formatting of rows."""

import pytest
import torch
from torchvision.ops import box_iou

from d2road.data.camera_files import read_camera
from d2road.data.datasets.frame_files import read_labels
from d2road.data.datasets.kitti import TYPES, load_kitti
from d2road.data.datasets.rope3d import load_rope3d
from d2road.structures import Boxes3D
from d2road.structures.kitti_rows import stack_rows
from d2road.structures.kitti_text import format_kitti_row


def _sample(folder, load):
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return load(str(folder))


def _overlaps(record, camera, boxes, annotations):
    size = (record["width"], record["height"])
    projected, visible = boxes.project(camera, size)
    assert visible.all()
    return box_iou(projected, torch.tensor([a["bbox"] for a in annotations], dtype=torch.float64)).diagonal()


def _whole(record):
    """Annotations with a 3D box that do not leave the image."""
    kept = [a for a in record["annotations"] if not a["iscrowd"] and a["truncated"] == 0 and a["has_3d"]]
    return [a for a in kept if min(a["bbox"]) > 1 and a["bbox"][2] < record["width"] - 1]


def test_rope3d_labels_project_to_their_boxes_before_and_after_a_flip(shared_dir):
    (record,) = _sample(shared_dir / "data" / "rope3d_sample", lambda root: load_rope3d(root, "train"))
    camera = read_camera(record)
    cars = [a for a in _whole(record) if a["type"] == "car" and a["bbox"][3] < record["height"] - 1]
    frame = camera.ground_rotation()
    boxes = Boxes3D.from_kitti(stack_rows(cars), frame)
    assert len(boxes) == 12
    assert _overlaps(record, camera, boxes, cars).mean() > 0.98
    # Turned about the camera's y axis instead, they do not fit.
    assert _overlaps(record, camera, Boxes3D.from_kitti(stack_rows(cars)), cars).mean() < 0.8
    width = record["width"]
    mirrored = [{**a, "bbox": [width - a["bbox"][2], a["bbox"][1], width - a["bbox"][0], a["bbox"][3]]} for a in cars]
    assert _overlaps(record, camera.flipped(width), boxes.flipped(), mirrored).mean() > 0.98
    alphas = torch.tensor([a["alpha"] for a in cars], dtype=torch.float64)
    assert (boxes.alpha(frame) - alphas).sin().abs().max() < 1e-3


def test_kitti_labels_project_to_their_boxes(shared_dir):
    records = _sample(shared_dir / "data" / "kitti", load_kitti)
    overlaps = []
    for record in records:
        if annotations := _whole(record):
            boxes = Boxes3D.from_kitti(stack_rows(annotations))
            overlaps.append(_overlaps(record, read_camera(record), boxes, annotations))
            alphas = torch.tensor([a["alpha"] for a in annotations], dtype=torch.float64)
            assert (boxes.alpha() - alphas).sin().abs().max() < 0.05
    overlaps = torch.cat(overlaps)
    assert len(overlaps) > 10 and overlaps.mean() > 0.85


def test_real_label_rows_are_written_as_they_were(shared_dir):
    folder = shared_dir / "data" / "kitti" / "training" / "label_2"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for path in sorted(folder.iterdir()):
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        for line, (_, row) in zip(lines, read_labels(path, TYPES), strict=True):
            numbers = stack_rows([row])[0].tolist()
            kept = (row["alpha"], row["truncated"], row["occluded"])
            written = format_kitti_row(row["type"], row["bbox"], numbers, *kept).split()
            assert written[0] == line.split()[0]
            assert [float(v) for v in written[1:]] == [float(v) for v in line.split()[1:15]]


def test_a_row_reads_back(tmp_path):
    rows = torch.tensor([[1.25, 1.5, 20.0, 1.5, 1.75, 4.25, -1.5], [-3, 1.5, 8, 1.75, 0.5, 0.75, 3]]).double()
    boxes = Boxes3D.from_kitti(rows)
    lines = [
        format_kitti_row("Car", [1, 2, 30.5, 40], row.tolist(), float(alpha), score=0.875)
        for row, alpha in zip(boxes.to_kitti(), boxes.alpha())
    ]
    assert lines[0] == "Car -1.00 -1 -1.56 1.00 2.00 30.50 40.00 1.50 1.75 4.25 1.25 1.50 20.00 -1.50 0.875000"
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    read = [row for _, row in read_labels(tmp_path / "a.txt", TYPES)]
    assert torch.equal(stack_rows(read), rows)
    assert stack_rows([]).shape == (0, 7)
    with pytest.raises(ValueError, match="one word"):
        format_kitti_row("big vehicle", [1, 2, 3, 4], [0] * 7, 0)
