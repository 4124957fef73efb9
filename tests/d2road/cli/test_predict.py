"""The command line of predictions: any order of words, sentences, and a real model."""

import json

import cv2
import numpy as np
import pytest
import torch

from d2road.cli.predict import build_parser, main, read_sentences
from tests.factories.text_encoders import save_text_tower


@pytest.mark.parametrize(
    "line",
    [
        "--config-file c --input a b.jpg --output o MODEL.WEIGHTS w SEED -1",
        "--config-file c --output o --input a b.jpg MODEL.WEIGHTS w SEED -1",
        "MODEL.WEIGHTS w --input a b.jpg SEED -1 --output o --config-file c",
        "--config-file c --output o --input a b.jpg --opts MODEL.WEIGHTS w SEED -1",
        "MODEL.WEIGHTS w SEED -1 --config-file c --output o --input a b.jpg",
    ],
)
def test_pairs_may_stand_anywhere(line):
    args = build_parser().parse_args(line.split())
    assert args.input == ["a", "b.jpg"] and args.output == "o" and args.config_file == "c"
    assert args.opts == ["MODEL.WEIGHTS", "w", "SEED", "-1"]


def test_confidence_is_a_probability(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--config-file", "c", "--input", "a", "--output", "o", "--confidence", "50"])
    assert "expected a number from 0 to 1" in capsys.readouterr().err


def test_a_real_model_from_the_command_line(repo_dir, tmp_path, capsys, monkeypatch):
    # It would take this package's log from other tests.
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 80, 3), 90, np.uint8))
    line = ["--config-file", str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), "--confidence", "0"]
    line += ["--output", str(tmp_path / "out"), "--input", str(image), "MODEL.DiffusionDet.NUM_CLASSES", "3"]
    line += ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "INPUT.MIN_SIZE_TEST", "64"]
    line += ["MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "50"]
    assert main([*line, "--weights", "random"]) == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found and all(0 <= p["category_id"] < 3 and p["bbox"][2] >= 0 for p in found)
    assert (tmp_path / "out" / "a.png").is_file()
    assert main([*line, "MODEL.WEIGHTS", str(tmp_path / "none.pth")]) == 2
    assert "none.pth" in capsys.readouterr().err

    # Never from an untrained model by accident: neither without weights nor with those of another model.
    assert main([*line, "--weights", ""]) == 2
    assert "MODEL.WEIGHTS is empty" in capsys.readouterr().err
    torch.save({"model": {"foo": torch.ones(1)}}, tmp_path / "other.pth")
    assert main([*line, "--weights", str(tmp_path / "other.pth")]) == 2
    assert "belongs to another model" in capsys.readouterr().err


def test_sentences_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="sentence 2 of 2 is empty"):
        read_sentences(["the car", " "])
    with pytest.raises(FileNotFoundError, match=r"--text-file none\.txt does not exist"):
        read_sentences([], "none.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="holds no sentence"):
        read_sentences([], str(tmp_path / "empty.txt"))
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="is no UTF-8 text"):
        read_sentences([], str(tmp_path / "odd.txt"))
    args = build_parser().parse_args(
        ["--config-file", "c", "--input", "a", "--output", "o", "--text", "the car", "a bus", "MODEL.WEIGHTS", "w"]
    )
    assert args.text == ["the car", "a bus"] and args.opts == ["MODEL.WEIGHTS", "w"] and args.confidence is None


def test_words_as_classes_from_the_command_line(repo_dir, tmp_path, capsys, monkeypatch):
    """A text classifier finds what words say and names it so; a linear one says what to take instead."""
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 80, 3), 90, np.uint8))
    line = ["--config-file", str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), "--confidence", "0"]
    line += ["--output", str(tmp_path / "out"), "--input", str(image), "--weights", "random", "--no-drawings"]
    line += ["--classes", "white car", "red truck", "MODEL.DiffusionDet.NUM_CLASSES", "3", "INPUT.MIN_SIZE_TEST", "64"]
    line += ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "MODEL.CLASS_NAMES", "('car','truck','cyclist')"]
    line += ["MODEL.TIMM.WEIGHTS", "", "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "20"]
    assert build_parser().parse_args(line).classes == ["white car", "red truck"]
    assert main(line) == 2
    assert "CLASSIFIER is 'linear'" in capsys.readouterr().err

    encoder = str(save_text_tower(tmp_path / "bert", "bert"))
    line += ["MODEL.DiffusionDet.CLASSIFIER", "text", "MODEL.DiffusionDet.TEXT.ENCODER", encoder]
    assert main(line) == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {(p["category_id"], p["category_name"]) for p in found} == {(0, "white car"), (1, "red truck")}

    # What was asked belongs to what is gone on with.
    assert main([*line, "--resume", "--classes", "blue car"]) == 2
    assert "--classes" in capsys.readouterr().err
    assert main([*line, "--classes", "car", " "]) == 2
    assert "empty" in capsys.readouterr().err
