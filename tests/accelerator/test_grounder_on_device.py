"""Mono3DVG on a pretended accelerator: every variant works there, and how often the host waits."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from d2road.data import build_mapper
from d2road.engine import Trainer
from tests.accelerator.conftest import on_device
from tests.factories.grounders import NODE, data_name, make_data, tiny_cfg
from tests.factories.text_encoders import save_bert

LAUNCHES_TRAINING, LAUNCHES_INFERENCE = 3050, 1480
FUSIONS = ("unidirectional", "bidirectional", "text_conditioned", "cross_attention", "mamba_fusion", "none")
VARIANTS = {
    **{f"fusion {name}": (NODE + "FUSION.NAME", name) for name in FUSIONS},
    "four directions": (NODE + "FUSION.DIRECTIONS", 4),
    "no order": (NODE + "FUSION.DIRECTIONS", 0),
    "queries": (NODE + "HEAD", "query", NODE + "RELATION.ENABLED", False),
    "referral map": (NODE + "RELATION.ENABLED", False),
    "attributes and presence": (NODE + "DETECTION.ATTRIBUTES", True, NODE + "RELATION.PRESENCE", True),
    "no filter": (NODE + "FILTER.ENABLED", False),
    "image alone": (NODE + "ABLATE_INPUT", "sentence"),
    "sentence alone": (NODE + "ABLATE_INPUT", "image"),
    "no plane": (NODE + "USE_GIVEN_GROUND", False),
    "stage boxes": (NODE + "TRAINING_STAGE", "boxes"),
    "stage labels": (NODE + "TRAINING_STAGE", "labels"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("accelerator"))


@pytest.fixture
def build(repo_dir, data):
    """A grounder, a training batch and a test batch, the same for the same options."""

    def make(*opts):
        cfg = tiny_cfg(repo_dir, data, data / "out", *opts)
        seed()
        model = Trainer.build_model(cfg)
        training = [build_mapper(cfg, is_train=True)(copy.deepcopy(r)) for r in records(data, "train")]
        test = [build_mapper(cfg, is_train=False)(copy.deepcopy(r)) for r in records(data, "test")]
        return model, training, test

    return make


def records(data, split):
    return DatasetCatalog.get(data_name(data, split))[:2]


def seed():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)


def step(model, batch):
    seed()
    model.zero_grad()
    losses = model.train()(batch)
    sum(losses.values()).backward()
    return {name: value.item() for name, value in losses.items()}


def test_a_training_step_has_the_same_losses_and_waits_at_most_eight_times(build, accelerator):
    model, batch, _ = build("MODEL.MONO3DVG.RELATION.JITTER", 0.0)
    expected = step(model, batch)
    with on_device(model, accelerator):
        seed()
        model.zero_grad()
        with accelerator.measured() as cost:
            losses = model.train()(batch)
            sum(losses.values()).backward()
        found = {name: value.item() for name, value in losses.items()}
    assert found == {name: pytest.approx(value, rel=1e-3, abs=1e-5) for name, value in expected.items()}
    assert len(cost.waits) <= 8, cost
    assert cost.launches < LAUNCHES_TRAINING, cost


def test_inference_finds_the_same_and_waits_at_most_six_times(build, accelerator):
    model, _, batch = build(NODE + "DETECTION.MIN_HEAT", 0.0, "TEST.GROUNDING.MIN_SCORE", 0.0)
    model.eval()
    with torch.no_grad():
        expected = model(batch)
        with on_device(model, accelerator), accelerator.measured() as cost:
            found = model(batch)
    assert len(cost.waits) <= 6, cost
    assert cost.launches < LAUNCHES_INFERENCE, cost
    for one, other in zip(found, expected, strict=True):
        assert len(one["groundings"]) == len(other["groundings"]) > 0
        for ours, theirs in zip(one["groundings"], other["groundings"]):
            assert len(theirs["scores"]) and ours["words"] == theirs["words"]
            torch.testing.assert_close(ours["scores"].cpu(), theirs["scores"], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ours["boxes_xyxy"].cpu(), theirs["boxes_xyxy"], atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("opts", VARIANTS.values(), ids=VARIANTS)
def test_every_variant(opts, build, accelerator):
    model, training, test = build(*opts)
    with on_device(model, accelerator):
        with accelerator.measured() as cost:
            step(model, training)
        reading = len(cost.waits) - len(model_losses(cost))
        assert reading <= 8, cost
        with torch.no_grad(), accelerator.measured() as cost:
            assert len(model.eval()(test)) == 2
        assert len(cost.waits) <= 6, cost


def test_a_pretrained_encoder_and_mixed_precision(build, accelerator, tmp_path):
    pytest.importorskip("transformers")
    opts = (NODE + "TEXT.ENCODER", save_bert(tmp_path / "bert"), NODE + "TEXT.MAX_TOKENS", 32)
    for chosen, dtype in ((opts, torch.float16), ((), torch.bfloat16)):
        model, training, test = build(*chosen)
        for expression in (e for x in (*training, *test) for e in x["expressions"] if chosen):
            expression["text"] = "the car"  # all that its tokenizer knows
        with on_device(model, accelerator), torch.autocast(accelerator.device.type, dtype):
            assert all(np.isfinite(list(step(model, training).values())))
            with torch.no_grad():
                found = model.eval()(test)
        assert all(g["scores"].dtype == torch.float32 for one in found for g in one["groundings"])


def model_losses(cost):
    """The waits of `step` itself, which reads the losses."""
    return [place for place in cost.waits if "test_grounder_on_device.py" in place]
