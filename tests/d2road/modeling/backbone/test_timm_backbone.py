"""timm models under Detectron2's backbone interface."""

import copy

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch.nn.modules.batchnorm import _BatchNorm

import d2road.modeling
from d2road.config.defaults import add_common_config
from d2road.modeling.backbone.timm_backbone import TimmBackbone
from d2road.utils.errors import CheckpointError

LITE = "tf_efficientnet_lite0"


def config(backbone: str, **timm_keys):
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.MODEL.BACKBONE.NAME = backbone
    cfg.MODEL.FPN.IN_FEATURES = []
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.TIMM.NAME = timm_keys.pop("NAME", "resnet10t")
    for key, value in timm_keys.items():
        cfg.MODEL.TIMM[key] = value
    return cfg


@pytest.mark.parametrize(
    "name",
    ["resnet10t", LITE, "convnext_atto", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224", "mambaout_femto"],
)
@torch.no_grad()
def test_features_have_the_stated_channels_and_strides(name):
    backbone = TimmBackbone(name=name).eval()
    assert backbone.size_divisibility == 32
    features = backbone(torch.rand(2, 3, 96, 160))
    assert list(features) == ["s4", "s8", "s16", "s32"]
    for key, shape in backbone.output_shape().items():
        assert features[key].shape == (2, shape.channels, 96 // shape.stride, 160 // shape.stride)


@torch.no_grad()
def test_channels_last_features_are_timms_own_permuted():
    backbone = TimmBackbone(name="mambaout_femto", out_features=["s8"]).eval()
    image = torch.rand(1, 3, 64, 96)
    plain = backbone.net(image)[0]
    assert plain.shape == (1, 8, 12, 96)
    assert torch.equal(backbone(image)["s8"], plain.permute(0, 3, 1, 2))


@torch.no_grad()
def test_odd_sizes_run_without_a_pyramid():
    features = TimmBackbone(name="resnet10t", out_features=["s32", "s2"]).eval()(torch.rand(1, 3, 65, 99))
    assert list(features) == ["s2", "s32"]  # fine to coarse whatever the order asked for
    assert features["s32"].shape[-2:] == (3, 4)


@torch.no_grad()
def test_one_channel_images():
    cfg = config("build_timm_backbone")
    backbone = d2road.modeling.build_timm_backbone(cfg, ShapeSpec(channels=1))
    assert backbone(torch.rand(1, 1, 64, 64))["s32"].shape == (1, 512, 2, 2)


def test_packaged_weights_adapt_to_one_channel():
    grey = TimmBackbone(name=LITE, weights="package", in_channels=1).state_dict()["net.conv_stem.weight"]
    colour = TimmBackbone(name=LITE, weights="package").state_dict()["net.conv_stem.weight"]
    torch.testing.assert_close(grey, colour.sum(1, keepdim=True))


def test_pyramid_levels_and_state_names():
    cfg = config("build_timm_fpn_backbone")
    fpn = build_backbone(cfg)
    assert {k: v.stride for k, v in fpn.output_shape().items()} == {"p3": 8, "p4": 16, "p5": 32}
    names = set(fpn.state_dict())
    assert "bottom_up.net.conv1.0.weight" in names
    assert {f"fpn_{kind}{level}.weight" for kind in ("lateral", "output") for level in (3, 4, 5)} <= names
    outputs = fpn(torch.rand(1, 3, 64, 96))
    assert [tuple(v.shape) for v in outputs.values()] == [(1, 16, 8, 12), (1, 16, 4, 6), (1, 16, 2, 3)]


def test_pyramid_of_a_subset_and_an_extra_level():
    cfg = config("build_timm_fpn_backbone", OUT_FEATURES=["s4", "s8", "s16"], TOP_BLOCK="maxpool")
    cfg.MODEL.FPN.IN_FEATURES = ["s4", "s8"]
    assert list(build_backbone(cfg)(torch.rand(1, 3, 64, 64))) == ["p2", "p3", "p4"]


def batch_norms(backbone):
    return {name: m for name, m in backbone.named_modules() if isinstance(m, _BatchNorm)}


@pytest.mark.parametrize(
    ("norm", "statistics_move", "affine_trains"),
    [("frozen", False, False), ("eval", False, True), ("train", True, True)],
)
def test_norm_modes(norm, statistics_move, affine_trains):
    backbone = TimmBackbone(name="resnet10t", norm=norm, out_features=["s8"]).eval().train()
    before = {name: m.running_mean.clone() for name, m in batch_norms(backbone).items()}
    backbone(torch.rand(2, 3, 64, 64) + 1)["s8"].sum().backward()
    for name, module in batch_norms(backbone).items():
        assert (not torch.equal(module.running_mean, before[name])) == statistics_move, name
        assert (module.weight.grad is not None) == affine_trains, name
    assert backbone.net.layer1[0].conv1.weight.grad is not None


def test_checkpoints_are_the_same_in_every_norm_mode():
    names = [set(TimmBackbone(name="resnet10t", norm=norm).state_dict()) for norm in ("frozen", "eval", "train")]
    assert names[0] == names[1] == names[2]


@pytest.mark.parametrize(
    ("name", "freeze_at", "last"),
    [
        ("resnet10t", 1, "net.bn1.bias"),
        ("resnet10t", 2, "net.layer1.0.bn2.bias"),
        (LITE, 2, "net.blocks.1.1.bn3.bias"),
        ("convnext_atto", 1, "net.stem_1.bias"),
        ("vgg11", 1, "net.features_3.bias"),
    ],
)
def test_freeze_at_counts_strides(name, freeze_at, last):
    backbone = TimmBackbone(name=name, freeze_at=freeze_at, norm="train").train()
    trains = [(key, p.requires_grad) for key, p in backbone.named_parameters()]
    end = [key for key, _ in trains].index(last) + 1
    assert not any(flag for _, flag in trains[:end])
    assert all(flag for _, flag in trains[end:])
    for key, module in batch_norms(backbone).items():
        assert module.training == module.weight.requires_grad, key


def test_a_copy_keeps_its_norms_fixed():
    twin = copy.deepcopy(TimmBackbone(name="resnet10t", norm="eval")).train()
    assert twin.training and not any(m.training for m in batch_norms(twin).values())


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224", "convnext_atto"])
@torch.no_grad()
def test_state_dict_of_the_complete_model_loads(name, tmp_path):
    torch.manual_seed(0)
    complete = timm.create_model(name, num_classes=7).eval()
    torch.save({"state_dict": complete.state_dict()}, tmp_path / "w.pth")
    backbone = TimmBackbone(name=name, weights=str(tmp_path / "w.pth"), out_features=["s32"]).eval()
    image = torch.rand(1, 3, 224, 224)
    expected = complete.forward_intermediates(image, indices=1, intermediates_only=True, output_fmt="NCHW")[-1]
    torch.testing.assert_close(backbone(image)["s32"], expected, atol=1e-5, rtol=1e-5)


def test_backbone_of_a_trained_detector_loads(tmp_path):
    source = TimmBackbone(name="resnet10t")
    states = {f"backbone.bottom_up.{k}": v for k, v in source.state_dict().items()}
    torch.save({"model": states | {"head.weight": torch.ones(1)}}, tmp_path / "w.pth")
    loaded = TimmBackbone(name="resnet10t", weights=str(tmp_path / "w.pth"))
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"does not fit resnet10t\. Missing: conv1\.0\.weight.*MODEL\.TIMM\.NAME"):
        TimmBackbone(name="resnet10t", weights=str(tmp_path / "w.pth"))


def test_download_without_network_says_what_to_do(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("name resolution failed")
        return create(name, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=r"cannot download weights of resnet10t .*set MODEL\.TIMM\.WEIGHTS to"):
        TimmBackbone(name="resnet10t", weights="timm")


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'resnet5O'; nearest: .*'resnet50'"):
        TimmBackbone(name="resnet5O")


def test_model_without_features(monkeypatch):
    monkeypatch.setattr(timm, "list_models", lambda: ["plain"])
    monkeypatch.setattr(timm, "create_model", lambda name, **options: torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="plain offers no features"):
        TimmBackbone(name="plain")


def test_unknown_feature_lists_the_known():
    with pytest.raises(ValueError, match=r"has no \['res4'\]; it has \['s2', 's4', 's8', 's16', 's32'\]"):
        TimmBackbone(name="resnet10t", out_features=["res4"])


def test_pyramid_over_a_feature_that_is_not_returned():
    cfg = config("build_timm_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES = ["s4"]
    with pytest.raises(ValueError, match=r"does not return \['s4'\]; it returns \['s8', 's16', 's32'\]"):
        build_backbone(cfg)


def test_unknown_norm_and_top_block():
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.NORM: got 'BN'"):
        TimmBackbone(name="resnet10t", norm="BN")
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.TOP_BLOCK: got 'p6'"):
        build_backbone(config("build_timm_fpn_backbone", TOP_BLOCK="p6"))


def test_freezing_a_plain_transformer_by_stride_is_refused():
    with pytest.raises(ValueError, match="FREEZE_AT: cannot tell"):
        TimmBackbone(name="vit_tiny_patch16_224", freeze_at=1)
