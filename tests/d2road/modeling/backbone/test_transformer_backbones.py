"""Swin and ViT builders, and the names that published checkpoints have."""

import pickle

import numpy as np
import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone
from torch import nn

import d2road.modeling  # noqa: F401
from d2road.checkpoint import Checkpointer
from d2road.config.defaults import add_common_config
from d2road.modeling.backbone import swin, vit

TINY_SWIN = swin.SwinSize(24, (2, 2, 2, 2), (1, 2, 2, 2), 0.1)


@pytest.fixture
def cfg(monkeypatch):
    monkeypatch.setitem(swin.SIZES, "tiny", TINY_SWIN)
    monkeypatch.setitem(vit.SIZES, "tiny", vit.ViTSize(32, 4, 2))
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.BACKBONE.NAME = "build_swintransformer_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["swin0", "swin1", "swin2", "swin3"]
    cfg.MODEL.SWIN.SIZE = "tiny"
    cfg.MODEL.VIT.SIZE = "tiny"
    cfg.MODEL.VIT.IMG_SIZE = 64
    return cfg


@pytest.fixture
def no_memory(monkeypatch):
    """Build without allocating weights; Detectron2 reads its drop rates from a tensor, which needs a real one."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *args: linspace(*args, device="cpu"))
    with torch.device("meta"):
        yield


class Detector(nn.Module):
    """The part of a detector that a backbone checkpoint knows."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def check_pyramid(backbone, height=64, width=96):
    outputs = backbone(torch.rand(2, 3, height, width))
    assert list(outputs) == ["p2", "p3", "p4", "p5", "p6"]
    for name, shape in backbone.output_shape().items():
        size = (-(-height // shape.stride), -(-width // shape.stride))
        assert outputs[name].shape == (2, 16, *size), name
    sum(output.sum() for output in outputs.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("use_checkpoint", [False, True])
def test_swin_pyramid_forward_and_backward(cfg, use_checkpoint):
    cfg.MODEL.SWIN.USE_CHECKPOINT = use_checkpoint
    backbone = build_backbone(cfg).train()
    assert backbone.size_divisibility == 32 and backbone.bottom_up.size_divisibility == 32
    check_pyramid(backbone)


def test_swin_parameters_have_the_published_names(cfg):
    # The names in the released DiffusionDet Swin checkpoints, written down from their description.
    expected = {"patch_embed.proj.weight", "patch_embed.proj.bias", "patch_embed.norm.weight", "patch_embed.norm.bias"}
    leaves = [
        *(["norm1.weight", "norm1.bias", "attn.relative_position_bias_table", "attn.qkv.weight", "attn.qkv.bias"]),
        *(["attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias"]),
        *(["mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]),
    ]
    for stage in range(4):
        expected |= {f"layers.{stage}.blocks.{block}.{leaf}" for block in range(2) for leaf in leaves}
        expected |= {f"norm{stage}.weight", f"norm{stage}.bias"}
        if stage < 3:
            expected |= {
                f"layers.{stage}.downsample.{leaf}" for leaf in ["reduction.weight", "norm.weight", "norm.bias"]
            }
    names = {name for name, _ in Detector(build_backbone(cfg)).named_parameters() if "bottom_up" in name}
    assert names == {f"backbone.bottom_up.{name}" for name in expected}


@pytest.mark.parametrize(
    ("size", "millions"), [("T", 28), ("S", 50), ("B", 88), ("B-22k", 88), ("B-22k-384", 88), ("L-22k", 197)]
)
def test_swin_sizes_have_the_parameters_of_the_paper(size, millions, no_memory):
    # Liu et al., table 1, counts the classifier as well: 1000 classes of the last width.
    net = swin.Swin(swin.SIZES[size], out_indices=(3,), in_channels=3, use_checkpoint=False)
    classifier = 1001 * net.num_features[3]
    assert abs(sum(p.numel() for p in net.parameters()) + classifier - millions * 1e6) < 1e6


@torch.no_grad()
def test_imagenet_checkpoint_of_swin_computes_the_same(cfg, tmp_path, monkeypatch):
    # timm's Swin is an independent implementation; its parameters, under the authors' names, as their file has them.
    monkeypatch.setitem(swin.SIZES, "tiny", swin.SwinSize(24, (2, 2, 2, 2), (3, 6, 12, 24), 0.1))
    torch.manual_seed(0)
    reference = timm.create_model(
        "swin_tiny_patch4_window7_224", embed_dim=24, depths=(2, 2, 2, 2), num_classes=5, img_size=448
    ).eval()
    states = {}
    for name, value in reference.state_dict().items():
        # timm merges patches at the start of a stage, the authors at the end of the one before.
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        states[name.replace("head.fc.", "head.")] = value
    torch.save({"model": states}, tmp_path / "swin.pth")
    with open(tmp_path / "swin.pkl", "wb") as file:  # as the published pickles: tensors
        pickle.dump({"model": states, "__author__": "third_party", "matching_heuristics": True}, file)

    # 448: feature maps of every stage are multiples of the window and larger. A map of one window is shifted by
    # Detectron2 and not by timm.
    image = torch.rand(1, 3, 448, 448)
    expected = reference.forward_intermediates(image, intermediates_only=True, output_fmt="NCHW")
    for path in ("swin.pkl", "swin.pth?matching_heuristics=True"):
        model = Detector(build_backbone(cfg)).eval()
        Checkpointer(model).load(str(tmp_path / path))
        net = model.backbone.bottom_up
        stages = {
            f"swin{i}": nn.functional.layer_norm(e.permute(0, 2, 3, 1), e.shape[1:2]) for i, e in enumerate(expected)
        }
        for name, feature in net(image).items():  # its own output norms are at their start: weight 1, bias 0
            torch.testing.assert_close(feature.permute(0, 2, 3, 1), stages[name], atol=1e-4, rtol=1e-4)


def test_swin_mistakes(cfg):
    cfg.MODEL.SWIN.SIZE = "XL"
    with pytest.raises(ValueError, match=r"MODEL\.SWIN\.SIZE: got 'XL', expected one of \['T', 'S', 'B'"):
        build_backbone(cfg)
    cfg.MODEL.SWIN.SIZE = "tiny"
    cfg.MODEL.SWIN.OUT_FEATURES = (1, 4)
    with pytest.raises(ValueError, match=r"MODEL\.SWIN\.OUT_FEATURES: got \[1, 4\]"):
        build_backbone(cfg)


def test_swin_subset_of_features(cfg):
    cfg.MODEL.SWIN.OUT_FEATURES = (1, 2)
    cfg.MODEL.FPN.IN_FEATURES = []
    assert list(build_backbone(cfg)(torch.rand(1, 3, 64, 64))) == ["p3", "p4", "p5"]


# --- ViT -------------------------------------------------------------------------------------------------------------


def test_vit_pyramid_forward_and_backward(cfg):
    cfg.MODEL.BACKBONE.NAME = "build_vit_fpn_backbone"
    cfg.MODEL.VIT.DROP_PATH_RATE = 0.0
    backbone = build_backbone(cfg).train()
    assert backbone.size_divisibility == 32
    assert [block.window_size for block in backbone.net.blocks] == [0, 0, 0, 0]  # 4 blocks, all of them global
    check_pyramid(backbone)


@pytest.mark.parametrize(("size", "blocks"), [("B", [2, 5, 8, 11]), ("L", [5, 11, 17, 23]), ("H", [7, 15, 23, 31])])
def test_vit_attends_globally_in_the_published_blocks(cfg, size, blocks, no_memory):
    cfg.MODEL.BACKBONE.NAME = "build_vit_fpn_backbone"
    cfg.MODEL.VIT.SIZE = size
    net = build_backbone(cfg).net
    assert [i for i, block in enumerate(net.blocks) if block.window_size == 0] == blocks


def test_vit_mistakes(cfg):
    cfg.MODEL.BACKBONE.NAME = "build_vit_fpn_backbone"
    cfg.MODEL.VIT.IMG_SIZE = 1000
    with pytest.raises(ValueError, match=r"MODEL\.VIT\.IMG_SIZE: got 1000, expected a positive multiple of 16"):
        build_backbone(cfg)
    cfg.MODEL.VIT.SIZE = "XL"
    with pytest.raises(ValueError, match=r"MODEL\.VIT\.SIZE: got 'XL', expected one of \['B', 'L', 'H'"):
        build_backbone(cfg)


# --- ResNet ----------------------------------------------------------------------------------------------------------


def test_resnet_takes_a_detectron2_pickle_of_arrays(cfg, tmp_path):
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    source, model = Detector(build_backbone(cfg)), Detector(build_backbone(cfg))
    prefix = "backbone.bottom_up."
    arrays = {
        name[len(prefix) :]: np.random.default_rng(0).normal(size=value.shape).astype(np.float32)
        for name, value in source.state_dict().items()
        if name.startswith(prefix)
    }
    assert {"stem.conv1.weight", "stem.conv1.norm.running_mean", "res2.0.conv1.weight"} <= set(arrays)
    with open(tmp_path / "R-18.pkl", "wb") as file:
        pickle.dump({"model": arrays, "__author__": "torchvision", "matching_heuristics": True}, file)
    Checkpointer(model).load(str(tmp_path / "R-18.pkl"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(model.state_dict()[prefix + name].numpy(), array)
    names = set(model.state_dict())
    assert {f"backbone.fpn_{kind}{level}.weight" for kind in ("lateral", "output") for level in (2, 3, 4, 5)} <= names
