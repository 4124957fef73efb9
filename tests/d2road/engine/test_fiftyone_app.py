"""Predictions as samples of FiftyOne itself, read back by its own API; its database is not needed for that."""

import json
import sys

import cv2
import numpy as np
import pytest

from d2road.cli.predict import main
from d2road.engine.prediction_journal import Entry, Journal
from tests.factories.peers import run_peer

PROGRAM = """
import json, os, sys, tempfile
os.environ.update(HOME=tempfile.mkdtemp(), FIFTYONE_DO_NOT_TRACK="1", FIFTYONE_DATABASE_DIR=tempfile.mkdtemp())
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import fiftyone
from d2road.engine import fiftyone_app
from d2road.engine.prediction_journal import Journal
journal = Journal(Path(sys.argv[2]))
journal.open(0, 0)
samples = [s.to_dict() for s in fiftyone_app.samples_of(fiftyone, journal.entries())]
try:
    fiftyone_app.open_app(Path(sys.argv[2]))
    refused = ""
except Exception as error:
    refused = f"{type(error).__name__}: {error}"
print(json.dumps({"samples": samples, "refused": refused}, default=str))
"""
ROW = {
    "image_id": 0,
    "file_name": "a",
    "category_id": 3,
    "category_name": "bus",
    "bbox": [20, 10, 40, 20],
    "score": 0.75,
}
POSE = {"location": [0.0, 1.0, 12.0], "dimensions_hwl": [1.5, 1.8, 4.0], "rotation_y": 0.7}
ANSWER = {
    "file_name": "b", "text": "the bus", "boxes": [[0.0, 1, 12, 1.5, 1.8, 4, 0.7]], "scores": [0.5],
    "boxes_xyxy": [[20, 10, 60, 30]], "category_names": ["bus"], "words": [],
}  # fmt: skip


@pytest.fixture
def output(tmp_path):
    """The folder of a prediction on images of 80 x 40, a video and a member of an archive."""
    folder = tmp_path / "out"
    journal = Journal(folder)
    journal.open(journal.begin({}, resume=False), 0)
    kinds = {"boxes.png": [{**ROW, **POSE}], "answers.png": [ANSWER], "nothing.png": []}
    kinds["scores.png"] = [{"file": "c", "score": 1.5, "threshold": 1.0, "verdict": "anomalous"}]
    for name, rows in kinds.items():
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 80, 3), np.uint8))
        journal.add([Entry(str(tmp_path / name), -1, (1, 1), "", 1, rows)])
    journal.add(
        [Entry("clip.mp4", -1, (1, 1), "", 2, [{**ROW, "frame": 0}]), Entry("a.tar/x.png", 4, (1, 1), "", 1, [ROW])]
    )
    return folder


def test_samples_of_fiftyone_hold_what_was_predicted(repo_dir, output, tmp_path):
    printed = json.loads(run_peer("fiftyone", PROGRAM, repo_dir, output, timeout=400).splitlines()[-1])
    samples = {sample["filepath"].rsplit("/", 1)[1]: sample for sample in printed["samples"]}
    assert set(samples) == {"boxes.png", "answers.png", "nothing.png", "scores.png"}
    assert samples["boxes.png"]["filepath"] == str(tmp_path / "boxes.png")
    (box,) = samples["boxes.png"]["predictions"]["detections"]
    assert box["_cls"] == "Detection" and box["label"] == "bus" and box["confidence"] == 0.75
    assert box["bounding_box"] == pytest.approx([0.25, 0.25, 0.5, 0.5]) and box["rotation_y"] == 0.7
    (answer,) = samples["answers.png"]["predictions"]["detections"]
    assert answer["sentence"] == "the bus" and answer["bounding_box"] == pytest.approx([0.25, 0.25, 0.5, 0.5])
    assert samples["nothing.png"]["predictions"]["detections"] == []
    assert samples["scores.png"]["anomaly_score"] == 1.5 and samples["scores.png"]["anomaly"]["label"] == "anomalous"
    assert not printed["refused"] or printed["refused"].startswith("ConfigError: FiftyOne keeps its data in MongoDB")


def test_without_fiftyone_the_option_says_how_to_install_it_before_anything_is_done(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    assert main(["--config-file", "c", "--input", "a", "--output", str(tmp_path / "out"), "--fiftyone"]) == 2
    assert "--fiftyone needs fiftyone" in (said := capsys.readouterr().err) and "d2road[fiftyone]" in said
    assert not (tmp_path / "out").exists()
