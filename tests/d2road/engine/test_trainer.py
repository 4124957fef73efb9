"""The training loop around its steps: bad losses, averages, the best checkpoint, failures, changes on resuming."""

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.engine.hooks import CallbackHook
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils.env import seed_all_rng

from d2road.checkpoint import export_inference_weights
from d2road.engine import Trainer, evaluate
from d2road.utils.rng import get_rng_state
from tests.factories.tiny_system import TinyDetector, make_data, tiny_cfg


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


def trainer_for(data: Path, output: Path, *pairs, resume: bool = False) -> Trainer:
    cfg = tiny_cfg(data, output, *pairs)
    cfg.freeze()
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def short(num: int) -> tuple:
    return ("SOLVER.MAX_ITER", num, "SOLVER.STEPS", (), "TEST.EVAL_PERIOD", 0)


def test_nan_loss_saves_the_state_and_names_iteration_and_files(data, tmp_path):
    poisoned = ("MODEL.TINY.POISON", "005", "SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 0)
    with pytest.raises(FloatingPointError, match=r"NaN or infinite at iteration \d+") as caught:
        trainer_for(data, tmp_path, *poisoned).train()
    message = str(caught.value)
    assert "005.png" in message and "loss_box" in message
    (path,) = tmp_path.glob("nan_*.pth")
    assert str(path) in message
    saved = load(path)
    iteration = int(path.stem.removeprefix("nan_"))
    assert iteration > 0, "the poisoned image should not be in the first batch: choose another one"
    assert any("005.png" in name for name in saved["failed_step"][0]["batch_files"])
    assert math.isnan(saved["failed_step"][0]["losses"]["loss_box"])
    # It is the state before the step: that of the checkpoint of the step before, which stays the one to resume from.
    before = load(tmp_path / f"model_{iteration - 1:07d}.pth")
    assert (tmp_path / "last_checkpoint").read_text() == f"model_{iteration - 1:07d}.pth"
    assert torch.equal(saved["model"]["head.weight"], before["model"]["head.weight"])
    assert saved["trainer"]["iteration"] == before["trainer"]["iteration"]
    assert torch.equal(saved["trainer"]["rng"][0]["torch"], before["trainer"]["rng"][0]["torch"])
    assert saved["trainer"]["data"] == before["trainer"]["data"]
    # Without the poison the run goes on from there.
    assert trainer_for(data, tmp_path, *short(iteration + 1), resume=True).train()["bbox"]["AP"] > 0


def test_evaluation_leaves_no_trace(data, tmp_path):
    trainer = trainer_for(data, tmp_path, *short(3))
    trainer.train()
    before = {name: value.clone() for name, value in trainer.bare_model.state_dict().items()}
    average = trainer.ema.weights["head.weight"].clone()
    rng = get_rng_state()
    with trainer.evaluation_weights() as model:
        assert torch.equal(model.head.weight, average) and not torch.equal(average, before["head.weight"])
        trainer.test(trainer.cfg, model)
        torch.rand(3)
    assert all(torch.equal(value, before[name]) for name, value in trainer.bare_model.state_dict().items())
    assert torch.equal(get_rng_state()["torch"], rng["torch"])
    assert trainer.model.training


def test_the_best_is_what_was_evaluated(data, tmp_path):
    pairs = ("SOLVER.MAX_ITER", 6, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 3)
    trainer = trainer_for(data, tmp_path, *pairs)
    results = trainer.train()
    best = load(tmp_path / "model_best.pth")
    assert best["metric"] == "bbox/AP" and best["value"] == trainer.evaluation.best >= results["bbox"]["AP"]
    assert best["iteration"] == trainer.evaluation.best_iter and set(best) == {
        "model", "iteration", "metric", "value", "class_names",
    }  # fmt: skip
    cfg = tiny_cfg(data, tmp_path / "best", "MODEL.WEIGHTS", tmp_path / "model_best.pth")
    assert evaluate(cfg)["bbox"]["AP"] == best["value"]
    # The final checkpoint is evaluated by its averages.
    cfg = tiny_cfg(data, tmp_path / "last", "MODEL.WEIGHTS", tmp_path / "model_final.pth")
    assert evaluate(cfg)["bbox"]["AP"] == results["bbox"]["AP"]
    scores = json.loads((tmp_path / "last/inference/coco_instances_results.json").read_text())
    assert scores == json.loads((tmp_path / "inference/coco_instances_results.json").read_text())
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["bbox"]["AP"] == results["bbox"]["AP"] and written["bbox"]["APl"] is None


def test_a_model_is_told_results_before_they_are_saved_with_it(data, tmp_path, monkeypatch):
    def take_results(self, results):
        self.seen.fill_(results["bbox"]["AP"])

    build = TinyDetector.__init__
    monkeypatch.setattr(
        TinyDetector,
        "__init__",
        lambda self, cfg: (build(self, cfg), self.register_buffer("seen", torch.tensor(-1.0)))[0],
    )
    monkeypatch.setattr(TinyDetector, "take_results", take_results, raising=False)
    trainer = trainer_for(data, tmp_path / "out", *short(4), "SOLVER.CHECKPOINT_PERIOD", 2, "MODEL_EMA.ENABLED", False)
    results = trainer.train()
    assert load(tmp_path / "out/model_final.pth")["model"]["seen"] == pytest.approx(results["bbox"]["AP"])
    assert load(tmp_path / "out/model_0000001.pth")["model"]["seen"] == -1


def test_less_can_be_better(data, tmp_path):
    pairs = ("SOLVER.MAX_ITER", 4, "TEST.EVAL_PERIOD", 1, "TEST.BEST_MODE", "min", "SOLVER.CHECKPOINT_PERIOD", 0)
    trainer = trainer_for(data, tmp_path, *pairs)
    values = iter([3.0, float("nan"), 1.0, 2.0])
    trainer.test = lambda cfg, model: {"bbox": {"AP": next(values)}}
    trainer.train()
    assert (trainer.evaluation.best, trainer.evaluation.best_iter) == (1.0, 2)
    assert load(tmp_path / "model_best.pth")["iteration"] == 2


def test_unknown_best_metric_lists_the_known(data, tmp_path):
    with pytest.raises(ValueError, match=r"'bbox/ap' is not in the results; they have bbox/AP, bbox/AP50"):
        trainer_for(data, tmp_path, *short(1), "TEST.BEST_METRIC", "bbox/ap").train()
    with pytest.raises(ValueError, match="BEST_MODE is 'most'"):
        trainer_for(data, tmp_path, "TEST.BEST_MODE", "most")


def test_a_failing_evaluation_costs_no_training(data, tmp_path, monkeypatch):
    def fail(cls, cfg, model):
        raise RuntimeError("no evaluation today")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "test", classmethod(fail))
        with pytest.raises(RuntimeError, match="today"):
            trainer_for(data, tmp_path, *short(3)).train()
    weights = load(tmp_path / "model_final.pth")["model"]
    resumed = trainer_for(data, tmp_path, *short(3), resume=True)
    assert resumed.start_iter == 3
    assert resumed.train()["bbox"]["AP"] > 0 and (tmp_path / "model_best.pth").exists()
    assert torch.equal(load(tmp_path / "model_final.pth")["model"]["head.weight"], weights["head.weight"])
    # Once more: nothing is left to do, not even the evaluation.
    monkeypatch.setattr(Trainer, "test", classmethod(fail))
    assert trainer_for(data, tmp_path, *short(3), resume=True).train()["bbox"]["AP"] > 0


