"""Figures and examples of grounding agree with the protocol's measures on the same answers."""

import numpy as np
import pytest

from d2road.evaluation.plot_data import read_plot_data
from mono3dvg.evaluation.grounding_evaluator import GroundingEvaluator
from tests.factories.grounding_files import annotation, box, expression, grounding_content, write_files

THRESHOLD = 0.5
ROWS = [box(-3, 15), box(3, 25), box(0, 40), box(4, 42, hwl=[1.7, 0.6, 0.6])]


@pytest.fixture
def evaluated(tmp_path):
    """Results and plot data of answers to seven sentences about two images."""
    things = [annotation(10 * image + i, row, image, 2 * (i == 3)) for image in (0, 1) for i, row in enumerate(ROWS)]
    wanted = [[0], [1, 2], [], [13], [10], [], [11]]
    raw = grounding_content(things, [expression(k, t, k // 3 % 2) for k, t in enumerate(wanted)], (0, 1))
    for entry in raw["expressions"]:
        entry["image_id"] = int(any(t >= 10 for t in entry["target_ids"]))
    gt, _ = write_files(tmp_path, raw, [])
    evaluator = GroundingEvaluator(gt, tmp_path / "out", score_threshold=THRESHOLD, plots=True, distributed=False)
    turned = box(-3, 15.5, ry=np.pi)
    answers = {
        0: ([turned, ROWS[1]], [0.9, 0.7]), 1: ([ROWS[1], ROWS[2]], [0.8, 0.3]), 2: ([ROWS[0]], [0.6]),
        3: ([ROWS[3]], [0.95]), 4: ([ROWS[2]], [0.55]), 5: ([], []), 6: ([ROWS[1]], [0.2]),
    }  # fmt: skip
    for key, (boxes, scores) in answers.items():
        grounding = {"expression_id": key, "boxes": np.array(boxes), "scores": np.array(scores)}
        image = raw["expressions"][key]["image_id"]
        evaluator.process([{"image_id": image, "file_name": f"/data/{image}.png"}], [{"groundings": [grounding]}])
    results = evaluator.evaluate()["grounding"]
    return results, read_plot_data(tmp_path / "out" / "plots" / "grounding.json")


def test_the_threshold_lies_where_the_protocol_has_it(evaluated):
    results, plots = evaluated
    series = {s.name: s for s in plots.figures["precision_recall"].series}
    for overlap in ("0.25", "0.5"):
        point = series[f"threshold 0.50, IoU {overlap}"]
        assert 100 * point.x[0] == pytest.approx(results[f"micro_recall@{overlap}"], abs=1e-3)
        assert 100 * point.y[0] == pytest.approx(results[f"micro_precision@{overlap}"], abs=1e-3)


def test_answers_to_sentences_that_mean_nothing_are_counted(evaluated):
    results, plots = evaluated
    counts = np.array(plots.figures["presence_confusion"].counts)
    assert counts.tolist() == [[4, 1], [1, 1]]
    share = 100 * counts / counts.sum(axis=0)
    assert (results["t_acc"], results["n_acc"]) == pytest.approx((share[0, 0], share[1, 1]))
    assert f"AUROC {results['presence_auroc'] / 100:.3f}" in plots.figures["presence_roc"].title
    histogram = plots.figures["presence_scores"]
    assert {name: sum(row) for name, row in histogram.counts.items()} == {"means something": 5, "means nothing": 2}


def test_examples_show_sentences_with_their_boxes(evaluated):
    _, plots = evaluated
    worst = [e for e in plots.examples if e.group == "worst"]
    best = [e for e in plots.examples if e.group == "best"]
    assert [e.image for e in worst] == ["/data/1.png", "/data/0.png"] and best[0].caption.startswith("F1 1.00")
    assert all(e.sentence == "the car" and np.shape(e.P) == (3, 4) for e in plots.examples)
    assert worst[0].caption == "F1 0.00: 1 boxes for 1 objects meant"
    assert np.shape(worst[0].truth.corners) == np.shape(worst[0].found.corners) == (1, 8, 3)
