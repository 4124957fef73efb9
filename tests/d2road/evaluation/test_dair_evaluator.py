import json

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Boxes, BoxMode, Instances

from d2road.data.catalog import register_objects
from d2road.data.datasets.dair import CLASSES
from d2road.evaluation.dair_evaluator import DairEvaluator, build_dair_evaluator
from d2road.structures import Boxes3D, Camera

P = [[2000.0, 0, 960, 0], [0, 2000, 540, 0], [0, 0, 1, 0]]
GROUND = [0.02, -0.98, -0.2, 6.0]
ROTATION = Camera(np.array(P), np.array(GROUND)).ground_rotation()
FRAMES = 50


def records():
    """A car on the ground in every frame, at 20 to 130 m, and a car that is a crowd."""
    result = []
    for index in range(FRAMES):
        on_ground = np.array([0.0, 6.0, 20 + 110 * index / FRAMES])  # y of the ground frame points down
        row = {
            "bbox": [900.0, 400.0, 1000.0, 480.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0,
            "type": "Van", "truncated": 0.0, "occluded": 0, "alpha": 0.3, "dimensions_hwl": [1.6, 1.8, 4.4],
            "location": (ROTATION @ on_ground).tolist(), "rotation_y": 0.3, "has_3d": True,
        }  # fmt: skip
        crowd = {**row, "iscrowd": 1, "location": (ROTATION @ (on_ground + [8, 0, 0])).tolist()}
        record = {"file_name": f"{index}.jpg", "image_id": f"{index:06d}", "width": 1920, "height": 1080}
        result.append({**record, "camera": {"P": P, "ground": GROUND}, "annotations": [row, crowd]})
    return result


@pytest.fixture(scope="module")
def dataset():
    register_objects("dair_evaluator_test", records, CLASSES, ry_frame="ground", evaluator_type="dair")
    return "dair_evaluator_test"


def outputs(with_3d=True, shift=(0, 0, 0)):
    """What the labels say, moved within the ground frame; also of the crowds."""
    found = []
    for record in records():
        rows = [[*a["location"], *a["dimensions_hwl"], a["rotation_y"]] for a in record["annotations"]]
        boxes = torch.tensor(rows, dtype=torch.float64)
        boxes[:, :3] += torch.tensor(ROTATION @ np.array(shift, dtype=np.float64))
        instances = Instances((1080, 1920))
        instances.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in record["annotations"]]))
        instances.scores = torch.tensor([0.8, 0.9])
        instances.pred_classes = torch.zeros(2, dtype=torch.long)
        if with_3d:
            instances.pred_boxes3d = Boxes3D.from_kitti(boxes, torch.tensor(ROTATION))
        found.append({"instances": instances})
    return found


def test_perfect_predictions_score_100_and_crowds_do_not_count(dataset, tmp_path):
    evaluator = DairEvaluator(dataset, str(tmp_path))
    evaluator.process(records(), outputs())
    results = evaluator.evaluate()
    assert set(results) == {"dair_compat", "dair_true"}
    locations = np.array([record["annotations"][0]["location"] for record in records()])
    near = int((np.hypot(locations[:, 0], locations[:, 2]) <= 102).sum())
    assert 30 < near < 41
    for metrics in results.values():
        assert metrics["car_3d_moderate_R40_0-140m"] == pytest.approx(100)
        # n < 41 objects have n thresholds, of which the first is at recall 0; what lies beyond 102 m does no harm.
        assert metrics["car_bev_hard_R40_0-102m"] == pytest.approx(100 * (near - 1) / 40)
        assert np.isnan(metrics["cyclist_3d_easy_R11_0-102m"])
    written = json.loads((tmp_path / "dair_ap.json").read_text())
    assert written["true"]["0-140m"]["car"]["3d"]["R40"] == pytest.approx([100] * 3)
    assert written["compat"]["0-140m"]["pedestrian"]["bev"]["R11"] == [None] * 3


def test_the_two_modes_differ(dataset, tmp_path):
    evaluator = DairEvaluator(dataset, str(tmp_path))
    evaluator.process(records(), outputs(shift=(0, 0, 0.55)))
    results = evaluator.evaluate()
    metric = "car_3d_moderate_R40_0-140m"
    assert results["dair_true"][metric] == pytest.approx(100)
    assert results["dair_compat"][metric] < 50


def test_2d_predictions_give_box_ap_only(dataset, tmp_path):
    evaluator = build_dair_evaluator(get_cfg(), dataset, str(tmp_path))
    evaluator.reset()
    evaluator.process(records(), outputs(with_3d=False))
    assert list(evaluator.evaluate()) == ["bbox"]
