"""What version 0.1 stored keeps its meaning: config.yaml and checkpoints of its trainings, and what they then found.

The folder v0_1 was written by the program make_v0_1.py with the code of that version (see README.md beside it).
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from d2road.checkpoint import export_inference_weights
from d2road.config import make_cfg
from d2road.data import register_by_name
from d2road.engine import Trainer
from d2road.engine.defaults import load_weights
from d2road.structures import Camera
from d2road.utils import aliases
from tests.factories.anomaly_models import narrow_networks, write_category
from tests.factories.grounders import data_name, make_data

STORED = Path(__file__).resolve().parent / "v0_1"
ADDED = {"state.good_score_bytes"}  # states that are newer than the file, and optional
CAMERA = Camera(np.array([[120.0, 0, 80], [0, 120.0, 45], [0, 0, 1]]), [0.0, -0.97, -0.24, 6.0])


@pytest.fixture(scope="module")
def outputs():
    return torch.load(STORED / "outputs.pt", weights_only=True)


def load(name):
    cfg = make_cfg(str(STORED / name / "config.yaml.txt"))
    model = build_model(cfg).eval()
    load_weights(cfg, model, str(STORED / name / "model_final.pth"))
    return model


def run(model, entry):
    torch.manual_seed(11)
    with torch.no_grad():
        return model([entry])[0]


def assert_same_rows(found, expected, atol):
    """Equal sets of rows: where scores nearly tie, another machine may order them otherwise."""
    assert found.shape == expected.shape
    distances = (expected[:, None] - found[None]).abs().amax(2)
    assert distances.amin(1).max() < atol and distances.amin(0).max() < atol


def test_a_detector_with_poses_finds_what_it_found(outputs):
    expected = outputs["diffusion_det"]
    entry = {"image": expected["image"], "height": 192, "width": 320, "camera": CAMERA, "image_id": 4}
    found = run(load("diffusion_det"), entry)["instances"]
    torch.testing.assert_close(found.scores, expected["scores"], atol=1e-5, rtol=0)
    assert_same_rows(found.pred_boxes.tensor, expected["pred_boxes"], atol=0.05)
    assert_same_rows(found.pred_boxes3d.to_kitti(), expected["pred_boxes3d"], atol=0.05)


@pytest.mark.parametrize("name", ["mono3dvg", "mono3dvg_query", "mono3dvg_mamba_fusion", "mono3dvg_cross_attention"])
def test_a_grounder_answers_what_it_answered(outputs, name):
    expected = outputs[name]
    expressions = [{"id": i, "text": text} for i, text in enumerate(expected["texts"])]
    found = run(load(name), {"image": expected["image"], "camera": CAMERA, "expressions": expressions})["groundings"]
    for answer, stored in zip(found, expected["groundings"], strict=True):
        torch.testing.assert_close(answer["scores"], stored["scores"], atol=1e-5, rtol=0)
        torch.testing.assert_close(answer["relevance"], stored["relevance"], atol=1e-5, rtol=0)
        assert_same_rows(answer["boxes"], stored["boxes"], atol=0.05)
        assert_same_rows(answer["boxes_xyxy"], stored["boxes_xyxy"], atol=0.05)


@pytest.mark.parametrize(
    ("name", "key", "atol"),
    [
        ("efficientad", "float32", 1e-4),
        ("efficientad_bfloat16", "bfloat16", 0.02),
        ("efficientad_int8", "int8", 0.02),
    ],
)
def test_a_calibrated_anomaly_detector_scores_as_it_scored(outputs, name, key, atol):
    expected = outputs["efficientad"]
    with narrow_networks():
        found = run(load(name), {"image": expected["image"], "height": 80, "width": 90})
    expected = expected[key]
    assert found["teacher"] == expected["teacher"] == "random"
    for name in ("anomaly_map", "anomaly_score", "anomaly_threshold", "map_student_teacher", "map_autoencoder"):
        torch.testing.assert_close(found[name], expected[name], atol=atol, rtol=0)


@pytest.mark.parametrize("name", sorted(p.name for p in STORED.iterdir() if p.is_dir()))
def test_other_loaders_find_the_weights_too(name, tmp_path):
    """Such as Detectron2's DefaultPredictor, which knows no aliases: from the checkpoint, and from an export of it."""
    source, slim = STORED / name / "model_final.pth", tmp_path / "slim.pth"
    export_inference_weights(source, slim)
    with narrow_networks():
        model = build_model(make_cfg(str(STORED / name / "config.yaml.txt")))
        for path in (source, slim):
            assert model.load_state_dict(torch.load(path, weights_only=True)["model"], strict=True)
    assert set(torch.load(slim, weights_only=True)["model"]) == set(model.state_dict()) - ADDED


def test_a_training_of_a_grounder_goes_on(tmp_path):
    """Optimizer and averages of version 0.1 belong to the weights by their names of today."""
    cfg = make_cfg(str(STORED / "mono3dvg" / "config.yaml.txt"))
    name = data_name(make_data(tmp_path), "train")
    register_by_name(name)
    cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER = (name,), str(tmp_path / "out"), 3
    (tmp_path / "out").mkdir()
    shutil.copy(STORED / "mono3dvg" / "model_final.pth", tmp_path / "out")
    stored = torch.load(STORED / "mono3dvg" / "model_final.pth", weights_only=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    for index, state in stored["trainer"]["_trainer"]["optimizer"]["state"].items():
        restored = trainer.optimizer.state_dict()["state"][index]
        assert torch.equal(restored["exp_avg"], state["exp_avg"]) and restored["step"] == state["step"]
    loaded = {key: value.clone() for key, value in trainer.bare_model.state_dict().items()}
    assert sorted(v.double().sum() for v in loaded.values()) == sorted(
        v.double().sum() for v in stored["model"].values()
    )
    trainer.train()
    for index, state in trainer.optimizer.state_dict()["state"].items():
        before = stored["trainer"]["_trainer"]["optimizer"]["state"][index]
        assert state["step"] == before["step"] + 1 and torch.isfinite(state["exp_avg"]).all()
    written = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)
    assert written["iteration"] == 2 and written["ema"]["updates"] == stored["ema"]["updates"] + 1
    assert set(written["ema"]["weights"]) == set(aliases.present_state_dict(stored["ema"]["weights"]))


def test_a_training_of_an_anomaly_detector_goes_on(tmp_path, monkeypatch):
    """Its data sets carry the prefix of version 0.1; its calibration is made anew before the checkpoint."""
    monkeypatch.chdir(tmp_path)
    write_category(tmp_path / "datasets")
    cfg = make_cfg(str(STORED / "efficientad" / "config.yaml.txt"))
    cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER = "out", 3
    Path("out").mkdir()
    shutil.copy(STORED / "efficientad" / "model_final.pth", "out")
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.CALIBRATION):
        assert name.startswith("images:")
        register_by_name(name)
    stored = torch.load(STORED / "efficientad" / "model_final.pth", weights_only=True)
    with narrow_networks():
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        assert trainer.start_iter == 2
        loaded = trainer.bare_model.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in stored["model"].items() if key in loaded)
        assert set(aliases.present_state_dict(stored["model"])) == set(loaded) - ADDED
        trainer.train()
    written = torch.load("out/model_final.pth", weights_only=True)
    assert written["iteration"] == 2
    state = written["trainer"]["_trainer"]["optimizer"]["state"]
    before = stored["trainer"]["_trainer"]["optimizer"]["state"]
    assert all(state[index]["step"] == before[index]["step"] + 1 for index in before)
