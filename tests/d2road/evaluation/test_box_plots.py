"""Figures and examples of box detection, on scenes whose numbers are known."""

import numpy as np
import pytest

from d2road.evaluation.box_plots import box_plots, shortened
from d2road.evaluation.coco_evaluator import standard_metrics
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision
from tests.d2road.evaluation.metrics.test_box_matches import crowded_scenes, detection, label

NAMES = ["car", "van", "bus"]


def test_the_figures_say_what_the_metrics_say():
    truth, found = crowded_scenes(1)
    precision = coco_precision(truth, found)
    plots = box_plots(truth, found, precision, NAMES, {})
    results = standard_metrics(precision)
    names = [series.name for series in plots.figures["precision_recall"].series]
    assert names[:3] == [
        f"all classes, IoU 0.5 (AP {results['AP50']:.1f})",
        f"all classes, IoU 0.75 (AP {results['AP75']:.1f})",
        f"all classes, IoU 0.5 to 0.95 (AP {results['AP']:.1f})",
    ]
    assert [name.split(",")[0] for name in names[3:]] == NAMES
    recall = plots.figures["thresholds"].series[1]
    assert recall.name == "recall" and list(recall.y) == sorted(recall.y) and recall.x[0] > recall.x[-1]
    assert sum(plots.figures["reliability"].counts) > 0
    counts = np.array(plots.figures["confusion"].counts)
    assert counts[:, :3].sum() == sum(not a["iscrowd"] for a in truth.annotations)
    assert not plots.examples  # no files are known


def test_examples_are_the_worst_and_the_best_images():
    box = [0.0, 0.0, 10.0, 10.0]
    truth = BoxTruth([1, 2, 3, 4], [7], [label(1, 7, box), label(2, 7, box), label(4, 7, [5, 5, 9, 9], crowd=1)])
    found = [detection(1, 7, box), detection(2, 7, [50, 50, 9, 9]), detection(2, 7, box, 0.1)]
    files = {i: f"/data/{i}.png" for i in truth.images}
    plots = box_plots(truth, found, coco_precision(truth, found), ["car"], files)
    assert [(e.group, e.image, e.caption.split(":")[0]) for e in plots.examples] == [
        ("worst", "/data/2.png", "F1 0.00"),
        ("best", "/data/1.png", "F1 1.00"),
    ]
    worst = plots.examples[0]
    assert worst.found.boxes_xyxy == [[50, 50, 59, 59]] and worst.found.scores == [0.9], "low scores are not drawn"
    assert worst.truth.boxes_xyxy == [[0, 0, 10, 10]] and worst.truth.classes == [0]


def test_without_predictions_there_are_figures_all_the_same():
    truth, _ = crowded_scenes(2)
    plots = box_plots(truth, [], coco_precision(truth, []), NAMES, {1: "a.png"})
    assert list(plots.figures) == ["precision_recall", "thresholds", "confusion"]


def test_rare_classes_share_a_row():
    counts = np.arange(31 * 31).reshape(31, 31)
    names = [*(f"c{i}" for i in range(30)), "background"]
    small, shown = shortened(counts, names)
    assert len(shown) == 20 == len(small) and shown[-2:] == ["12 others", "background"]
    assert small.sum() == counts.sum() and small[-1, -1] == counts[-1, -1]
    assert shown[:-2] == names[12:30]  # those with the most
    assert shortened(counts[:3, :3], names[:3])[1] == names[:3]


@pytest.mark.parametrize("score", [-1.0, 3.0])
def test_scores_that_are_no_shares_have_no_reliability(score):
    truth = BoxTruth([1], [1], [label(1, 1, [0, 0, 9, 9])])
    found = [detection(1, 1, [0, 0, 9, 9], score)]
    assert "reliability" not in box_plots(truth, found, coco_precision(truth, found), ["car"], {}).figures
