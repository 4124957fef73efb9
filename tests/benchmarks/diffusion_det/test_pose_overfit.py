"""Counting of cars in the overfit check of 3D pose."""

import math
from pathlib import Path

import numpy as np
import pytest
from detectron2.modeling import build_model

from benchmarks.common.records import read_record
from benchmarks.diffusion_det import pose_overfit as bench
from benchmarks.diffusion_det.pose_overfit import RULES, count_all, count_cars
from d2road.checkpoint import load_weights_file
from d2road.config import default_argument_parser, setup_cfg
from d2road.data.dataset_formats import register_by_name
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES

MODERATE, HARD, ALL = RULES


def objects(*rows, scores=()) -> ObjectTable:
    """Rows of frame, type, truncated, occluded, height in px, x, z; boxes of 1.5 x 1.6 x 4 m, ry 0."""
    count = len(rows)
    box3d = [[x, 1.6, z, 1.5, 1.6, 4.0, 0.0] for *_, x, z in rows]
    return ObjectTable(
        frame=[r[0] for r in rows],
        type=[r[1] for r in rows],
        truncated=[r[2] for r in rows],
        occluded=[r[3] for r in rows],
        alpha=np.zeros(count),
        boxes_xyxy=[[0, 0, 50, r[4]] for r in rows],
        boxes3d=np.array(box3d, dtype=np.float64),
        scores=scores if len(scores) else np.zeros(count),
    )


TRUTH = objects(
    (0, "car", 0, 0, 40, 0, 10),
    (0, "car", 0, 2, 40, 8, 20),
    (0, "car", 0.4, 0, 20, 16, 50),
    (1, "car", 0, 1, 30, 0, 10),
    (1, "car~crowd", 0, 0, 40, 8, 20),
    (1, "pedestrian", 0, 0, 40, -8, 20),
)


def counts(predictions, limits, min_score=0.3):
    result = count_cars(TRUTH, predictions, limits, min_score, 0.5)
    return tuple(result[k] for k in ("cars", "found", "false_alarms"))


def test_perfect_predictions():
    scores = np.full(len(TRUTH), 0.9)
    exact = ObjectTable(**{**vars(TRUTH), "type": np.char.replace(TRUTH.type, "~crowd", ""), "scores": scores})
    assert counts(exact, MODERATE) == (2, 2, 0)
    assert counts(exact, HARD) == (3, 3, 0)
    assert counts(exact, ALL) == (4, 4, 0)
    assert counts(exact, ALL, min_score=0.95) == (4, 0, 0)
    assert math.isnan(count_cars(TRUTH, exact, ALL, 0.95, 0.5)["precision"])


def test_limits_are_those_of_the_protocol():
    assert MODERATE is DIFFICULTIES[1] and HARD is DIFFICULTIES[2]


@pytest.mark.parametrize(
    ("row", "moderate", "everything"),
    [
        ((0, "car", 0, 0, 40, 1.0, 10), (2, 1, 0), (4, 1, 0)),  # IoU 3 / 5
        ((0, "car", 0, 0, 40, 1.5, 10), (2, 0, 1), (4, 0, 1)),  # IoU 2.5 / 5.5
        ((1, "car", 0, 0, 40, 8, 20), (2, 0, 0), (4, 0, 0)),  # on a van
        ((0, "car", 0, 0, 40, 8, 20), (2, 0, 0), (4, 1, 0)),  # on a car beyond the limits
        ((0, "car", 0, 0, 20, 30, 20), (2, 0, 0), (4, 0, 1)),  # nothing there, and small
        ((1, "car", 0, 0, 40, -8, 20), (2, 0, 1), (4, 0, 1)),  # on a pedestrian
        ((1, "car", 0, 0, 40, 16, 50), (2, 0, 1), (4, 0, 1)),  # the place of a car in another frame
        ((0, "pedestrian", 0, 0, 40, 0, 10), (2, 0, 0), (4, 0, 0)),  # another class
    ],
)
def test_one_prediction(row, moderate, everything):
    prediction = objects(row, scores=[0.5])
    assert counts(prediction, MODERATE) == moderate and counts(prediction, ALL) == everything


def test_a_car_is_found_once():
    twice = objects((0, "car", 0, 0, 40, 0.5, 10), (0, "car", 0, 0, 40, 0.1, 10), scores=[0.4, 0.8])
    result = count_cars(TRUTH, twice, MODERATE, 0.3, 0.5)
    assert (result["found"], result["false_alarms"]) == (1, 1)
    assert result["recall"] == 50 and result["precision"] == 50


