"""Optimizer groups, clipping and averages against Detectron2's and torch's own."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.solver import build_lr_scheduler
from detectron2.solver.build import get_default_optimizer_params
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from d2road.config import add_common_config
from d2road.engine.ema import ModelEma
from d2road.engine.solver import build_clipper, build_optimizer
from d2road.utils.errors import ConfigError


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = 0.5, 0.25
    return cfg


def net() -> nn.Module:
    torch.manual_seed(0)
    parts = {
        "backbone": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
        "head": nn.Linear(4, 2),
        "norm": nn.LayerNorm(2),
    }
    return nn.ModuleDict(parts)


def settings(groups, model) -> dict[str, tuple[float, float]]:
    """Parameter name -> (learning rate, weight decay)."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_every_parameter_decays_and_the_backbone_learns_slower(cfg):
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    model = net()
    model["head"].bias.requires_grad_(False)
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = settings(optimizer.param_groups, model)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert found == {name: (0.05 if name.startswith("backbone.") else 0.5, 0.25) for name in names}


@pytest.mark.parametrize("norm, bias, factor", [(0.0, None, 1.0), (0.125, 0.0, 2.0), (None, 0.5, 1.0)])
def test_decay_of_norms_and_biases_as_detectron2_does(cfg, norm, bias, factor):
    cfg.SOLVER.WEIGHT_DECAY_NORM, cfg.SOLVER.WEIGHT_DECAY_BIAS, cfg.SOLVER.BIAS_LR_FACTOR = norm, bias, factor
    cfg.SOLVER.OPTIMIZER = "SGD"
    model = net()
    ours = build_optimizer(cfg, model)
    theirs = get_default_optimizer_params(model, 0.5, 0.25, norm, factor, bias)
    assert isinstance(ours, torch.optim.SGD) and ours.param_groups[0]["momentum"] == cfg.SOLVER.MOMENTUM
    assert settings(ours.param_groups, model) == settings(theirs, model)


def test_detectron2_schedules_drive_all_groups(cfg):
    cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.LR_SCHEDULER_NAME = 0.5, "WarmupCosineLR"
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS = 10, 0
    optimizer = build_optimizer(cfg, net())
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.125, 0.25])


def test_adam_decays_by_the_gradient(cfg):
    cfg.SOLVER.OPTIMIZER = "adam"
    optimizer = build_optimizer(cfg, net())
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} <= {cfg.SOLVER.WEIGHT_DECAY, 0.0}


def test_unknown_settings_name_the_known(cfg):
    cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ValueError, match="'LION', expected one of ADAMW, SGD"):
        build_optimizer(cfg, net())
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "model"
    with pytest.raises(ValueError, match="expected one of full_model, norm, value"):
        build_clipper(cfg)
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = "full_model", 0.0
    with pytest.raises(ValueError, match=r"CLIP_VALUE is 0\.0"):
        build_clipper(cfg)
    frozen = net().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that trains"):
        build_optimizer(get_cfg_with_defaults(), frozen)


def get_cfg_with_defaults():
    cfg = get_cfg()
    add_common_config(cfg)
    return cfg


def test_clipping(cfg):
    clip = cfg.SOLVER.CLIP_GRADIENTS
    assert build_clipper(cfg) is None
    clip.ENABLED, clip.CLIP_VALUE = True, 1.0
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]), torch.tensor([0.3, 0.0])]

    def clipped(kind):
        clip.CLIP_TYPE = kind
        parameters = [nn.Parameter(torch.zeros(2)) for _ in gradients]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient.clone()
        returned = build_clipper(cfg)(iter(parameters))
        return returned, torch.stack([parameter.grad for parameter in parameters])

    norm, full = clipped("full_model")
    assert norm == pytest.approx(torch.stack(gradients).norm().item())
    torch.testing.assert_close(full, torch.stack(gradients) / norm)
    torch.testing.assert_close(clipped("norm")[1], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, 0.0]]))
    torch.testing.assert_close(clipped("value")[1], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, 0.0]]))


def test_averages_agree_with_torch():
    model = net()
    ours = ModelEma(model, decay=0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(model)  # its first call copies
    for _ in range(5):
        with torch.no_grad():
            for parameter in model["head"].parameters():
                parameter.add_(torch.randn_like(parameter))
        model["backbone"](torch.randn(4, 3, 2, 2))  # running statistics
        ours.update(model)
        theirs.update_parameters(model)
    expected = theirs.module.state_dict()
    for name, average in ours.weights.items():
        torch.testing.assert_close(average, expected[name], rtol=1e-6, atol=1e-7)
    assert "backbone.1.running_mean" in ours.weights and "backbone.1.num_batches_tracked" not in ours.weights
    # What never changed is still the same number.
    assert torch.equal(ours.weights["backbone.0.weight"], model["backbone"][0].weight)


def test_averages_come_and_go():
    model = net()
    ema = ModelEma(model, decay=0.5)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    ema.weights["head.weight"].fill_(7)
    with pytest.raises(KeyError), ema.applied(model):
        assert (model["head"].weight == 7).all()
        raise KeyError
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_averages_warm_up_and_load():
    model = net()
    ema = ModelEma(model, decay=0.9, warm_up=True)
    model["head"].weight.data.add_(1)
    ema.update(model)  # a decay of 0.9 * (1 - exp(-1 / 2000)): nearly the weight itself
    assert torch.allclose(ema.weights["head.weight"], model["head"].weight, atol=1e-3)
    other = ModelEma(net(), decay=0.9, warm_up=True)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1 and torch.equal(other.weights["head.weight"], ema.weights["head.weight"])
    with pytest.raises(ValueError, match="not those of this model"):
        other.load_state_dict({"updates": 1, "weights": {"x": torch.zeros(1)}})
    with pytest.raises(ValueError, match=r"DECAY is 1\.0"):
        ModelEma(model, decay=1.0)


@pytest.mark.parametrize("name", ["ADAMW", "ADAM", "SGD"])
def test_a_fused_optimizer_steps_as_the_plain_one(cfg, name):
    """One kernel for all parameters; on a processor only where it is asked for."""
    cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR = name, 0.1
    weights = []
    for choice in ("auto", "off", "on"):
        cfg.SOLVER.FUSED = choice
        torch.manual_seed(0)
        model = net()
        optimizer = build_optimizer(cfg, model)
        assert bool(optimizer.defaults["fused"]) == (choice == "on")
        for _ in range(3):
            optimizer.zero_grad()
            assert all(p.grad is None for p in model.parameters())  # freed, not filled with zeros
            sum((p * p).sum() for p in model.parameters()).backward()
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights[2], weights[0])
    cfg.SOLVER.FUSED = "yes"
    with pytest.raises(ConfigError, match=r"FUSED is 'yes', expected one of auto"):
        build_optimizer(cfg, net())
