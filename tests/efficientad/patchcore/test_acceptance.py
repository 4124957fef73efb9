"""Accepting good images into a real PatchCore from the command line: bank, audit trail, threshold and its guarantee."""

import csv
import hashlib
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from d2road.cli import accept, eval, predict
from d2road.engine import Predictor
from tests.factories.anomaly_models import SIDE, image_of
from tests.factories.verb_files import bank_model_files


@pytest.fixture(autouse=True)
def keep_logging(monkeypatch):
    # Verbs set up logs of their own, which would take this package's log from other tests.
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda *args, **kwargs: logging.getLogger())


@pytest.fixture(scope="module")
def fitted_files(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bank")
    bank_model_files(root)
    rng = np.random.default_rng(4)
    for number, name in enumerate(("alarm", "other")):  # good by decree: a stripe that no training image has
        image = image_of(rng, SIDE)
        image[40 + 30 * number : 52 + 30 * number] = 250
        cv2.imwrite(str(root / f"{name}.png"), image)
    (root / "drawn").mkdir()
    for number in range(6):
        cv2.imwrite(str(root / "drawn" / f"{number}.png"), image_of(rng, SIDE))
    return root


def run_accept(root: Path, source: str, target: Path, *words: object) -> int:
    line = [
        "--config-file",
        root / "config.yaml",
        "--weights",
        source,
        "--output",
        target,
        "--reason",
        "brighter batch",
    ]
    return accept.main([str(word) for word in [*line, "--by", "m.weber", *words]])


def scores_of(config: Path, weights: Path, folder: Path, *images: Path) -> list[dict]:
    line = ["--config-file", config, "--weights", weights, "--output", folder, "--input", *images]
    assert predict.main([str(word) for word in line]) == 0
    return list(csv.DictReader((folder / "scores.csv").open()))


@pytest.fixture(scope="module")
def accepted(fitted_files, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("accepted") / "out.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detectron2.utils.logger.setup_logger", lambda *args, **kwargs: logging.getLogger())
        assert (
            run_accept(fitted_files, fitted_files / "weights.pth", target, "--input", fitted_files / "alarm.png") == 0
        )
    return target


def test_an_accepted_image_is_good_and_the_source_stays(fitted_files, accepted, tmp_path):
    weights, alarm = fitted_files / "weights.pth", fitted_files / "alarm.png"
    before = weights.read_bytes()
    (row,) = scores_of(fitted_files / "config.yaml", weights, tmp_path / "a", alarm)
    assert row["verdict"] == "anomalous" and row["guarantee"].startswith("a good image exceeds it")
    (row,) = scores_of(accepted.with_suffix(".yaml"), accepted, tmp_path / "b", alarm)
    assert row["verdict"] == "good" and float(row["score"]) < 1e-3
    assert row["guarantee"] == "without guarantee: good images were accepted since the threshold was set"
    assert weights.read_bytes() == before


def test_the_trail_is_in_the_checkpoint_and_beside_it(fitted_files, accepted):
    text = accepted.with_suffix(".audit.jsonl").read_text()
    stored = torch.load(accepted, weights_only=True)["model"]["state.audit"]
    assert bytes(stored.tolist()).decode() == text
    record = json.loads(text)
    pixels = np.asarray(Image.open(fitted_files / "alarm.png").convert("RGB"))
    assert record["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert record["by"] == "m.weber" and record["reason"] == "brighter batch" and record["id"] == 1
    assert record["vectors"] == (SIDE // 8) ** 2 and record["score_before"] > record["threshold_before"]
    assert record["score_after"] < 1e-3 and record["threshold_after"] == record["threshold_before"]


def test_what_was_accepted_can_be_taken_back(fitted_files, accepted, tmp_path):
    both, one = tmp_path / "both.pth", tmp_path / "one.pth"
    assert run_accept(fitted_files, accepted, both, "--input", fitted_files / "other.png") == 0
    assert run_accept(fitted_files, both, one, "--remove", 1) == 0
    actions = [json.loads(line)["action"] for line in one.with_suffix(".audit.jsonl").read_text().splitlines()]
    assert actions == ["accept", "accept", "remove"]
    first, third = (Predictor(fitted_files / "config.yaml", weights) for weights in (fitted_files / "weights.pth", one))
    alarm, other = (cv2.imread(str(fitted_files / f"{name}.png")) for name in ("alarm", "other"))
    distances = [model(alarm)["anomaly_map"] for model in (first, third)]
    assert float(distances[1].max()) > 0.2 * float(distances[0].max())  # the stripes of the other are like its own
    assert third(other)["anomaly_score"] < 1e-3
    none = tmp_path / "none.pth"
    assert run_accept(fitted_files, accepted, none, "--remove", 1) == 0
    assert Predictor(fitted_files / "config.yaml", none)(alarm)["anomaly_score"] == first(alarm)["anomaly_score"]


def test_a_bank_in_int8_accepts_too(fitted_files, tmp_path):
    from d2road.cli import export

    small, out = tmp_path / "small.pth", tmp_path / "out.pth"
    line = [
        "--precision",
        "int8",
        "--config-file",
        fitted_files / "config.yaml",
        "--weights",
        fitted_files / "weights.pth",
    ]
    assert export.main([str(word) for word in [*line, small]]) == 0
    keys = ("MODEL.PATCHCORE.PRECISION", "int8")
    assert run_accept(fitted_files, small, out, "--input", fitted_files / "alarm.png", *keys) == 0
    record = json.loads(out.with_suffix(".audit.jsonl").read_text())
    assert record["score_after"] < record["threshold_after"] < record["score_before"]
    assert run_accept(fitted_files, out, tmp_path / "back.pth", "--remove", 1, *keys) == 0


def test_a_new_guarantee_takes_images_drawn_at_random(fitted_files, accepted, tmp_path, capsys):
    drawn, target = fitted_files / "drawn", tmp_path / "out.pth"
    assert run_accept(fitted_files, accepted, target, "--calibrate-on", drawn) == 2
    assert "--calibrate-on DIR and --randomly-drawn go together" in capsys.readouterr().err and not target.exists()
    assert run_accept(fitted_files, accepted, target, "--calibrate-on", drawn, "--randomly-drawn") == 0
    rows = scores_of(fitted_files / "config.yaml", target, tmp_path / "p", *sorted(drawn.iterdir()))
    assert all(row["verdict"] == "good" for row in rows) and len({row["threshold"] for row in rows}) == 1
    largest = max(float(row["score"]) for row in rows)
    assert float(rows[0]["threshold"]) == pytest.approx(largest, rel=1e-3)  # six promise no less than 1 / 7
    assert "at most 0.143 (split, 6 good images drawn at random); 0.01 takes 99" in rows[0]["guarantee"]


def test_an_accepted_image_does_not_set_the_threshold(fitted_files, accepted, tmp_path, capsys):
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for file in (fitted_files / "drawn").iterdir():
        (drawn / file.name).write_bytes(file.read_bytes())
    image = cv2.imread(str(fitted_files / "alarm.png"))
    cv2.imwrite(str(drawn / "under_another_name.bmp"), image)
    assert run_accept(fitted_files, accepted, tmp_path / "o.pth", "--calibrate-on", drawn, "--randomly-drawn") == 2
    assert "under_another_name.bmp was accepted as image 1" in capsys.readouterr().err
    assert not list(tmp_path.glob("o.*"))


def test_an_image_of_the_bank_does_not_set_the_threshold(fitted_files, tmp_path, capsys):
    weights, drawn = fitted_files / "weights.pth", tmp_path / "drawn"
    drawn.mkdir()
    for file in (fitted_files / "tiles" / "train" / "good").iterdir():
        cv2.imwrite(str(drawn / f"copy_{file.stem}.bmp"), cv2.imread(str(file)))
    line = ("--calibrate-on", drawn, "--randomly-drawn")
    assert run_accept(fitted_files, weights, tmp_path / "o.pth", *line) == 2
    said = capsys.readouterr().err
    assert "copy_" in said and "the memory bank was made of this image" in said and "not in the bank" in said
    assert not list(tmp_path.glob("o.*"))


def test_calibration_by_the_config_does_not_bring_the_guarantee_back(fitted_files, accepted, tmp_path):
    from d2road.cli import export

    out = tmp_path / "again.pth"
    line = ["--precision", "fp32", "--config-file", fitted_files / "config.yaml", "--weights", accepted]
    assert export.main([str(word) for word in [*line, out]]) == 0
    (row,) = scores_of(fitted_files / "config.yaml", out, tmp_path / "p", fitted_files / "alarm.png")
    assert row["guarantee"].startswith("without guarantee: images were accepted by a threshold of these same images")


def test_results_say_what_the_threshold_promises(fitted_files, accepted, tmp_path):
    for weights, words in ((fitted_files / "weights.pth", "a good image exceeds it"), (accepted, "without guarantee")):
        folder = tmp_path / weights.stem
        line = ["--config-file", fitted_files / "config.yaml", "--weights", weights, "--output", folder]
        assert eval.main([str(word) for word in line]) == 0
        assert json.loads((folder / "inference" / "anomaly.json").read_text())["guarantee"].startswith(words)


def test_a_model_without_a_bank_says_so(repo_dir, tmp_path, capsys):
    from tests.factories.verb_files import anomaly_model_files

    anomaly_model_files(tmp_path)
    assert run_accept(tmp_path, tmp_path / "weights.pth", tmp_path / "o.pth", "--input", tmp_path / "image.png") == 2
    assert "EfficientAD takes in no images after its training" in capsys.readouterr().err
