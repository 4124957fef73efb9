"""Boxes on the ground: AP by range and visibility, errors of matches, tables for a bootstrap, and the evaluator."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from benchmarks.speed.speed_kitti_eval import make_frame
from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.evaluation import EVALUATOR_REGISTRY
from d2road.evaluation.metrics.ap_bootstrap import KITTI_RECALL_POINTS, average_precision, paired_bootstrap
from d2road.evaluation.metrics.kitti_objects import ObjectTable, parse_objects
from d2road.evaluation.metrics.kitti_overlaps import box_pairs
from d2road.evaluation.metrics.kitti_protocol import evaluate_kitti
from d2road.evaluation.metrics.roadside_protocol import class_flags, evaluate_roadside, match_tables, matched_errors
from d2road.evaluation.roadside_evaluator import read_matches
from d2road.structures import Boxes3D


def _cars(z: np.ndarray, scores: np.ndarray | None = None, occluded: np.ndarray | None = None) -> ObjectTable:
    """A car in each frame, straight ahead at `z` metres, 2D boxes alike."""
    n = len(z)
    boxes3d = np.tile([0.0, 6.0, 0.0, 1.5, 1.8, 4.5, 0.3], (n, 1))
    boxes3d[:, 2] = z
    return ObjectTable(
        frame=np.arange(n),
        type=np.full(n, "car"),
        truncated=np.zeros(n),
        occluded=np.zeros(n) if occluded is None else occluded,
        alpha=np.zeros(n),
        boxes_xyxy=np.tile([100.0, 100.0, 300.0, 200.0], (n, 1)),
        boxes3d=boxes3d,
        scores=np.zeros(n) if scores is None else scores,
    )


def test_perfect_detections():
    truth = _cars(np.linspace(11, 79, 150))
    car = evaluate_roadside(truth, replace(truth, scores=np.ones(150)), ["car"])["car"]
    assert car["objects"]["all"] == car["errors"]["all"]["matched"] == 150
    assert sum(car["objects"][key] for key in ("10-30m", "30-50m", "50-80m")) == 150
    for metric in ("3d@0.5", "3d@0.25", "bev@0.5", "bev@0.25"):
        assert {car[metric][key] for key in ("all", "30-50m", "50-80m", "occluded_0")} == {100.0}
        assert np.isnan(car[metric]["occluded_1"])
    assert car["errors"]["all"]["depth_p90"] == car["errors"]["10-30m"]["yaw_median"] == 0
    assert np.isnan(car["errors"]["occluded_2"]["depth_median"]) and car["errors"]["occluded_2"]["matched"] == 0


def test_all_is_kittis_hard_where_boxes_are_high_enough():
    rng = np.random.default_rng(3)
    texts = [make_frame(rng, 20, 40) for _ in range(20)]
    truth = parse_objects([("gt", labels) for labels, _ in texts], scored=False)
    predictions = parse_objects([("pred", found) for _, found in texts], scored=True)
    high = [o[np.abs(o.height_px) > 25] for o in (truth, predictions)]
    by_kitti = evaluate_kitti(*high, min_overlaps={"car": 0.5, "cyclist": 0.25}, neighbors={})
    ours = evaluate_roadside(*high, classes=["car", "cyclist"])
    for name, overlap in (("car", "0.5"), ("cyclist", "0.25")):
        for metric in ("3d", "bev"):
            expected = by_kitti[name][metric]["R40"][2]
            assert 0 < expected < 100
            assert ours[name][f"{metric}@{overlap}"]["all"] == pytest.approx(expected, abs=1e-9)


def test_ranges_ignore_truths_and_excuse_detections_beyond_them():
    """50 cars at 20 m are found; 50 at 40 m are seen 5 m too far, more confidently."""
    z = np.repeat([20.0, 40.0], 50)
    truth = _cars(z)
    predictions = _cars(np.where(z == 40, 45, z), scores=np.where(z == 40, 0.9, 0.5))
    car = evaluate_roadside(truth, predictions, ["car"])["car"]["3d@0.5"]
    assert car["10-30m"] == 100 and car["30-50m"] == 0
    assert car["all"] == pytest.approx(100 * 20 / 40 * 0.5)  # half the recall, one of two detections right
    # A detection that matches may claim another range.
    border = evaluate_roadside(_cars(np.full(50, 29.9)), _cars(np.full(50, 30.1), np.ones(50)), ["car"])["car"]
    assert border["3d@0.5"]["10-30m"] == 100 and np.isnan(border["3d@0.5"]["30-50m"])


def test_visibility_and_limits():
    occluded = np.repeat([0, 1, 2, 3], 50)
    truth = _cars(np.full(200, 20.0), occluded=occluded)
    found = _cars(np.where(occluded == 1, 60.0, 20.0), scores=np.ones(200))
    car = evaluate_roadside(truth, found, ["car"])["car"]
    assert car["objects"] == {"all": 150, "10-30m": 150, "30-50m": 0, "50-80m": 0} | {
        f"occluded_{i}": 50 for i in range(3)
    }
    precision = 50 / 100  # the 50 wrong detections count in each subset; matches of ignored truths do not
    assert car["3d@0.5"]["occluded_0"] == pytest.approx(100 * precision) and car["3d@0.5"]["occluded_1"] == 0


def test_truths_without_3d_box_excuse_what_lies_on_them():
    truth, found = _cars(np.full(60, 20.0)), _cars(np.full(60, 20.0), scores=np.linspace(0.9, 0.1, 60))
    boxes3d = truth.boxes3d.copy()
    boxes3d[:10] = 0
    flat = replace(truth, boxes3d=boxes3d)
    car = evaluate_roadside(flat, found, ["car"])["car"]
    assert car["objects"]["all"] == car["errors"]["all"]["matched"] == 50 and car["3d@0.5"]["all"] == 100
    elsewhere = replace(flat, boxes_xyxy=np.where(boxes3d[:, 3:4] > 0, flat.boxes_xyxy, flat.boxes_xyxy + 500))
    assert evaluate_roadside(elsewhere, found, ["car"])["car"]["3d@0.5"]["all"] < 100


def test_errors_by_hand():
    truth, found = _cars(np.full(10, 20.0)), _cars(np.full(10, 20.0), scores=np.ones(10))
    boxes3d, boxes = found.boxes3d.copy(), found.boxes_xyxy.copy()
    boxes3d[:, 2] *= 1 + np.linspace(-0.05, 0.04, 10)  # depth
    boxes3d[:, 3] *= 1.1  # height
    boxes3d[:, 6] = 0.3 + 2 * np.pi + np.radians(3)
    boxes3d[0, 6] += np.pi
    boxes[:, 3] += 6  # lower edge, of a box 100 px high
    errors = evaluate_roadside(truth, replace(found, boxes3d=boxes3d, boxes_xyxy=boxes), ["car"])["car"]["errors"][
        "all"
    ]
    assert errors["matched"] == 10
    assert errors["depth_median"] == pytest.approx(2.5) and errors["depth_p90"] == pytest.approx(4.1)
    assert errors["depth_signed_median"] == pytest.approx(-0.5)
    assert errors["edge_y2"] == pytest.approx(6) and errors["edge_x1"] == 0
    assert errors["size_h"] == pytest.approx(10) and errors["size_w"] == 0
    assert errors["yaw_median"] == pytest.approx(3) and errors["yaw_reversed"] == 10


def test_errors_are_of_the_most_confident_detection_in_the_image():
    truth = _cars(np.array([20.0]))
    pair = _cars(np.array([21.0, 24.0]), scores=np.array([0.4, 0.8]))
    pair = replace(pair, frame=np.zeros(2, dtype=int))
    errors = matched_errors(truth, pair, box_pairs(truth, pair), *class_flags(truth, pair, "car"))
    assert errors["prediction"].tolist() == [1] and errors["depth"] == pytest.approx(0.2)


def test_tables_for_the_bootstrap():
    rng = np.random.default_rng(0)
    z = rng.uniform(11, 79, 400)
    truth = _cars(z, occluded=rng.integers(0, 4, 400))
    good, bad = (_cars(z * rng.normal(1, s, 400), rng.random(400)) for s in (0.02, 0.06))
    tables = [match_tables(truth, found, 400, ["car"]) for found in (good, bad)]
    assert set(tables[0]) == {"car 3d@0.5", "car 3d@0.25", "car bev@0.5", "car bev@0.25"}
    for found, table in zip((good, bad), tables):
        whole = evaluate_roadside(truth, found, ["car"])["car"]["3d@0.5"]["all"]
        assert average_precision(table["car 3d@0.5"], None, KITTI_RECALL_POINTS) == pytest.approx(whole, abs=2)
    a, b = ([t["car 3d@0.5"]] for t in tables)
    result = paired_bootstrap(b, a, samples=50, recall_points=KITTI_RECALL_POINTS)
    assert 0 < result["low"] < result["difference"] < result["high"]


def _perfect(records: list[dict], farther: float = 1.0) -> list[dict]:
    """The labels as outputs of a model, each object moved along its ray."""
    outputs = []
    for record in records:
        rows = [a for a in record["annotations"] if a["has_3d"]]
        found = Instances((record["height"], record["width"]))
        found.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in rows]))
        found.pred_classes = torch.tensor([a["category_id"] for a in rows])
        found.scores = torch.ones(len(rows))
        boxes = torch.tensor(
            [[*a["location"], *a["dimensions_hwl"], a["rotation_y"]] for a in rows], dtype=torch.float64
        )
        boxes[:, :3] *= farther
        found.pred_boxes3d = Boxes3D.from_kitti(boxes, read_camera(record).ground_rotation())
        outputs.append({"instances": found})
    return outputs


def test_evaluator_on_a_real_frame(shared_dir, tmp_path: Path):
    name = f"rope3d:{shared_dir / 'data' / 'rope3d_sample'}:val"
    register_by_name(name)
    records = DatasetCatalog.get(name)
    build = EVALUATOR_REGISTRY.get("rope3d")
    results = {}
    for farther in (1.0, 1.03):
        evaluator = build(get_cfg(), name, str(tmp_path / f"{farther}"))
        evaluator.reset()
        evaluator.process(records, _perfect(records, farther))
        results[farther] = evaluator.evaluate()
    right, far = results.values()
    assert set(right) == {"bbox", "ground", "ground_errors", "compat", "rope"}
    cars = json.loads((tmp_path / "1.0" / "roadside.json").read_text())["car"]["ground"]["objects"]["all"]
    assert cars >= 10
    # n truths give n thresholds, which are recall points 0 to n - 1.
    assert right["ground"]["car_3d@0.5"] == pytest.approx(100 * (cars - 1) / 40)
    assert right["compat"]["car_3d@0.7_moderate"] > 0 and right["rope"]["car_S"] > 0.95  # by its quirks not 1
    assert right["ground_errors"]["car_depth_p90"] < 0.1  # two decimals of metres
    assert far["ground_errors"]["car_depth_signed_median"] == pytest.approx(3, abs=0.1)
    assert far["ground"]["car_3d@0.5"] < right["ground"]["car_3d@0.5"]
    tables, errors = read_matches(tmp_path / "1.03" / "roadside_matches.npz")
    assert tables["car bev@0.25"].objects.tolist() == [cars]
    np.testing.assert_allclose(errors["car"]["depth"], 0.03, atol=2e-3)
