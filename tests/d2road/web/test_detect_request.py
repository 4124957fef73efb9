"""The tab Detect: what `d2road predict` finds, sampling for each request by itself, and cameras."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from d2road.cli.predict import main as predict_main
from d2road.engine.meta_arch import SamplingSetting
from d2road.structures import Camera
from d2road.utils.errors import ConfigError
from d2road.web.detect_request import IN_2D, IN_3D, DetectUpload, detect
from d2road.web.result_files import ResultFolders
from d2road.web.served_model import DETECT_3D, Request, ServedModel
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
    result = detect([model], DetectUpload(files / "street.png", confidence=0), UploadLimits(), ResultFolders(tmp_path))
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
        return detect([model], upload, UploadLimits(), ResultFolders(tmp_path))

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
    result = detect([model], DetectUpload(files / "street.png", confidence=1), UploadLimits(), ResultFolders(tmp_path))
    assert result.text.startswith("0 found") and json.loads(result.files[1].read_text()) == []
    assert result.files[2].read_text().startswith("image_id,file_name,")


@pytest.fixture(scope="module")
def model_3d(files):
    node = "MODEL.DiffusionDet.POSE."
    pairs = [node + "ENABLED", "True", node + "DIMENSION_PRIORS", str(PRIORS[:2]), "DATASETS.TRAIN", "()"]
    return ServedModel(str(files / "config.yaml"), "random", [*pairs, "DATASETS.TEST", "()"])


def test_boxes_in_3d_need_a_camera_and_get_the_scene_from_above(model_3d, files, tmp_path):
    model = model_3d
    assert model.task == DETECT_3D and model.needs_camera
    folders, image = ResultFolders(tmp_path), files / "street.png"
    with pytest.raises(ConfigError, match="need the camera"):
        detect([model], DetectUpload(image, confidence=0), UploadLimits(), folders)
    result = detect([model], DetectUpload(image, focal_px=90, confidence=0), UploadLimits(), folders)
    assert cv2.imread(str(result.image)).shape[1] > 80, "the scene from above stands beside the image"
    assert "location" in json.loads(result.files[1].read_text())[0]
    assert "x_m" in result.files[2].read_text().splitlines()[0].split(",")


def test_of_two_detectors_the_camera_chooses_unless_somebody_does(model, model_3d, files, tmp_path):
    def found(**words):
        upload = DetectUpload(files / "street.png", confidence=0, **words)
        result = detect([model, model_3d], upload, UploadLimits(), ResultFolders(tmp_path))
        return "location" in json.loads(result.files[1].read_text())[0], result.text.rsplit(". ", 1)[1]

    flat, solid = (False, f"Boxes in 2D by {files / 'weights.pth'}"), (True, "Boxes in 3D by random")
    assert found() == found(kind=IN_2D) == found(focal_px=90, kind=IN_2D) == flat
    assert found(focal_px=90) == found(focal_px=90, kind=IN_3D) == solid
    with pytest.raises(ConfigError, match="need the camera"):
        found(kind=IN_3D)
    with pytest.raises(ConfigError, match="expected 3D where a camera is given, 2D, 3D"):
        found(kind="4D")


def test_weights_are_read_with_the_first_request(files):
    model = ServedModel(str(files / "config.yaml"), str(files / "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        model.ask(Request(np.zeros((60, 80, 3), np.uint8)))


def test_boxes_in_3d_are_chosen_by_their_score_in_the_image(model_3d, files, tmp_path):
    upload = DetectUpload(files / "street.png", focal_px=90, confidence=0)
    image = cv2.imread(str(files / "street.png"))
    found = model_3d.ask(Request(image, Camera(np.diag([90.0, 90.0, 1.0]) + [[0, 0, 40], [0, 0, 30], [0, 0, 0]]), 0))
    instances = found.output["instances"]
    assert (instances.scores < instances.scores_2d).any()
    middle = float(instances.scores_2d.median())
    result = detect([model_3d], replace(upload, confidence=middle), UploadLimits(), ResultFolders(tmp_path))
    expected = instances.scores[instances.scores_2d >= middle].tolist()
    assert [row["score"] for row in json.loads(result.files[1].read_text())] == expected
