"""DLA-34 against timm's with the same weights, published checkpoints' names, what trains, and fusing."""

import pytest
import timm
import torch
from detectron2.modeling import build_backbone
from torch.nn.modules.batchnorm import _BatchNorm

from d2road.modeling import DLA34, fuse_for_inference
from d2road.utils.errors import CheckpointError
from tests.factories.dla_config import NARROW, dla_config

STRIDES = ("s2", "s4", "s8", "s16", "s32")


def batch_norms(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}


def shake(model, seed=0):
    """Batch norms as after training: what they leave out would show."""
    generator = torch.Generator().manual_seed(seed)
    for norm in batch_norms(model).values():
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


@pytest.fixture(scope="module")
def published():
    """timm's complete model, and its state dict with the parameters that only the authors' file has."""
    torch.manual_seed(0)
    model = shake(timm.create_model("dla34", num_classes=10)).eval()
    extra = {}
    for level, inside, outside in ((3, 64, 128), (4, 128, 256)):
        extra[f"level{level}.project.0.weight"] = torch.ones(outside, inside, 1, 1)
        extra |= {f"level{level}.project.1.{key}": torch.ones(outside) for key in ("weight", "bias", "running_mean")}
    return model, model.state_dict() | extra


# --- published weights -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_features_equal_timms_exactly(published, tmp_path):
    theirs, state = published
    torch.save(state, tmp_path / "dla34.pth")
    own = DLA34(weights=str(tmp_path / "dla34.pth"), out_features=STRIDES).eval()
    image = torch.randn(2, 3, 64, 96)
    features = own(image)
    expected = theirs.forward_intermediates(image, indices=[1, 2, 3, 4, 5], intermediates_only=True)
    assert list(features) == list(STRIDES)
    for one, other in zip(features.values(), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.bottom_up.", "backbone."])
def test_names_are_the_published_ones(published, tmp_path, prefix):
    _, state = published
    own = DLA34()
    extra = {name for name in state if ".project.1." in name or name.startswith("fc.")}
    assert set(own.state_dict()) - set(state) == set()
    assert {n for n in set(state) - set(own.state_dict()) if n not in extra} == {
        f"level{level}.project.0.weight" for level in (3, 4)
    }
    torch.save({"state_dict": {prefix + name: value for name, value in state.items()}}, tmp_path / "w.pth")
    loaded = DLA34(weights=str(tmp_path / "w.pth"), out_features=["s8"]).state_dict()
    assert loaded and all(torch.equal(value, state[name]) for name, value in loaded.items())


def test_weights_that_do_not_fit(published, tmp_path):
    _, state = published
    torch.save({name: value for name, value in state.items() if "root.conv" not in name}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"MODEL\.DLA\.WEIGHTS .*does not fit dla34\. Missing: level2\.root\.conv\.weight"
    ):
        DLA34(weights=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="other shapes: base_layer"):
        torch.save(state, tmp_path / "w.pth")
        DLA34(weights=str(tmp_path / "w.pth"), channels=NARROW)


def test_missing_download_names_the_key(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=r"MODEL\.DLA\.WEIGHTS 'timm': cannot download weights of dla34"):
        DLA34(weights="timm", channels=NARROW)


# --- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 96), (33, 71), (1, 1)])
@torch.no_grad()
def test_any_size(size):
    backbone = DLA34(channels=NARROW, out_features=["s32", "s2", "s8"]).eval()
    features = backbone(torch.rand(2, 3, *size))
    assert list(features) == ["s2", "s8", "s32"] and backbone.size_divisibility == 32
    for name, shape in backbone.output_shape().items():
        assert features[name].shape == (2, shape.channels, *(-(-side // shape.stride) for side in size))


def test_levels_that_nobody_reads_are_not_built():
    backbone = DLA34(channels=NARROW, out_features=["s8"])
    assert hasattr(backbone, "level3") and not hasattr(backbone, "level4")


def test_builders():
    assert list(build_backbone(dla_config()).output_shape()) == ["s4", "s8", "s16", "s32"]
    pyramid = build_backbone(dla_config("build_dla34_fpn_backbone", OUT_FEATURES=["s8", "s16"]))
    assert {name: s.stride for name, s in pyramid.output_shape().items()} == {"p3": 8, "p4": 16}
    assert "bottom_up.level4.tree1.tree1.conv1.weight" in pyramid.state_dict()


# --- what trains -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "statistics_move", "affine_trains"),
    [("frozen", False, False), ("eval", False, True), ("train", True, True)],
)
def test_norm_modes(norm, statistics_move, affine_trains):
    backbone = DLA34(channels=NARROW, norm=norm).eval().train()
    before = {name: m.running_mean.clone() for name, m in batch_norms(backbone).items()}
    sum(feature.sum() for feature in backbone(torch.rand(2, 3, 64, 64)).values()).backward()
    for name, module in batch_norms(backbone).items():
        assert (not torch.equal(module.running_mean, before[name])) == statistics_move, name
        assert (module.weight.grad is not None) == affine_trains, name
    assert all(m.weight.grad is not None for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))


@pytest.mark.parametrize(("freeze_at", "frozen"), [(0, []), (1, ["base_layer", "level0", "level1"])])
def test_freeze_at_counts_strides(freeze_at, frozen):
    backbone = DLA34(channels=NARROW, freeze_at=freeze_at, norm="train").train()
    still = {name.split(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert sorted(still) == frozen
    assert {name.split(".")[0] for name, m in batch_norms(backbone).items() if not m.training} == still
    trains = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert not trains & still and "level2" in trains


@torch.no_grad()
def test_fused_for_inference():
    backbone = shake(DLA34(channels=NARROW)).eval()
    image = torch.rand(1, 3, 64, 64)
    before = backbone(image)
    after = fuse_for_inference(backbone)(image)
    assert not batch_norms(backbone)
    for name, feature in after.items():
        torch.testing.assert_close(feature, before[name], atol=1e-3, rtol=1e-4)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out_features": ["p3"]}, r"OUT_FEATURES: got \['p3'\], expected some of \['s2', 's4'"),
        ({"out_features": []}, r"OUT_FEATURES: got \[\]"),
        ({"norm": "BN"}, r"MODEL\.DLA\.NORM: got 'BN'"),
        ({"freeze_at": 6}, "FREEZE_AT: got 6, expected 0 to 5"),
        ({"channels": (16, 32)}, r"CHANNELS: got \[16, 32\], expected 6 positive"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        DLA34(**{"channels": NARROW} | options)
