"""The command of the page: which model goes to which tab, and what it refuses before it listens."""

import importlib.util

import pytest

from d2road.cli import web
from d2road.utils.errors import ConfigError
from d2road.web.served_model import DETECT, DETECT_3D, TASKS
from tests.factories.verb_files import detector_files


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Config and weights of a small detector."""
    folder = tmp_path_factory.mktemp("detector")
    detector_files(folder)
    return [str(folder / "config.yaml"), str(folder / "weights.pth")]


def models_of(*words):
    return web.load_models(web.build_parser().parse_args([*words, "--device", "cpu"]))


def test_models_go_to_the_tab_of_their_kind_and_the_others_are_shipped(detector):
    models = models_of("--model", *detector)
    assert list(models) == ["detect", "ask", "inspect"] and all(task == model.task for task, model in models.items())
    assert models["detect"].config_file == detector[0] and not models["detect"].shipped
    assert models["ask"].shipped and models["inspect"].shipped


def test_shipped_detectors_are_there_in_2d_and_in_3d():
    models = models_of()
    assert list(models) == list(TASKS) and all(model.shipped for model in models.values())
    assert models[DETECT_3D].needs_camera and not models[DETECT].needs_camera
    assert models[DETECT_3D].cfg.MODEL.WEIGHTS == "zoo:diffusion_det_toy3d"


def test_pairs_belong_to_the_model_of_the_config_file(detector):
    line = ["--config-file", detector[0], "--weights", detector[1], "MODEL.DiffusionDet.SAMPLE_STEP", "3"]
    detect = models_of(*line, "TIME_SPACE.STRIDE", "6.4")["detect"]
    assert detect.sampling.setting.steps == 3 and detector[1] == detect.cfg.MODEL.WEIGHTS
    assert detect.cfg.TIME_SPACE.STRIDE != 6.4, "those belong to the tab Traffic"
    with pytest.raises(ConfigError, match=r"SAMPLE_STEP 3 .*--config-file, which is not given"):
        models_of("MODEL.DiffusionDet.SAMPLE_STEP", "3")


def test_two_models_of_one_kind_are_refused(detector):
    with pytest.raises(ConfigError, match="are both models to detect"):
        models_of("--model", *detector, "--config-file", detector[0], "--weights", detector[1])


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    assert web.main([]) == 2
    assert "pip install 'd2road[web]'" in capsys.readouterr().err
