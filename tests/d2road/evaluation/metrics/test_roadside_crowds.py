"""Roadside data with crowds: the evaluator judges them as d2road/cli/eval_rope.py does the same rows in label files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from d2road.cli.eval_rope import main as eval_rope
from d2road.data.catalog import register_objects
from d2road.data.datasets.rope3d import CLASSES
from d2road.evaluation.roadside_evaluator import RoadsideEvaluator
from d2road.structures import Boxes3D, Camera

P = [[2000.0, 0, 960, 0], [0, 2000, 540, 0], [0, 0, 1, 0]]
GROUND = [0.02, -0.98, -0.2, 6.0]
ROTATION = Camera(np.array(P), np.array(GROUND)).ground_rotation()
FRAMES = 50


def records() -> list[dict]:
    """In every frame a car, and beside it one that is hardly seen: a crowd."""
    found = []
    for index in range(FRAMES):
        rows = []
        for aside_m, left, occluded in ((0.0, 900.0, 0), (8.0, 1300.0, 3)):
            on_ground = np.array([aside_m, 6.0, 20 + 1.5 * index])  # y of the ground frame points down
            rows.append({
                "bbox": [left, 400.0, left + 100, 480.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0,
                "iscrowd": int(occluded == 3), "type": "car", "truncated": 0.0, "occluded": occluded, "alpha": 0.3,
                "dimensions_hwl": [1.6, 1.8, 4.4], "location": (ROTATION @ on_ground).tolist(), "rotation_y": 0.3,
                "has_3d": True,
            })  # fmt: skip
        frame = {"file_name": f"{index}.jpg", "image_id": f"{index:06d}", "width": 1920, "height": 1080}
        found.append({**frame, "camera": {"P": P, "ground": GROUND}, "annotations": rows})
    return found


def outputs() -> list[dict]:
    """What the labels say; the hardly seen cars are found with more confidence."""
    found = []
    for record in records():
        rows = [[*a["location"], *a["dimensions_hwl"], a["rotation_y"]] for a in record["annotations"]]
        instances = Instances((1080, 1920))
        instances.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in record["annotations"]]))
        instances.scores = torch.tensor([0.5, 0.9])
        instances.pred_classes = torch.zeros(2, dtype=torch.long)
        instances.pred_boxes3d = Boxes3D.from_kitti(torch.tensor(rows, dtype=torch.float64), torch.tensor(ROTATION))
        found.append({"instances": instances})
    return found


def write_labels(root: Path) -> None:
    for folder in ("label_2", "calib", "denorm"):
        (root / folder).mkdir()
    for record in records():
        name = f"{record['image_id']}.txt"
        numbers = [
            [a["truncated"], a["occluded"], a["alpha"], *a["bbox"], *a["dimensions_hwl"], *a["location"], 0.3]
            for a in record["annotations"]
        ]
        (root / "label_2" / name).write_text("".join(f"car {' '.join(map(str, row))}\n" for row in numbers))
        (root / "calib" / name).write_text(f"P2: {' '.join(map(str, np.ravel(P)))}\n")
        (root / "denorm" / name).write_text(" ".join(map(str, GROUND)))


def test_detections_on_crowds_count_neither_way(tmp_path: Path):
    register_objects("roadside_crowds_test", records, CLASSES, ry_frame="ground", evaluator_type="rope3d")
    evaluator = RoadsideEvaluator("roadside_crowds_test", str(tmp_path / "ours"))
    evaluator.process(records(), outputs())
    ours = evaluator.evaluate()["rope"]
    write_labels(tmp_path)
    folders = [f"--{key}={tmp_path / folder}" for key, folder in
               (("gt", "label_2"), ("pred", "ours/kitti"), ("calib", "calib"), ("denorm", "denorm"))]  # fmt: skip
    assert eval_rope([*folders, f"--json={tmp_path / 'rope.json'}"]) == 0
    theirs = json.loads((tmp_path / "rope.json").read_text())["car"]
    assert theirs["AP"]["0.5"] == pytest.approx(100)
    written = json.loads((tmp_path / "ours" / "roadside.json").read_text())["car"]["rope"]
    assert written["AP"] == pytest.approx(theirs["AP"])
    assert ours["car_Rope@0.5"] == pytest.approx((8 * 100 + 200 * ours["car_S"]) / 10)
    assert written["matched"] == FRAMES  # the tool, which does not know them for crowds, averages S over both cars
    assert theirs["matched"] == 2 * FRAMES
