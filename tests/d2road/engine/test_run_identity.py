"""Runs in one folder are told apart, and resuming with other settings or data is accepted, said or refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.utils.env import seed_all_rng

from d2road.engine import Trainer, evaluate
from d2road.utils.errors import CheckpointError, ConfigError
from tests.factories.tiny_system import make_data, tiny_cfg

SHORT = ("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.STEPS", (), "TEST.EVAL_PERIOD", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """The folder of a finished run; tests take copies."""
    out = tmp_path_factory.mktemp("finished")
    trainer_for(data, out).train()
    return out


def trainer_for(data: Path, output: Path, *pairs, resume: bool = False) -> Trainer:
    cfg = tiny_cfg(data, output, *SHORT, *pairs)
    cfg.freeze()
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


class Killed(Exception):
    """As a kill: nothing is written any more."""


def start_and_kill(trainer: Trainer) -> None:
    def die() -> None:
        raise Killed

    trainer.run_step = die
    with pytest.raises(Killed):
        trainer.train()


def test_a_run_and_its_checkpoints_carry_an_id(data, finished):
    record = json.loads((finished / "run.json").read_text())
    runs = [load(finished / f"{name}.pth")["run"] for name in ("model_0000001", "model_final")]
    assert {run["id"] for run in runs} == {record["id"]} and len(record["id"]) == 32
    assert runs[0]["config"] == (finished / "config.yaml").read_text()
    assert runs[0]["data"]["images"] == 22


def test_resuming_never_returns_an_earlier_run_of_the_folder(data, finished, tmp_path, caplog):
    out = copy_of(finished, tmp_path / "out")
    first = (out / "model_final.pth").read_bytes()
    start_and_kill(trainer_for(data, out, "SOLVER.BASE_LR", 0.02))
    (kept,) = (out / "earlier_runs").iterdir()
    assert (kept / "model_final.pth").read_bytes() == first and not (out / "model_final.pth").exists()
    assert "--resume with OUTPUT_DIR" in caplog.text
    with pytest.raises(FileNotFoundError, match="no checkpoint of the run"):
        evaluate(tiny_cfg(data, out), resume=True)
    with caplog.at_level("INFO"):
        resumed = trainer_for(data, out, "SOLVER.BASE_LR", 0.02, resume=True)
    assert resumed.start_iter == 0 and "starts at iteration 0" in caplog.text
    resumed.train()
    saved = load(out / "model_final.pth")
    assert saved["run"]["id"] != load(kept / "model_final.pth")["run"]["id"]
    assert "BASE_LR: 0.02" in saved["run"]["config"] and "BASE_LR: 0.02" in (out / "config.yaml").read_text()
    # What was set aside goes on where it is.
    assert trainer_for(data, kept, "SOLVER.MAX_ITER", 6, resume=True).start_iter == 4


def test_killed_while_an_earlier_run_is_set_aside(data, finished, tmp_path, monkeypatch, caplog):
    """Some of its files are moved, others not: neither is this run's."""
    out = copy_of(finished, tmp_path / "out")
    moves = []

    def move(source, target):
        if len(moves) == 2:
            raise Killed
        moves.append(shutil.copy(source, target) and Path(source).unlink())

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("d2road.engine.run_identity.shutil.move", move)
        trainer_for(data, out).train()
    assert list(out.glob("model_*.pth"))
    assert trainer_for(data, out, resume=True).start_iter == 0 and "passed over" in caplog.text


def test_checkpoints_of_other_runs_in_the_folder_are_passed_over(data, finished, tmp_path, caplog):
    """Such as copied there, or left by a version that did not set them aside."""
    out = tmp_path / "out"
    trainer_for(data, out, "SOLVER.BASE_LR", 0.02, "SOLVER.MAX_ITER", 2).train()
    shutil.copy(finished / "model_0000001.pth", out)
    (out / "last_checkpoint").write_text("model_0000001.pth")
    longer = ("SOLVER.BASE_LR", 0.02, "SOLVER.MAX_ITER", 4)
    assert trainer_for(data, out, *longer, resume=True).checkpointer.resumed_from.name == "model_final.pth"
    assert "passed over: it is of the run that started" in caplog.text
    (out / "model_final.pth").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model_final.pth are damaged .*1 others are another run's"):
        trainer_for(data, out, *longer, resume=True)


def test_weights_in_the_same_folder_stay_where_the_config_names_them(data, finished, tmp_path):
    out = copy_of(finished, tmp_path / "out")
    weights = out / "model_final.pth"
    trainer = trainer_for(data, out, "MODEL.WEIGHTS", weights)
    start_and_kill(trainer)
    assert weights.is_file() and not (out / "model_0000001.pth").exists()
    again = trainer_for(data, out, "MODEL.WEIGHTS", weights, resume=True)
    assert again.start_iter == 0 and torch.equal(again.bare_model.head.weight, load(weights)["model"]["head.weight"])


