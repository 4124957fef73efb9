"""Overlaps against published values, measures against cases worked out by hand and brute force."""

import itertools
import json

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from d2road.utils.errors import DataError
from mono3dvg.evaluation import grounding_metrics as metrics
from mono3dvg.evaluation.grounding_protocol import choose_score_threshold, evaluate_grounding
from mono3dvg.evaluation.overlaps import iou_mono3dvg, iou_rotated, overlap_tables
from mono3dvg.evaluation.prediction_files import Answer
from mono3dvg.evaluation.subsets import read_subsets, subsets_by_file
from mono3dvg.schema import GroundingData
from tests.factories.grounding_files import CAR, annotation, box, expression, grounding_content


def test_overlaps_equal_published_values(golden_dir):
    golden = json.loads((golden_dir / "iou3d.json").read_text())
    assert len(golden["a"]) == 160
    legacy = iou_mono3dvg(golden["a"], golden["b"])
    np.testing.assert_array_equal(legacy.astype(np.float64), golden["mono3dvg_iou"])  # every bit
    np.testing.assert_allclose(iou_rotated(golden["a"], golden["b"]), golden["iou_3d"], atol=1e-6)


def test_legacy_overlap_ignores_the_heading_and_mixes_the_axes():
    car, turned = box(0, 20), box(0, 20, np.pi / 2)
    assert iou_mono3dvg([car], [turned])[0] == pytest.approx(1)
    shared = 1.6 * 1.6  # footprints 1.6 x 4 across each other
    assert iou_rotated([car], [turned])[0] == pytest.approx(shared / (2 * 1.6 * 4 - shared))
    # 1 m along x: the published code has the height (1.5 m) there, the truth the length (4 m, ry = 0).
    assert iou_mono3dvg([car], [box(1, 20)])[0] == pytest.approx(0.5 / 2.5, abs=1e-6)
    assert iou_rotated([car], [box(1, 20)])[0] == pytest.approx(3 / 5)


def test_rotated_overlap_stands_on_the_ground():
    """Boxes on a tilted ground overlap as the same boxes do upright."""
    angle = np.deg2rad(14)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    upright = np.array([box(0, 20, 0.3), box(0.6, 20.3, 0.5)])
    tilted = upright.copy()
    tilted[:, :3] = upright[:, :3] @ tilt.T
    expected = iou_rotated(upright[:1], upright[1:])
    assert 0.3 < expected[0] < 0.9
    np.testing.assert_allclose(iou_rotated(tilted[:1], tilted[1:], tilt[None]), expected, atol=1e-9)
    assert abs(iou_rotated(tilted[:1], tilted[1:])[0] - expected[0]) > 0.01


def test_tables_hold_every_pair_and_empty_sides():
    boxes = [np.array([box(0, 20), box(5, 20)]), np.zeros((0, 7)), np.array([box(0, 20)])]
    targets = [np.array([box(0, 20), box(9, 20), box(5, 20)]), np.array([box(0, 20)]), np.zeros((0, 7))]
    tables = overlap_tables(boxes, targets, [None] * 3, "rotated")
    assert [t.shape for t in tables] == [(2, 3), (0, 1), (1, 0)]
    np.testing.assert_allclose(tables[0], [[1, 0, 0], [0, 0, 1]], atol=1e-12)
    with pytest.raises(ValueError, match="choose one of rotated, mono3dvg"):
        overlap_tables(boxes, targets, [None] * 3, "aabb")


def test_matching_is_the_best_assignment():
    rng = np.random.default_rng(0)
    for k, g in itertools.product((1, 2, 3, 4), (1, 2, 3)):
        table = rng.random((k, g)).round(2)
        pairs = list(itertools.permutations(range(max(k, g)), min(k, g)))
        sums = [sum(table[(i, j) if k <= g else (j, i)] for i, j in enumerate(p)) for p in pairs]
        assert metrics.matched_overlaps(table).sum() == pytest.approx(max(sums))
    assert metrics.matched_overlaps(np.zeros((0, 2))).tolist() == [0, 0]
    assert metrics.matched_overlaps(np.zeros((3, 0))).tolist() == []


def test_one_target_is_not_found_twice():
    matched = metrics.matched_overlaps(np.array([[0.9, 0.0], [0.8, 0.0], [0.7, 0.0]]))
    assert matched.tolist() == [0.9, 0]
    assert metrics.f1_of(matched, 3, 0.5) == pytest.approx(2 / 5)
    assert metrics.micro([matched], [3], 0.5) == pytest.approx({"precision": 100 / 3, "recall": 50, "f1": 40})


def test_boundaries_of_overlaps():
    """Accuracy counts above 0.25, F1 from 0.25 on."""
    assert metrics.accuracy([0.25, 0.5, 0.75]) == pytest.approx({"0.25": 200 / 3, "0.5": 100 / 3, "miou": 50})
    assert metrics.f1_of(np.array([0.25]), 1, 0.25) == 1
    assert np.isnan(metrics.accuracy([])["miou"])


