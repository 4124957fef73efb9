"""Folding changes the speed, not the outputs."""

import copy

import numpy as np
import pytest
import timm
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import build_model
from timm.layers import StdConv2d
from torch import nn

from d2road.config import make_cfg
from d2road.engine import Predictor
from d2road.modeling import fuse_for_inference

SMALL = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.TIMM.WEIGHTS", "", "MODEL.DiffusionDet.NUM_CLASSES", "7",
         "MODEL.DiffusionDet.NUM_PROPOSALS", "10", "MODEL.DiffusionDet.NUM_HEADS", "1"]  # fmt: skip


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d)) for m in model.modules())


def randomise_norms(model: nn.Module) -> None:
    """Statistics and affine parameters as after a training, signs included."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.3)


@pytest.mark.parametrize("config", ["coco/resnet50.yaml", "Base-Small.yaml"])
def test_detector_is_the_same(config, repo_dir):
    torch.manual_seed(0)
    model = build_model(make_cfg(str(repo_dir / "configs/diffusion_det" / config), SMALL)).eval()
    randomise_norms(model)
    fused = copy.deepcopy(model)
    assert fuse_for_inference(fused) is fused
    assert count_norms(model) > 40 and count_norms(fused) == 0
    image = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        expected, ours = model.backbone(image), fused.backbone(image)
        for name, value in expected.items():
            assert (ours[name] - value).abs().max() < 1e-4 * value.abs().max()
        inputs = [{"image": torch.randint(0, 256, (3, 64, 96)), "image_id": 1}]
        torch.manual_seed(1)  # the published code draws from the global state
        expected = model(inputs)[0]["instances"]
        torch.manual_seed(1)
        ours = fused(inputs)[0]["instances"]
    assert len(ours) == len(expected) > 0
    assert (ours.pred_boxes.tensor - expected.pred_boxes.tensor).abs().max() < 1e-4 * 96
    torch.testing.assert_close(ours.scores, expected.scores, atol=1e-4, rtol=1e-4)
    assert torch.equal(ours.pred_classes, expected.pred_classes)
    weight = next(m for m in fused.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)).weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(p.requires_grad for p in fused.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_18", "densenet121", "mobilenetv3_small_050", "regnety_002"])
def test_families_of_timm(name):
    torch.manual_seed(0)
    model = timm.create_model(name, features_only=True).eval()
    randomise_norms(model)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)
        ours = fuse_for_inference(copy.deepcopy(model))(image)
    for one, other in zip(ours, expected):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_only_what_is_certain_is_folded():
    class Unclear(nn.Module):
        """Registered in an order that says nothing: the norm comes first."""

        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.conv1(self.bn1(x))

    standardised = nn.Sequential(StdConv2d(4, 4, 3), nn.BatchNorm2d(4))
    after_activation = nn.Sequential(Conv2d(4, 4, 3, activation=nn.ReLU()), nn.BatchNorm2d(4))
    batch_statistics = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    image = torch.randn(2, 4, 9, 9)
    for model in (Unclear(), standardised, after_activation, batch_statistics):
        model.eval()
        if model is not batch_statistics:
            randomise_norms(model)
        expected = model(image)
        fuse_for_inference(model)
        assert count_norms(model) == 1
        torch.testing.assert_close(model(image), expected)
    clear = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    randomise_norms(clear)
    expected = clear(image)
    torch.testing.assert_close(fuse_for_inference(clear)(image), expected)
    assert count_norms(clear) == 0


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="in training mode"):
        fuse_for_inference(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))


def test_predictor_fuses_unless_told(repo_dir):
    cfg = make_cfg(str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), SMALL)
    torch.manual_seed(0)
    plain = Predictor(cfg, "random", fuse=False)
    torch.manual_seed(0)
    fused = Predictor(cfg, "random")
    assert count_norms(plain.model) > 40 and count_norms(fused.model) == 0
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected, ours = plain(image)["instances"], fused(image)["instances"]
    assert len(ours) == len(expected) > 0
    torch.testing.assert_close(ours.scores, expected.scores, atol=1e-4, rtol=1e-4)
