"""The list of evaluated images, and the counts of hits and false alarms."""

import csv

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from efficientad.evaluation.evaluator import AnomalyEvaluator
from efficientad.evaluation.verdict_list import ScoredImage, counts_text, write_list

THRESHOLD = 0.5


@pytest.fixture
def images() -> list[ScoredImage]:
    rng = np.random.default_rng(0)
    labels = rng.choice(["good", "dent", "scratch", "unlabelled"], 40)
    return [
        ScoredImage(f"data/{label}/{i:02d}.png", label, float(s))
        for i, (label, s) in enumerate(zip(labels, rng.random(40)))
    ]


def table(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_outcomes_are_those_of_a_confusion_matrix(images, tmp_path):
    write_list(tmp_path / "images.csv", images, THRESHOLD)
    rows = table(tmp_path / "images.csv")
    labelled = [image for image in images if image.label != "unlabelled"]
    truth, called = [i.label != "good" for i in labelled], [i.score > THRESHOLD for i in labelled]
    (correct, false_alarms), (misses, hits) = confusion_matrix(truth, called)
    outcomes = [row["outcome"] for row in rows]
    counts = {"correct": correct, "false alarm": false_alarms, "miss": misses, "hit": hits, "": 40 - len(labelled)}
    assert {name: outcomes.count(name) for name in counts} == counts
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and sorted(row["file"] for row in rows) == [
        i.file for i in sorted(images, key=lambda i: i.file)
    ]
    assert all(row["verdict"] == ("anomalous" if float(row["score"]) > THRESHOLD else "good") for row in rows)
    text = counts_text(images, THRESHOLD)
    assert sum(int(line.split()[2]) for line in text.splitlines() if " hits" in line) == hits
    assert f"{false_alarms} false alarms" in text and "missed: " in text
    assert text.splitlines()[1].startswith("good") and text.splitlines()[4].startswith("unlabelled")


def test_the_mistakes_are_named_the_clearest_first():
    images = [ScoredImage(f"a/dent/{n}.png", "dent", n / 100) for n in range(8)]
    images += [ScoredImage("a/good/x.png", "good", 0.7), ScoredImage("a/dent/hit.png", "dent", 0.9)]
    lines = counts_text(images, THRESHOLD).splitlines()
    assert lines[-2].startswith("missed: dent/7.png, dent/6.png") and lines[-2].endswith("and 3 more")
    assert lines[-1] == "false alarms: good/x.png"
    assert "missed:" not in counts_text(images[-1:], THRESHOLD)


def test_without_a_threshold_the_scores_alone_are_listed(images, tmp_path):
    write_list(tmp_path / "images.csv", images, None)
    assert {(row["threshold"], row["verdict"], row["outcome"]) for row in table(tmp_path / "images.csv")} == {
        ("", "", "")
    }


@pytest.mark.parametrize("labelled", [True, False])
def test_an_evaluation_lists_every_image_labelled_or_not(tmp_path, labelled):
    rng = np.random.default_rng(1)
    evaluator = AnomalyEvaluator(output_dir=str(tmp_path / "out"), draws=0, distributed=False)
    for number in range(6):
        kind = ("good", "bad")[number % 2] if labelled else "unlabelled"
        found = {"anomaly_map": rng.random((8, 9)), "anomaly_score": number / 6, "anomaly_threshold": THRESHOLD}
        evaluator.process([{"file_name": f"{kind}/{number}.png", "defect": kind, "mask_files": []}], [found])
    assert bool(evaluator.evaluate()) == labelled
    rows = table(tmp_path / "out" / "images.csv")
    assert [row["file"].split("/")[1] for row in rows] == [f"{number}.png" for number in (5, 4, 3, 2, 1, 0)]
    assert [row["outcome"] for row in rows][:2] == (["hit", "false alarm"] if labelled else ["", ""])