def test_checkpoints_without_identity_go_on_twice(data, finished, tmp_path):
    """Of version 0.2 and older; killed again before the first checkpoint of its own, too."""
    out = tmp_path / "out"
    out.mkdir()
    old = {key: value for key, value in load(finished / "model_0000001.pth").items() if key != "run"}
    torch.save(old, out / "model_0000001.pth")
    start_and_kill(trainer_for(data, out, resume=True))
    trainer = trainer_for(data, out, resume=True)
    assert trainer.start_iter == 2 and json.loads((out / "run.json").read_text())["continues_unidentified"]
    trainer.train()
    for key, value in load(finished / "model_final.pth")["model"].items():
        assert torch.equal(load(out / "model_final.pth")["model"][key], value)
    with pytest.raises(ConfigError, match="BASE_LR"):
        trainer_for(data, copy_of(out, tmp_path / "b"), "SOLVER.BASE_LR", 0.5, "SOLVER.MAX_ITER", 6, resume=True)


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        (("SOLVER.BASE_LR", 0.02), "SOLVER.BASE_LR was 0.01, is 0.02"),
        (("SOLVER.WEIGHT_DECAY", 0.5), "SOLVER.WEIGHT_DECAY was 0.0001, is 0.5"),
        (("SOLVER.OPTIMIZER", "ADAM"), "SOLVER.OPTIMIZER was ADAMW, is ADAM"),
        (("SOLVER.OPTIMIZER", "SGD"), "SOLVER.OPTIMIZER was ADAMW, is SGD"),
        (("SOLVER.BACKBONE_MULTIPLIER", 0.1), "SOLVER.BACKBONE_MULTIPLIER was 1.0, is 0.1"),
        (("MODEL.TINY.NORM", False), "MODEL.TINY.NORM was True, is False.*not in the model any more"),
        (("SOLVER.MAX_ITER", 3), "SOLVER.MAX_ITER is 3, but the run in .* has done 4 iterations"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_settings_that_could_not_take_effect_are_refused_and_change_nothing(data, finished, pairs, named):
    before = (finished / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=named):
        trainer_for(data, finished, *(() if "MAX_ITER" in pairs[0] else ("SOLVER.MAX_ITER", 6)), *pairs, resume=True)
    assert (finished / "config.yaml").read_text() == before


def test_settings_that_take_effect_are_listed_and_become_those_of_the_run(data, finished, tmp_path, caplog):
    out = copy_of(finished, tmp_path / "out")
    accepted = ("SOLVER.MAX_ITER", 6, "TEST.DETECTIONS_PER_IMAGE", 50, "SOLVER.GRAD_ACCUM_STEPS", 2)
    with caplog.at_level("INFO"):
        trainer_for(data, out, *accepted, "SEED", 99, "MODEL.WEIGHTS", "elsewhere.pth", resume=True).train()
    assert "Resuming with other settings" in caplog.text and "SOLVER.MAX_ITER was 4, is 6" in caplog.text
    assert "change the course of the training from iteration 4 on" in caplog.text
    assert "SOLVER.GRAD_ACCUM_STEPS was 1, is 2" in caplog.text
    assert "MODEL.WEIGHTS elsewhere.pth is not read" in caplog.text
    config = (out / "config.yaml").read_text()
    assert "MAX_ITER: 6" in config and "GRAD_ACCUM_STEPS: 2" in config
    assert "SEED: 7" in config and "elsewhere" not in config  # neither was in effect


def test_the_length_that_is_done_ends_the_run_properly(data, finished, tmp_path):
    """A run that was stopped half-way is declared finished there."""
    out = copy_of(finished, tmp_path / "out")
    (out / "model_final.pth").unlink()
    (out / "last_checkpoint").write_text("model_0000001.pth")
    results = trainer_for(data, out, "SOLVER.MAX_ITER", 2, resume=True).train()
    assert load(out / "model_final.pth")["iteration"] == 1 and results["bbox"]["AP"] > 0
    assert "MAX_ITER: 2" in (out / "config.yaml").read_text()


def test_an_evaluation_made_up_for_leaves_the_checkpoint_of_a_run_without_faults(data, finished, tmp_path):
    """To the bit, with the random states, from which a longer run goes on."""
    out = tmp_path / "out"
    cut = trainer_for(data, out)
    cut.test = lambda cfg, model: start_and_kill(None)  # something that fails
    with pytest.raises(AttributeError):
        cut.train()
    trainer_for(data, out, resume=True).train()
    one, other = (load(folder / "model_final.pth") for folder in (finished, out))
    assert str(one["trainer"]["hooks"]) == str(other["trainer"]["hooks"])  # NaN among them
    assert one["trainer"]["data"] == other["trainer"]["data"]
    for kind in ("python", "numpy"):
        for a, b in zip(one["trainer"]["rng"][0][kind], other["trainer"]["rng"][0][kind], strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert torch.equal(one["trainer"]["rng"][0]["torch"], other["trainer"]["rng"][0]["torch"])


def test_other_data_is_refused_unless_it_is_asked_for(data, finished, tmp_path, caplog):
    """By content: other images under the same names; the same ones elsewhere are the same data."""
    out = copy_of(finished, tmp_path / "out")
    moved = copy_of(data, tmp_path / "moved")
    assert trainer_for(moved, out, resume=True).train()["bbox"]["AP"] > 0  # finished: nothing to train
    other = copy_of(data, tmp_path / "other")
    shutil.copy(other / "train" / "001.png", other / "train" / "002.png")
    for more in (("SOLVER.MAX_ITER", 6), ()):  # a finished training too
        with pytest.raises(ConfigError, match=r"22 images of .*with other images.*RESUME_ON_OTHER_DATA True"):
            trainer_for(other, out, *more, resume=True).train()
    asked = ("SOLVER.MAX_ITER", 6, "DATALOADER.RESUME_ON_OTHER_DATA", True)
    trainer_for(other, out, *asked, resume=True).train()
    assert "goes on with other data" in caplog.text and load(out / "model_final.pth")["iteration"] == 5
    fewer = make_data(tmp_path / "fewer", num_train=9)
    old = {key: value for key, value in load(finished / "model_0000001.pth").items() if key != "run"}
    (tmp_path / "old").mkdir()
    torch.save(old, tmp_path / "old" / "model_0000001.pth")
    with pytest.raises(ConfigError, match="22 images, now 9 of"):
        trainer_for(fewer, tmp_path / "old", resume=True).train()
