"""Decoder stages that do not train."""

import pytest
import torch

from d2road.config import validate
from d2road.engine.solver import build_optimizer
from d2road.utils.errors import ConfigError

FREEZE = "MODEL.DiffusionDet.FREEZE_HEADS"


def test_frozen_stages_have_no_gradient_and_stay_as_they_are_in_a_step(small_cfg, small_model, make_input):
    cfg = small_cfg(FREEZE, 1, "MODEL.WEIGHTS", "trained.pth")
    model = small_model(FREEZE, 1, "MODEL.WEIGHTS", "trained.pth").train()
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    optimizer = build_optimizer(cfg, model)
    sum(model([make_input(0), make_input(1)]).values()).backward()
    frozen = [p for stage in model.head.head_series[:1] for p in stage.parameters()]
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in model.head.head_series[1].parameters())
    assert not {id(p) for p in frozen} & {id(p) for group in optimizer.param_groups for p in group["params"]}
    optimizer.step()
    for name, value in model.head.state_dict().items():
        same = torch.equal(value, before[name])
        assert same == name.startswith("head_series.0.") or not value.is_floating_point(), name


def test_freezing_changes_no_output(small_model, make_input):
    kept = small_model(FREEZE, 2, "MODEL.WEIGHTS", "trained.pth").eval()
    free = small_model().eval()
    with torch.no_grad():
        a, b = (model([make_input(0)])[0]["instances"] for model in (kept, free))
    assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor) and torch.equal(a.scores, b.scores)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        ((FREEZE, 3, "MODEL.WEIGHTS", "x.pth"), r"FREEZE_HEADS is 3: choose 0 to NUM_HEADS = 2"),
        ((FREEZE, -1, "MODEL.WEIGHTS", "x.pth"), r"FREEZE_HEADS is -1: choose 0 to NUM_HEADS"),
        ((FREEZE, 1), r"FREEZE_HEADS is 1: frozen stages keep .*MODEL\.WEIGHTS"),
    ],
)
def test_freezing_what_is_not_there_is_refused(small_cfg, opts, words):
    with pytest.raises(ConfigError, match=words):
        validate(small_cfg(*opts))