def test_a_run_that_ends_in_its_first_steps_says_why(data, tmp_path):
    # The printer has no mean time yet, and divides by the iterations since it last wrote: none.
    trainer = trainer_for(data, tmp_path, *short(2))

    def end(trainer) -> None:
        if trainer.iter == 1:
            raise KeyboardInterrupt("the reason")

    trainer.register_hooks([CallbackHook(after_step=end)])
    with pytest.raises(KeyboardInterrupt, match="the reason"):
        trainer.train()
    assert [json.loads(line)["iteration"] for line in (tmp_path / "metrics.json").read_text().splitlines()] == [1]


def test_averages_start_from_loaded_weights(data, tmp_path):
    trainer_for(data, tmp_path, *short(2)).train()
    weights = tmp_path / "model_final.pth"
    fine = trainer_for(data, tmp_path / "fine", *short(2), "MODEL.WEIGHTS", weights)
    assert fine.start_iter == 0
    assert torch.equal(fine.bare_model.head.weight, load(weights)["model"]["head.weight"])
    assert torch.equal(fine.ema.weights["head.weight"], fine.bare_model.head.weight)


def test_resuming_with_another_batch_size_says_so(data, tmp_path, caplog):
    trainer_for(data, tmp_path, *short(4)).train()
    resumed = trainer_for(data, tmp_path, *short(6), "SOLVER.IMS_PER_BATCH", 2, resume=True)
    assert "SOLVER.IMS_PER_BATCH was 4 and is 2: resuming is not exact" in caplog.text
    assert resumed.start_iter == 4 and resumed.state_dict()["data"]["steps"] == 8 - 1 + 1
    resumed.train()
    assert load(tmp_path / "model_final.pth")["trainer"]["data"]["steps"] == 10