def test_zero_target_sentences():
    nothing = np.zeros(0)
    assert metrics.f1_of(nothing, 0, 0.5) == 1 and metrics.f1_of(nothing, 1, 0.5) == 0
    assert metrics.empty_accuracy([0, 0, 1, 2], [0, 3, 0, 1]) == (50, 50)
    assert np.isnan(metrics.empty_accuracy([1, 2], [1, 1])[0])


def test_recall_by_distance():
    bins = metrics.recall_by_distance(
        [np.array([0.6, 0.3]), np.array([0.1])], [np.array([5, 15]), np.array([99])], (0, 15, 60)
    )
    assert bins["0-15"] == {"0.25": 100, "0.5": 100, "targets": 1}
    assert bins["15-60"] == {"0.25": 100, "0.5": 0, "targets": 1}
    assert bins["60-"] == {"0.25": 0, "0.5": 0, "targets": 1}


def _data() -> GroundingData:
    """A car alone in image 0; two cars and a truck in image 1, and a sentence of every group."""
    things = [annotation(1, box(0, 10)), *(annotation(i, box(4 * i, 40), 1) for i in (2, 3))]
    things.append(annotation(4, box(0, 70, hwl=[3, 2.5, 9]), 1, 1, occlusion=2))
    sentences = [
        expression("st_wo_d", [1], tags=["style:phrase"]),
        expression("st_w_d", [2], 1),
        expression("mt", [2, 3], 1, tags=["style:question", "color"]),
        expression("zt_w_d", [], 1, distractors=True, category_ids=[0], tags=["style:question"]),
        expression("zt_wo_d", [], 1, distractors=False, category_ids=[2]),
        expression("truck", [4], 1),
    ]
    return GroundingData(grounding_content(things, sentences, (0, 1)))


def _perfect(data: GroundingData) -> dict[str, Answer]:
    rows = {e.id: data.target_rows(e) for e in data.expressions.values()}
    return {key: Answer(boxes, np.full(len(boxes), 0.9)) for key, boxes in rows.items()}


def test_a_perfect_answer_scores_100_everywhere():
    data = _data()
    results = evaluate_grounding(data, _perfect(data), 0.5)
    assert set(results["mean_f1"]["0.5"].values()) == {100.0}
    assert results["n_acc"] == results["t_acc"] == 100
    assert all(row == {"precision": 100, "recall": 100, "f1": 100} for row in results["micro"].values())
    for mode in ("rotated", "mono3dvg"):
        present = {n: v for n, v in results["acc"][mode].items() if not np.isnan(v["miou"])}
        assert set(present) == {"overall", "unique", "multiple", "near", "far", "easy", "hard", "medium"} - {"medium"}
        assert all(row == pytest.approx({"0.25": 100, "0.5": 100, "miou": 100}) for row in present.values())
    assert results["counts"] == {
        "expressions": 6, "zero": 2, "single": 3, "multi": 1, "zero_without_distractors_flag": 0, "missing": 0,
        "boxes": 5, "targets": 5,
    }  # fmt: skip
    counts = {name: row["expressions"] for name, row in results["by_category"].items()}
    assert counts == {"car": 3, "truck": 1, "vehicles": 4}


def test_worked_example():
    """One box missed, one too many, one zero-target sentence answered, one sentence left out."""
    data = _data()
    answers = _perfect(data)
    del answers["truck"]
    answers["mt"] = Answer(answers["mt"].boxes[:1], np.array([0.9]))
    answers["st_w_d"] = Answer(np.array([box(8, 40), box(12, 40)]), np.array([0.8, 0.6]))
    answers["zt_w_d"] = Answer(np.array([box(8, 40)]), np.array([0.7]))
    results = evaluate_grounding(data, answers, 0.5)
    assert results["mean_f1"]["0.25"] == pytest.approx(
        {"overall": 100 * (1 + 2 / 3 + 2 / 3 + 0 + 1 + 0) / 6, "zt_w_d": 0, "zt_wo_d": 100, "st_w_d": 200 / 3,
         "st_wo_d": 50, "mt": 200 / 3}
    )  # fmt: skip
    assert results["micro"]["0.5"] == pytest.approx({"precision": 60, "recall": 60, "f1": 60})
    assert (results["n_acc"], results["t_acc"]) == (50, 75)
    # Of the pairs of a sentence with targets (one left out) and one without: 3 above 0.7, 3 above none and a tie.
    assert results["presence_auroc"] == pytest.approx(100 * 6.5 / 8)
    assert results["acc"]["rotated"]["overall"]["0.25"] == pytest.approx(200 / 3)
    assert results["acc"]["rotated"]["far"]["0.25"] == pytest.approx(50)
    assert results["counts"]["missing"] == 1
    # Three single targets with F1 1 (alone in its image), 2/3 (a box too many) and 0 (left out); exact: the first.
    kinds = results["by_kind"]
    assert {name: row["0.25"] for name, row in kinds.items()} == pytest.approx(
        {"zero": 50, "single": 100 * (1 + 2 / 3 + 0) / 3, "multi": 200 / 3}
    )
    assert kinds["single"]["exact"]["0.25"] == pytest.approx(100 / 3) and kinds["multi"]["exact"]["0.25"] == 0
    assert list(results["by_style"]) == ["phrase", "question"]
    question = results["by_style"]["question"]
    assert (question["expressions"], question["n_acc"], question["t_acc"]) == (2, 0, 100)
    assert question["0.5"] == pytest.approx(100 / 3) and list(question["by_kind"]) == ["zero", "multi"]
    # From 0.75 on the wrong boxes are gone; the top-1 does not mind a threshold that nothing reaches.
    assert evaluate_grounding(data, answers, 0.75)["n_acc"] == 100
    strict = evaluate_grounding(data, answers, 2.0)
    assert strict["t_acc"] == 0 and strict["acc"] == results["acc"] and np.isnan(strict["micro"]["0.5"]["precision"])