def test_recall_where_precision_is_90():
    rows = [(0, "car", 0, 0, 40, 0, 10), (0, "car", 0, 0, 40, 40, 10), (1, "car", 0, 0, 40, 0, 10)]
    early = count_cars(TRUTH, objects(*rows, scores=[0.9, 0.8, 0.2]), MODERATE, 0.3, 0.5)
    assert (early["recall_at_precision_90"], early["score_at_precision_90"]) == (50, 0.9)
    late = count_cars(TRUTH, objects(*rows, scores=[0.9, 0.1, 0.2]), MODERATE, 0.3, 0.5)
    assert (late["recall_at_precision_90"], late["score_at_precision_90"]) == (100, 0.2)
    assert late["recall"] == 50


def test_no_predictions_and_no_truth():
    nothing = TRUTH[np.zeros(len(TRUTH), dtype=bool)]
    assert counts(nothing, ALL) == (4, 0, 0)
    prediction = objects((0, "car", 0, 0, 40, 0, 10), scores=[0.5])
    result = count_cars(nothing, prediction, ALL, 0.3, 0.5)
    assert result["false_alarms"] == 1 and math.isnan(result["recall"])


def test_labels_as_predictions(kitti_folder, tmp_path):
    data = f"kitti:{kitti_folder}"
    register_by_name(data)
    folder = tmp_path / "predictions"
    folder.mkdir()
    for file in (kitti_folder / "label_2").glob("*.txt"):
        rows = [line for line in file.read_text().splitlines() if line]
        (folder / file.name).write_text("".join(f"{row} 0.9\n" for row in rows))
    metrics = count_all(data, folder)
    assert metrics["all_cars"] == metrics["all_found"] == 6 and metrics["all_precision"] == 100


def test_cars_of_the_sample_frames(shared_dir, tmp_path):
    data = f"kitti:{shared_dir / 'data' / 'kitti'}"
    register_by_name(data)
    metrics = count_all(data, tmp_path)
    assert metrics["moderate_cars"] == 18 and metrics["all_cars"] == 33 and metrics["hard_found"] == 0


def test_configuration_begins_with_the_toy_detector(repo_dir):
    priors = "((1.5, 1.6, 3.9), (1.7, 0.6, 0.8), (1.7, 0.6, 1.8))"
    opts = ["MODEL.DiffusionDet.POSE.DIMENSION_PRIORS", priors, "MODEL.DEVICE", "cpu"]
    arguments = ["--config-file", str(repo_dir / bench.CONFIG), *opts]
    cfg = setup_cfg(default_argument_parser().parse_args(arguments))
    assert cfg.INPUT.RANDOM_FLIP == "none" and cfg.INPUT.COLOR_JITTER == 0
    own = build_model(cfg).state_dict()
    toy = load_weights_file(cfg.MODEL.WEIGHTS)
    other = {key for key, value in own.items() if key in toy and toy[key].shape != value.shape}
    assert other and all("class_logits" in key for key in other)
    assert all(key.startswith("pose.") for key in own.keys() - toy.keys())
    assert not any(key.startswith("pose.ground_head") for key in own)


def test_record_of_a_run(kitti_folder, tmp_path, monkeypatch, capsys):
    class Trained:
        """Stands for a training: leaves the labels as predictions."""

        start_iter = 0

        def __init__(self, cfg):
            self.folder = Path(cfg.OUTPUT_DIR) / "inference/kitti"

        def resume_or_load(self, resume):
            assert resume

        def train(self):
            self.folder.mkdir(parents=True)
            for file in (kitti_folder / "label_2").glob("*.txt"):
                rows = [line for line in file.read_text().splitlines() if line]
                (self.folder / file.name).write_text("".join(f"{row} 0.9\n" for row in rows))

    priors = "MODEL: {DiffusionDet: {POSE: {DIMENSION_PRIORS: [[1.5, 1.6, 4.0], [1.7, 0.6, 0.8], [1.7, 0.6, 1.8]]}}}\n"
    config = tmp_path / "config.yaml"
    config.write_text(f'_BASE_: "{Path(bench.CONFIG).resolve()}"\n{priors}OUTPUT_DIR: "{tmp_path / "output"}"\n')
    monkeypatch.setattr(bench, "CONFIG", str(config))
    monkeypatch.setattr("benchmarks.common.trainings.Trainer", Trained)
    monkeypatch.setattr("benchmarks.common.trainings.setup", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["bench_pose_overfit", "--data", str(kitti_folder)])
    monkeypatch.chdir(tmp_path)
    bench.main()
    record = read_record(bench.BENCH, bench.NAME)
    assert record["metrics"]["all_recall"] == 100 and "OVERFIT" in record["note"]
    assert "OVERFIT" in capsys.readouterr().out
    bench.main()
    assert "done already" in capsys.readouterr().out
