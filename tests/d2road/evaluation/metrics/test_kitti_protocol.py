"""KITTI's protocol against the official C++ program, against a plain loop, and by hand."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.plain_kitti_ap import evaluate_plain
from benchmarks.speed.speed_kitti_eval import make_frame
from d2road.evaluation.metrics.kitti_ap import ABSENT, COUNTED, IGNORED, Pairs, precision_curve, recall_thresholds
from d2road.evaluation.metrics.kitti_objects import (
    ObjectTable,
    parse_objects,
    read_labels_folder,
    read_predictions_folder,
)
from d2road.evaluation.metrics.kitti_protocol import CLASSES, evaluate_kitti

CAR = "Car 0.00 0 0.10 100.00 100.00 200.00 200.00 1.50 1.60 4.00 {x:.2f} 1.60 20.00 0.10"


@pytest.fixture(scope="module")
def golden(golden_dir: Path, tmp_path_factory) -> tuple[Path, dict]:
    """Folders label_2 and pred, and what the official program gives."""
    source, folder = golden_dir / "kitti_eval", tmp_path_factory.mktemp("kitti_eval")
    for name in ("label_2", "pred"):
        with zipfile.ZipFile(source / f"{name}.zip") as archive:
            archive.extractall(folder / name)
    return folder, json.loads((source / "expected.json").read_text())["ap"]


def test_equals_the_official_program(golden):
    folder, expected = golden
    frames = sorted(path.stem for path in (folder / "pred").glob("*.txt"))
    results = evaluate_kitti(
        read_labels_folder(folder / "label_2", frames), read_predictions_folder(folder / "pred", frames)
    )
    assert set(expected) == set(results)
    compared = 0
    for name, metrics in expected.items():
        for metric, curves in metrics.items():
            for recall, values in curves.items():
                np.testing.assert_allclose(results[name][metric][recall], values, atol=1e-3, err_msg=f"{name} {metric}")
                compared += 1
    assert compared == 3 * 4 * 2


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_plain_loop_over_frames(seed):
    rng = np.random.default_rng(seed)
    sizes = [(rng.integers(0, 30), rng.integers(0, 60)) for _ in range(12)] + [(1, 40), (25, 3)]
    texts = [make_frame(rng, max(int(o), 1), int(d)) for o, d in sizes]
    truth = parse_objects([("gt", labels) for labels, _ in texts], scored=False)
    # One digit of score: many detections have equal ones.
    predictions = parse_objects([("pred", found) for _, found in texts], scored=True)
    object.__setattr__(predictions, "scores", predictions.scores.round(1 if seed % 2 else 4))
    ours, plain = evaluate_kitti(truth, predictions), evaluate_plain(truth, predictions, len(texts), list(CLASSES))
    for name, metrics in plain.items():
        for metric, curves in metrics.items():
            for recall, values in curves.items():
                mine = np.nan_to_num(ours[name][metric][recall])  # the loop gives 0 where nothing is to be found
                np.testing.assert_allclose(mine, values, atol=1e-9, err_msg=f"{name} {metric}")


def test_order_of_frames_and_interleaved_rows_do_not_matter():
    rng = np.random.default_rng(0)
    texts = [make_frame(rng, 10, 20) for _ in range(8)]
    truth = parse_objects([("gt", labels) for labels, _ in texts], scored=False)
    predictions = parse_objects([("pred", found) for _, found in texts], scored=True)
    mixed = truth[np.lexsort((np.arange(len(truth)), -(truth.frame % 3)))]  # the order within each frame stays
    np.testing.assert_equal(evaluate_kitti(mixed, predictions), evaluate_kitti(truth, predictions))


def _cars(count: int) -> str:
    """Labels of cars side by side, 5 m apart, whose 2D boxes do not touch."""
    rows = []
    for i in range(count):
        words = CAR.format(x=5 * i).split()
        words[4], words[6] = str(150 * i), str(150 * i + 100)
        rows.append(" ".join(words))
    return "\n".join(rows)


def _evaluate(labels: str, found: str, **options) -> dict:
    truth = parse_objects([("gt", labels)], scored=False)
    return evaluate_kitti(truth, parse_objects([("pred", found)], scored=True), **options)


def _scored(labels: str, score: float = 0.9) -> str:
    return "\n".join(f"{line} {score}" for line in labels.splitlines())


def test_perfect_detections_of_enough_objects_have_ap_100():
    results = _evaluate(_cars(41), _scored(_cars(41)))
    for metric in ("bbox", "aos", "bev", "3d"):
        assert results["car"][metric] == {"R40": [100.0] * 3, "R11": [100.0] * 3}
    assert np.isnan(results["cyclist"]["3d"]["R40"]).all()  # nothing to find is not 0


def test_few_objects_cap_the_ap_and_are_warned_of(caplog):
    """18 objects give 18 thresholds: 17 of the recall points 1 to 40."""
    results = _evaluate(_cars(18), _scored(_cars(18)))
    assert results["car"]["3d"]["R40"][1] == pytest.approx(100 * 17 / 40)
    assert "fewer than 41" in caplog.text and "car moderate 18" in caplog.text


def test_no_detection_is_0_and_nothing_at_all_is_nan():
    assert _evaluate(_cars(3), "")["car"]["3d"]["R40"] == [0.0] * 3
    assert np.isnan(_evaluate("", "")["car"]["3d"]["R11"]).all()


def test_unknown_alpha_switches_orientation_off():
    words = _scored(_cars(41)).splitlines()
    row = words[0].split()
    row[3] = "-10"
    results = _evaluate(_cars(41), "\n".join([" ".join(row), *words[1:]]))
    assert np.isnan(results["car"]["aos"]["R40"]).all() and results["car"]["bbox"]["R40"][0] == 100


def test_detections_without_3d_box_are_scored_in_the_image_only():
    words = [line.split() for line in _scored(_cars(41)).splitlines()]
    flat = "\n".join(" ".join([*w[:8], "-1 -1 -1 -1000 -1000 -1000", *w[14:]]) for w in words)
    results = _evaluate(_cars(41), flat)
    assert results["car"]["bbox"]["R40"][0] == 100 and np.isnan(results["car"]["3d"]["R40"]).all()


def test_class_names_match_in_any_case():
    results = _evaluate(_cars(41).replace("Car", "CAR"), _scored(_cars(41)).replace("Car", "car"), classes=["cAr"])
    assert results["car"]["3d"]["R40"][0] == 100


def test_neighbours_and_dont_care_regions_excuse_detections():
    extra = CAR.format(x=-50).replace(" 100.00 100.00 200.00 200.00", " 9000.00 100.00 9100.00 200.00")
    region = "DontCare -1 -1 -10 8990 90 9110 210 -1 -1 -1 -1000 -1000 -1000 -10"
    wrong = _evaluate(_cars(41), _scored(f"{_cars(41)}\n{extra}", 0.9))["car"]
    assert wrong["bbox"]["R40"][0] < 100 and wrong["3d"]["R40"][0] < 100
    van = _evaluate(f"{_cars(41)}\n{extra.replace('Car', 'Van')}", _scored(f"{_cars(41)}\n{extra}", 0.9))["car"]
    assert van["bbox"]["R40"][0] == 100 and van["3d"]["R40"][0] == 100
    region = _evaluate(f"{_cars(41)}\n{region}", _scored(f"{_cars(41)}\n{extra}", 0.9))["car"]
    assert region["bbox"]["R40"][0] == 100 and region["3d"]["R40"] == wrong["3d"]["R40"]  # in the image only


def test_heights_at_the_limit():
    """A label of exactly 40 px is ignored in easy; a detection of 40 px counts."""
    labels, found = _cars(41), _scored(_cars(41))
    lower = labels.replace(" 100.00 ", " 160.00 ", 1)  # first car: 40 px high
    assert lower != labels
    results = _evaluate(lower, found.replace(" 100.00 ", " 160.00 ", 1))["car"]["3d"]["R40"]
    assert results[0] == pytest.approx(100 * 39 / 40) and results[1] == 100  # 40 counted cars against 41


def test_extra_thresholds_stand_beside_the_official_ones():
    moved = _scored(_cars(41)).replace(" 20.00 0.10", " 20.25 0.10")  # a quarter of a metre: IoU about 0.73 across
    far = _scored(_cars(41)).replace(" 20.00 0.10", " 20.40 0.10")
    near, further = (_evaluate(_cars(41), f, extra_overlaps={"car": [0.5, 0.25]})["car"] for f in (moved, far))
    assert near["3d"]["R40"][0] == 100 and further["3d"]["R40"][0] == 0
    assert further["3d@0.5"]["R40"][0] == 100 and further["bev@0.25"]["R11"][2] == 100


def test_recall_thresholds_of_a_long_list():
    scores = np.linspace(1, 0, 400)
    picked = recall_thresholds(scores, 400)
    assert len(picked) == 41 and picked[0] == 1 and picked[-1] == 0
    steps = np.searchsorted(-scores, -picked) + 1
    np.testing.assert_allclose(steps[1:] / 400, np.arange(1, 41) / 40, atol=1 / 400)
    assert len(recall_thresholds(scores[:100], 400)) == 11  # recall ends at a quarter


def test_excused_predictions_are_hits_but_no_false_positives():
    pairs = Pairs(np.array([0, 1]), np.array([0, 1]), np.array([0.9, 0.9]))
    curve = precision_curve(
        pairs,
        0.5,
        scores=np.array([0.9, 0.8, 0.95, 0.85]),
        truth_frame=np.array([0, 0]),
        truth_flag=np.array([COUNTED, COUNTED]),
        prediction_flag=np.array([COUNTED] * 4),
        excused=np.array([True, False, True, False]),
    )
    assert curve.tp.tolist() == [1, 2] and curve.fp.tolist() == [0, 1] and curve.fn.tolist() == [1, 0]


def test_an_ignored_prediction_is_taken_only_if_no_other_is_free():
    pairs = Pairs(np.array([0, 0]), np.array([0, 1]), np.array([0.95, 0.6]))
    flags = {"truth_frame": np.array([0]), "truth_flag": np.array([COUNTED])}
    scores = np.array([0.5, 0.9])
    curve = precision_curve(pairs, 0.5, scores, **flags, prediction_flag=np.array([IGNORED, COUNTED]))
    assert curve.tp.tolist() == [1] and curve.fn.tolist() == [0]
    curve = precision_curve(pairs, 0.5, scores, **flags, prediction_flag=np.array([IGNORED, ABSENT]))
    assert len(curve.thresholds) == 0 and curve.num_truth == 1  # neither found nor missed at any threshold


def test_columns_of_wrong_shape_are_named():
    empty = parse_objects([], scored=True)
    assert len(empty) == 0 and empty.boxes3d.shape == (0, 7)
    columns = {name: getattr(empty, name) for name in empty.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"boxes3d has shape \(2, 3\), expected \(0, 7\)"):
        ObjectTable(**{**columns, "boxes3d": np.zeros((2, 3))})