def test_threshold_of_the_best_f1():
    data = _data()
    answers = {
        key: Answer(np.concatenate([a.boxes, [box(-9, 30)]]), np.append(np.full(len(a.boxes), 0.7), 0.4))
        for key, a in _perfect(data).items()
    }
    threshold, f1 = choose_score_threshold(data, answers)
    assert 0.4 < threshold <= 0.7 and f1 == 100
    assert evaluate_grounding(data, answers, threshold)["mean_f1"]["0.25"]["overall"] == 100
    assert choose_score_threshold(data, {})[1] == pytest.approx(200 / 6)


def test_threshold_of_a_share_of_answered_sentences():
    data = _data()
    meant = [key for key, e in data.expressions.items() if e.target_ids]
    answers = _perfect(data)
    for number, key in enumerate(meant):
        answers[key] = Answer(answers[key].boxes, np.full(len(answers[key].boxes), 0.9 - 0.1 * number))
    for asked in range(1, len(meant) + 1):
        share = 100 * asked / len(meant)
        for t_acc in (share, share - 0.5):
            threshold, f1 = choose_score_threshold(data, answers, t_acc=t_acc)
            results = evaluate_grounding(data, answers, threshold)
            assert results["t_acc"] == pytest.approx(share) and results["mean_f1"]["0.25"]["overall"] == f1
        assert evaluate_grounding(data, answers, np.nextafter(threshold, 1))["t_acc"] < share - 1e-6
    answers[meant[0]] = Answer(np.zeros((0, 7)), np.zeros(0))
    with pytest.raises(DataError, match="with every box as an answer, expected 100 % or more"):
        choose_score_threshold(data, answers, t_acc=100)


def test_micro_f1_equals_a_plain_count():
    rng = np.random.default_rng(3)
    tables = [rng.random((rng.integers(0, 5), rng.integers(0, 4))) for _ in range(50)]
    hits = 0
    for table in tables:
        rows, columns = linear_sum_assignment(-table)
        hits += (table[rows, columns] >= 0.5).sum()
    boxes, targets = sum(len(t) for t in tables), sum(t.shape[1] for t in tables)
    found = metrics.micro([metrics.matched_overlaps(t) for t in tables], [len(t) for t in tables], 0.5)
    assert found == pytest.approx(
        {"precision": 100 * hits / boxes, "recall": 100 * hits / targets, "f1": 200 * hits / (boxes + targets)}
    )


def test_ids_of_mono3drefer_drive_the_nine_subsets(shared_dir):
    ids = read_subsets(shared_dir / "data" / "mono3drefer" / "test_instanceID_split.json")
    assert "multiple" not in ids
    instances = sorted(ids["near"] | ids["medium"] | ids["far"])
    things = [annotation(i, box(0, 20), n) for n, i in enumerate(instances)]
    sentences = [
        expression(f"{i}_{k}", [i], n, legacy={"instanceID": i, "ann_id": k})
        for n, i in enumerate(instances)
        for k in range(5)
    ]
    data = GroundingData(grounding_content(things, sentences, tuple(range(len(instances)))))
    # Right for the instances of Unique, wrong for all others; 5 sentences an object as in the published test set.
    answers = {}
    for e in data.expressions.values():
        good = e.target_ids[0] in ids["unique"]
        answers[e.id] = Answer(np.array([box(0, 20 if good else 50)]), np.array([0.1]))
    names = subsets_by_file(ids, data.expressions.values())
    assert len(names) == 5415
    count = {s: sum(s in n for n in names.values()) // 5 for s in ("unique", "multiple", "near", "medium", "far")}
    assert count == {"unique": 204, "multiple": 879, "near": 304, "medium": 491, "far": 288}
    acc = evaluate_grounding(data, answers, 0.5, ids)["acc"]["mono3dvg"]
    assert acc["unique"]["0.5"] == 100 and acc["multiple"]["0.5"] == 0
    assert acc["overall"]["0.25"] == pytest.approx(100 * 204 / 1083)
    for name in ("near", "medium", "far", "easy", "moderate", "hard"):
        assert acc[name]["0.5"] == pytest.approx(100 * len(ids["unique"] & ids[name]) / len(ids[name]))


def test_size_of_a_car_is_as_the_world_says():
    assert CAR == [1.5, 1.6, 4.0]  # the values above were worked out with it
