"""Figures and examples of anomaly detection, against scikit-learn and counts by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from d2road.evaluation.plot_data import Heat, read_plot_data
from efficientad.data.dataset_layouts import mvtec_ad
from efficientad.evaluation.anomaly_plots import ShownImage, anomaly_plots
from efficientad.evaluation.evaluator import AnomalyEvaluator
from efficientad.evaluation.image_scores import score_image
from efficientad.evaluation.map_files import read_map
from tests.factories.anomaly_maps import read_all, write_category

SCORES = {"good": [0.1, 0.2, 0.6, 0.3], "dent": [0.5, 0.9], "scratch": [0.25, 0.8]}


def images_and_shown():
    images = [
        score_image(f"{kind}/{i}", kind, np.full((4, 5), score))
        for kind, scores in SCORES.items()
        for i, score in enumerate(scores)
    ]
    heat = {image.name: Heat.of(np.linspace(0, image.score, 20).reshape(4, 5)) for image in images}
    return images, {name: ShownImage(f"/data/{name}.png", ["/data/mask.png"], h) for name, h in heat.items()}


def test_roc_and_precision_are_those_of_sklearn():
    images, shown = images_and_shown()
    labels, scores = [i.anomalous for i in images], [i.score for i in images]
    figures = anomaly_plots(images, shown, 0.4).figures
    every, dent, _ = figures["roc"].series
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert (every.x, every.y) == (tuple(false), tuple(true))
    assert every.name == f"all anomalies (AUROC {roc_auc_score(labels, scores):.3f})"
    assert dent.name.startswith("dent (AUROC 0.875)")  # 7 of 8 pairs in order
    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=False)
    (curve,) = figures["precision_recall"].series
    assert curve.x == pytest.approx(recall[:-1][::-1]) and curve.y == pytest.approx(precision[:-1][::-1])


def test_verdicts_and_scores_are_counted():
    images, shown = images_and_shown()
    figures = anomaly_plots(images, shown, 0.4).figures
    verdicts = figures["verdicts"]
    assert verdicts.columns == ["good", "dent", "scratch"] and verdicts.counts == ((1, 2, 1), (3, 0, 1))
    histogram = figures["scores"]
    assert {name: sum(row) for name, row in histogram.counts.items()} == {"good": 4, "anomalous": 4}
    assert [mark.x for mark in histogram.marks] == [0.4]
    assert "verdicts" not in anomaly_plots(images, shown, None).figures


def test_examples_are_the_scores_on_the_wrong_side_and_on_the_right_one():
    images, shown = images_and_shown()
    found = anomaly_plots(images, shown, 0.4, 0.35).examples
    worst = [e.caption.split(" ")[0] for e in found if e.group == "worst"]
    best = [e.caption.split(" ")[0] for e in found if e.group == "best"]
    assert worst == ["good/2", "good/3", "good/1", "scratch/0", "dent/0", "scratch/1"]
    assert best == ["dent/1", "good/0"]
    assert found[0].caption == "good/2 (good): score 0.6, called anomalous"
    assert {e.heat_threshold for e in found} == {0.35} and len({e.heat_range for e in found}) == 1


@pytest.mark.parametrize("kept", ["good", "dent"])
def test_one_kind_alone_has_scores_and_no_curve(kept):
    images, shown = images_and_shown()
    figures = anomaly_plots([i for i in images if i.kind == kept], shown, None).figures
    assert list(figures) == ["scores"]


def test_the_evaluator_writes_them(tmp_path):
    data, maps = write_category(tmp_path)
    evaluator = AnomalyEvaluator(str(data), str(tmp_path / "out"), draws=0, plots=True)
    for entry in mvtec_ad(data).test():
        anomaly_map = read_map(maps / entry.path.relative_to(data).with_suffix(".tiff"))
        masks = [str(mask) for mask in entry.masks]
        inputs = {"file_name": str(entry.path), "root": str(data), "defect": entry.defect, "mask_files": masks}
        evaluator.process([inputs], [{"anomaly_map": anomaly_map, "anomaly_score": anomaly_map.max()}])
    results = evaluator.evaluate()["anomaly"]
    plots = read_plot_data(tmp_path / "out" / "plots" / "anomaly.json")
    pixels, regions = plots.figures["pixel_roc"].series
    assert pixels.name == f"pixels (AUROC {results['pixel_auroc']:.3f})"
    everything = read_all(data, maps)
    values = np.concatenate([m.ravel() for _, m, _ in everything])
    labels = np.concatenate([mask.ravel() for *_, mask in everything])
    assert np.trapezoid(pixels.y, pixels.x) == pytest.approx(roc_auc_score(labels, values), abs=1e-3)
    assert len(regions.x) == len(regions.y) > 10 and regions.y[-1] == 1
    assert all(json.dumps(e.image).startswith(f'"{data}') for e in plots.examples) and len(plots.examples) > 6


def test_without_being_asked_it_writes_none(tmp_path):
    evaluator = AnomalyEvaluator(None, str(tmp_path), draws=0)
    for number, kind in enumerate(("good", "dent")):
        inputs = {"file_name": f"{number}.png", "defect": kind, "mask_files": []}
        evaluator.process([inputs], [{"anomaly_map": np.full((3, 3), number), "anomaly_score": number}])
    assert evaluator.evaluate() and not (tmp_path / "plots").exists()
