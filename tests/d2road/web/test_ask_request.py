"""The tab Ask: answers of `d2road predict --text`, in words, also where nothing is meant."""

import csv
import json

import cv2
import numpy as np
import pytest

from d2road.cli.predict import main as predict_main
from d2road.utils.errors import ConfigError, DataError
from d2road.web.ask_request import AskUpload, ask, in_words, sentences_of
from d2road.web.result_files import ResultFolders
from d2road.web.served_model import ASK, ServedModel
from d2road.web.uploads import UploadLimits
from tests.factories.stored_grounder import grounder_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounder")
    grounder_files(folder)
    return folder


@pytest.fixture(scope="module")
def model(files):
    return ServedModel(str(files / "config.yaml"), str(files / "weights.pth"))


def upload(files, text, **more):
    return AskUpload(files / "street.png", text, files / "calib.txt", files / "denorm.txt", **more)


def test_answers_are_those_of_the_command(model, files, tmp_path, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    line = ["--config-file", str(files / "config.yaml"), "--weights", str(files / "weights.pth")]
    line += ["--input", str(files / "street.png"), "--calib", str(files / "calib.txt"), "--confidence", "0"]
    line += ["--denorm", str(files / "denorm.txt"), "--output", str(tmp_path / "out")]
    assert predict_main([*line, "--text", "the red car", "the bus"]) == 0
    expected = json.loads((tmp_path / "out" / "predictions.json").read_text())
    result = ask(
        model, upload(files, "the red car\n\n  the bus \n", confidence=0), UploadLimits(), ResultFolders(tmp_path)
    )
    found = json.loads(result.files[1].read_text())
    assert model.task == ASK and model.needs_camera
    assert any(row["boxes"] for row in found)
    assert found == [{**row, "file_name": "street.png"} for row in expected]
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "street.png")), cv2.imread(str(result.image)))
    assert result.text.splitlines() == [in_words(row) for row in found]
    with open(result.files[2], newline="") as file:
        rows = list(csv.DictReader(file))
    boxes = [box for row in found for box in row["boxes"]]
    assert [float(row["z_m"]) for row in rows if row["score"]] == [box[2] for box in boxes]


def test_a_sentence_that_means_nothing_is_answered_in_words(model, files, tmp_path):
    result = ask(model, upload(files, "the bus", confidence=1), UploadLimits(), ResultFolders(tmp_path))
    assert result.text == "“the bus”: nothing in this image is meant"
    assert result.files[2].read_text() == "file_name,text,found,category_name,score\nstreet.png,the bus,0,,\n"


def test_requests_that_cannot_be_answered(model, files, tmp_path):
    folders = ResultFolders(tmp_path)
    with pytest.raises(ConfigError, match="need the camera"):
        ask(model, AskUpload(files / "street.png", "the bus"), UploadLimits(), folders)
    with pytest.raises(DataError, match="no sentence is given"):
        ask(model, upload(files, " \n"), UploadLimits(), folders)
    with pytest.raises(ConfigError, match="lowest score is 50"):
        ask(model, upload(files, "the bus", confidence=50), UploadLimits(), folders)
    with pytest.raises(DataError, match="13 sentences, at most 12"):
        sentences_of("a\n" * 13)
    with pytest.raises(DataError, match="501 characters, at most 500"):
        sentences_of("a" * 501)


def test_several_objects_are_listed():
    answer = {"text": "the cars", "category_names": ["car", "van"], "scores": [0.9, 0.456]}
    assert in_words(answer) == "“the cars”: 2 found (car 0.90, van 0.46)"
