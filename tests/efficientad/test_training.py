"""Training through the Trainer: calibration at the right moments, averages, resuming, loading."""

import cv2
import pytest
import torch
from detectron2.engine.hooks import CallbackHook

from d2road.data import build_mapper
from d2road.engine import Predictor, Trainer, evaluate
from efficientad.calibration import calibrate
from tests.factories.anomaly_models import entries, narrow_networks, small_cfg, write_category


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return write_category(tmp_path_factory.mktemp("data"))


def run_cfg(category, out, *pairs):
    return small_cfg(
        *("OUTPUT_DIR", str(out), "DATASETS.TRAIN", (f"mvtec:{category}",)),
        *("DATASETS.TEST", (f"mvtec:{category}:test",), "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (3,)),
        *("SOLVER.CHECKPOINT_PERIOD", 2, "TEST.ANOMALY.BOOTSTRAP", 0, *pairs),
    )


def start(cfg, resume=False):
    torch.manual_seed(0)  # train_net.py seeds before it builds
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    return trainer


def train(cfg, resume=False):
    trainer = start(cfg, resume)
    return trainer, trainer.train()


def test_trains_evaluates_and_is_loaded_again(category, tmp_path):
    cfg = run_cfg(category, tmp_path)
    _, results = train(cfg)
    assert {"image_auroc", "aupro", "good_threshold"} <= set(results["anomaly"])
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert saved["networks.teacher_std"].min() > 0 and (saved["state.map_quantiles"] > 0).all()
    cfg.MODEL.WEIGHTS, cfg.MODEL.EFFICIENT_AD.TEACHER = str(tmp_path / "model_final.pth"), "/gone/teacher.pth"
    again = evaluate(cfg)
    assert again["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    # One image by the Predictor, from a file and as an array, is what the mapper and the model give.
    path = category / "test" / "blot" / "000.png"
    predict = Predictor(cfg)
    found = predict(str(path))
    mapped = build_mapper(cfg, False)({"file_name": str(path)})
    assert torch.allclose(found["anomaly_map"], predict.model([mapped])[0]["anomaly_map"], atol=1e-5)
    assert torch.allclose(predict(cv2.imread(str(path)))["anomaly_map"], found["anomaly_map"], atol=1e-5)


def test_averaged_weights_are_calibrated_for_themselves(category, tmp_path):
    cfg = run_cfg(category, tmp_path, "MODEL_EMA.ENABLED", True, "MODEL_EMA.DECAY", 0.5, "SOLVER.BASE_LR", 0.01)
    trainer, results = train(cfg)
    model, averages = trainer.bare_model, trainer.ema.weights
    assert torch.equal(averages["networks.teacher_mean"], model.networks.teacher_mean)
    assert torch.equal(averages["state.map_quantiles"], model.state.map_quantiles)
    expected = model.state.map_quantiles.clone()
    with trainer.evaluation_weights() as weighted:
        calibrate(cfg, weighted)
        assert torch.allclose(weighted.state.map_quantiles, expected, rtol=1e-5)
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)


def test_resumed_training_ends_like_one_that_was_not_interrupted(category, tmp_path):
    whole, _ = train(run_cfg(category, tmp_path / "whole"))
    cfg = run_cfg(category, tmp_path / "parts", "TEST.EVAL_PERIOD", 1)
    trainer = start(cfg)
    trainer.register_hooks([stop_after(2)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed, _ = train(cfg, resume=True)
    ours, theirs = whole.bare_model.state_dict(), resumed.bare_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_between_calibrations_the_model_counts_as_uncalibrated(category, tmp_path):
    cfg = run_cfg(category, tmp_path, "TEST.EVAL_PERIOD", 3, "SOLVER.CHECKPOINT_PERIOD", 100)
    seen = []
    trainer = start(cfg)
    trainer.register_hooks([after_each_step(lambda t: seen.append(bool(t.bare_model.state.calibrated_for)))])
    trainer.train()
    assert seen == [False, False, True, True]


def test_training_needs_a_teacher_and_says_where_to_get_one(category, tmp_path):
    with pytest.raises(ValueError, match=r"TEACHER is empty.*make teacher"):
        train(run_cfg(category, tmp_path, "MODEL.EFFICIENT_AD.TEACHER", ""))
    with pytest.raises(FileNotFoundError, match=r"no file /nowhere/t\.pth"):
        train(run_cfg(category, tmp_path, "MODEL.EFFICIENT_AD.TEACHER", "/nowhere/t.pth"))


def test_own_validation_images(category, tmp_path):
    cfg = run_cfg(category, tmp_path, "DATASETS.CALIBRATION", (f"mvtec:{category}:test",))
    trainer, _ = train(cfg)
    model = trainer.bare_model
    before = model.state.map_quantiles.clone()
    calibrate(cfg, model)
    assert torch.equal(model.state.map_quantiles, before)
    cfg.DATASETS.CALIBRATION = ()
    calibrate(cfg, model)
    assert not torch.equal(model.state.map_quantiles, before)


def test_a_model_outside_a_trainer_warns_once_about_its_teacher(caplog):
    from detectron2.modeling import build_model

    model = build_model(small_cfg()).train()
    model(entries(1)), model(entries(1))
    assert caplog.text.count("without a known teacher") == 1


def after_each_step(look):
    """A hook that looks at the trainer after each step."""
    return CallbackHook(after_step=look)


def stop_after(steps):
    """Ends the training after a number of steps as a crash would."""

    def stop(trainer):
        if trainer.iter + 1 == steps:
            raise KeyboardInterrupt

    return after_each_step(stop)