def test_a_drawn_seed_is_kept(data, tmp_path):
    first = trainer_for(data, tmp_path, *short(2), "SEED", 3)
    first.cfg.defrost()
    first.train()
    resumed = trainer_for(data, tmp_path, *short(4), "SEED", 4, resume=True)
    assert resumed.seed == resumed.cfg.SEED == 3


@pytest.mark.parametrize(
    ("named", "has_bfloat16", "expected"),
    [("auto", True, torch.bfloat16), ("auto", False, torch.float32), ("bf16", False, torch.bfloat16)],
)
def test_mixed_precision(data, tmp_path, monkeypatch, named, has_bfloat16, expected):
    monkeypatch.setattr("d2road.engine.train_step.multiplies_bfloat16", lambda: has_bfloat16)
    trainer = trainer_for(data, tmp_path, *short(2), "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", named)
    seen = []
    trainer.bare_model.head.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    trainer.train()
    assert seen[0] == expected and trainer.bare_model.head.weight.dtype == torch.float32


def test_mixed_precision_that_cannot_be(data, tmp_path):
    with pytest.raises(ValueError, match="fp16 needs CUDA"):
        trainer_for(data, tmp_path / "2", "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp16")
    with pytest.raises(ValueError, match="'fp8', expected auto, fp16 or bf16"):
        trainer_for(data, tmp_path / "3", "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp8")


def test_what_cannot_be_divided_is_said_before_the_model_is_built(data, tmp_path):
    with pytest.raises(ValueError, match="GRAD_ACCUM_STEPS 3"):
        trainer_for(data, tmp_path, "SOLVER.GRAD_ACCUM_STEPS", 3)


def test_detectron2_reads_our_checkpoints(data, tmp_path):
    trainer = trainer_for(data, tmp_path, *short(2))
    trainer.train()
    image = torch.full((48, 64, 3), 20, dtype=torch.uint8).numpy()
    image[10:30, 20:50] = 220
    cfg = tiny_cfg(data, tmp_path, "MODEL.WEIGHTS", tmp_path / "model_final.pth")
    predictor = DefaultPredictor(cfg)
    assert torch.equal(predictor.model.head.weight, trainer.bare_model.head.weight)
    assert len(predictor(image)["instances"]) == 1
    export_inference_weights(tmp_path / "model_final.pth", tmp_path / "slim.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "slim.pth")
    predictor = DefaultPredictor(cfg)
    assert torch.equal(predictor.model.head.weight, trainer.ema.weights["head.weight"])


def test_a_data_set_without_evaluation(data, tmp_path):
    trainer = trainer_for(data, tmp_path, *short(2), "DATASETS.TEST", ())
    assert trainer.train() == {} and isinstance(trainer, TrainerBase)
    assert (tmp_path / "model_final.pth").exists()
