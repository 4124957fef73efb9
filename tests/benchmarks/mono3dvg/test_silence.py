"""N-acc at one T-acc: the threshold is that of the validation answers, on test data too."""

import pytest

from benchmarks.mono3dvg import silence
from mono3dvg.data.grounding_datasets import register_grounding
from tests.factories.grounding_files import annotation, answer, box, expression, grounding_content, write_files


def test_the_test_data_takes_the_threshold_of_the_validation_data(tmp_path, monkeypatch):
    """Of four sentences that mean something three are to be answered, so that 0.6 is the threshold of both."""
    scores = {"val": ([0.9, 0.8, 0.6, 0.5], [0.7, 0.55]), "test": ([0.9, 0.5, 0.4, 0.3], [0.65, 0.59, 0.2, 0.1])}
    names = [f"silence_{split}" for split in scores]
    for name, (meant, nothing) in zip(names, scores.values()):
        sentences = [expression(f"m{i}", [1]) for i in range(len(meant))]
        sentences += [expression(f"n{i}", [], distractors=True) for i in range(len(nothing))]
        answers = [answer(f"m{i}", [box(0, 20)], [s]) for i, s in enumerate(meant)]
        answers += [answer(f"n{i}", [box(0, 20)], [s]) for i, s in enumerate(nothing)]
        folder = tmp_path / "inference" / name
        folder.mkdir(parents=True)
        gt, pred = write_files(folder, grounding_content([annotation(1, box(0, 20))], sentences), answers)
        pred.rename(folder / "predictions.json")
        register_grounding(name, str(gt), str(folder))
    monkeypatch.setattr(silence, "DATA", tuple(names))
    monkeypatch.setattr(silence, "T_ACC", 75.0)
    val, test = silence.measure(tmp_path / "inference").values()
    assert val["score_threshold"] == test["score_threshold"] == 0.6
    assert (val["t_acc"], val["n_acc"]) == (75, 50) and (test["t_acc"], test["n_acc"]) == (25, 75)
    assert test["n_acc_w_d"] == 75 and test["presence_auroc"] == pytest.approx(62.5)
