"""The tab Detect: what `d2road predict` finds, sampling for each request by itself, and cameras."""

import csv
import json

import cv2
import numpy as np
import pytest

from d2road.cli.predict import main as predict_main
from d2road.engine.meta_arch import SamplingSetting
from d2road.utils.errors import ConfigError
from d2road.web.detect_request import DetectUpload, detect
from d2road.web.result_files import ResultFolders
from d2road.web.served_model import DETECT, Request, ServedModel
from d2road.web.uploads import UploadLimits
from tests.factories.pose_models import PRIORS
from tests.factories.verb_files import detector_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    detector_files(folder)
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "street.png"), rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def model(files):
    return ServedModel(str(files / "config.yaml"), str(files / "weights.pth"))


def boxes_of(result):
    return [row["bbox"] for row in json.loads(result.files[1].read_text())]


def test_it_finds_what_the_command_finds(model, files, tmp_path, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    line = ["--config-file", str(files / "config.yaml"), "--weights", str(files / "weights.pth"), "--confidence", "0"]
    assert predict_main([*line, "--input", str(files / "street.png"), "--output", str(tmp_path / "out")]) == 0
    result = detect(model, DetectUpload(files / "street.png", confidence=0), UploadLimits(), ResultFolders(tmp_path))
    expected = json.loads((tmp_path / "out" / "predictions.json").read_text())
    found = json.loads(result.files[1].read_text())
    assert expected and found == [{**row, "file_name": "street.png"} for row in expected]
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "street.png")), cv2.imread(str(result.image)))
    with open(result.files[2], newline="") as file:
        assert [float(row["left"]) for row in csv.DictReader(file)] == [row["bbox"][0] for row in found]
    assert result.text.startswith(f"{len(found)} found from a score of 0 on")


def test_sampling_holds_for_one_request(model, files, tmp_path):
    def found(sampling):
        upload = DetectUpload(files / "street.png", confidence=0, sampling=sampling)
        return detect(model, upload, UploadLimits(), ResultFolders(tmp_path))

    own = found(None)
    four = found(SamplingSetting("dpmsolver++", 4, 7, 3))
    assert len(own.steps) == 1 and len(four.steps) == 4
    assert "4 step(s) of dpmsolver++ on 7 boxes, seed 3" in four.text
    assert boxes_of(four) == boxes_of(found(SamplingSetting("dpmsolver++", 4, 7, 3)))
    assert boxes_of(four) != boxes_of(found(SamplingSetting("dpmsolver++", 4, 7, 4)))
    assert boxes_of(own) == boxes_of(found(None)), "the config's sampling is back"
    with pytest.raises(ConfigError, match="none"):
        found(SamplingSetting("none", 1, 5, 0))


def test_steps_add_up_to_the_result(model, files):
    """With the ensemble of steps and without suppression the result is what all steps found."""
    image = cv2.imread(str(files / "street.png"))
    plain = ServedModel(str(files / "config.yaml"), str(files / "weights.pth"), ["MODEL.DiffusionDet.USE_NMS", "False"])
    answer = plain.ask(Request(image, confidence=0, sampling=SamplingSetting("ddim", 3, 5, 0), with_steps=True))
    steps = [len(instances) for instances in answer.output["steps"]]
    assert len(steps) == 3 == len(answer.steps) and sum(steps) == len(answer.output["instances"])


def test_an_image_without_objects_gives_empty_files(model, files, tmp_path):
    result = detect(model, DetectUpload(files / "street.png", confidence=1), UploadLimits(), ResultFolders(tmp_path))
    assert result.text.startswith("0 found") and json.loads(result.files[1].read_text()) == []
    assert result.files[2].read_text().startswith("image_id,file_name,")


def test_boxes_in_3d_need_a_camera_and_get_the_scene_from_above(files, tmp_path):
    node = "MODEL.DiffusionDet.POSE."
    pairs = [node + "ENABLED", "True", node + "DIMENSION_PRIORS", str(PRIORS[:2]), "DATASETS.TRAIN", "()"]
    model = ServedModel(str(files / "config.yaml"), "random", [*pairs, "DATASETS.TEST", "()"])
    assert model.task == DETECT and model.needs_camera
    folders, image = ResultFolders(tmp_path), files / "street.png"
    with pytest.raises(ConfigError, match="need the camera"):
        detect(model, DetectUpload(image, confidence=0), UploadLimits(), folders)
    result = detect(model, DetectUpload(image, focal_px=90, confidence=0), UploadLimits(), folders)
    assert cv2.imread(str(result.image)).shape[1] > 80, "the scene from above stands beside the image"
    assert "location" in json.loads(result.files[1].read_text())[0]
    assert "x_m" in result.files[2].read_text().splitlines()[0].split(",")


def test_weights_are_read_with_the_first_request(files):
    model = ServedModel(str(files / "config.yaml"), str(files / "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        model.ask(Request(np.zeros((60, 80, 3), np.uint8)))
