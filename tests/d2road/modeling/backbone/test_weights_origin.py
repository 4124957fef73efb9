"""Weights of an architecture of equal shapes that computes other features are refused, or told where none can know."""

import argparse
import json
import logging

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from safetensors.torch import save_file
from timm.utils import CheckpointSaver

from d2road.checkpoint.resnet_origin import warn_of_other_kind
from d2road.modeling.backbone.packaged_weights import load_packaged_weights
from d2road.modeling.backbone.timm_backbone import TimmBackbone
from d2road.modeling.backbone.weights_origin import architecture_difference, check_pixels
from d2road.utils.errors import CheckpointError

TF, PLAIN = "tf_efficientnet_lite0", "efficientnet_lite0"


@pytest.fixture(scope="module")
def tensorflow():
    torch.manual_seed(0)
    return timm.create_model(TF)


def known_values(folder, net):
    torch.save(load_packaged_weights(TF), folder / "w.pth")
    return folder / "w.pth"


def entry(folder, net):
    torch.save({"arch": TF, "state_dict": net.state_dict()}, folder / "w.pth")
    return folder / "w.pth"


def training(folder, net):
    args = argparse.Namespace(model=TF, lr=0.1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    saver = CheckpointSaver(net, optimizer, args=args, checkpoint_dir=str(folder), recovery_dir=str(folder))
    saver.save_checkpoint(0, metric=0.5)
    return folder / "checkpoint-0.pth.tar"


def hub(folder, net):
    timm.models.save_for_hf(net, folder, safe_serialization=True)
    return folder / "model.safetensors"


@pytest.mark.parametrize("write", [known_values, entry, training, hub])
def test_weights_of_a_twin_of_equal_shapes_are_refused_where_the_file_tells(tmp_path, tensorflow, write, caplog):
    path = write(tmp_path, tensorflow)
    with pytest.raises(CheckpointError, match=rf"weights of {TF} .*padding=\(1, 1\).*Set the model's name to {TF}"):
        TimmBackbone(name=PLAIN, weights=str(path))
    caplog.set_level(logging.WARNING)
    TimmBackbone(name=TF, weights=str(path))
    assert not caplog.text


@pytest.mark.parametrize(
    ("file", "said"), [("mine.pth", "it does not say which"), (f"{TF}-0aa007d2.pth", f"says {TF}")]
)
def test_where_the_file_does_not_tell_it_is_a_guess_that_is_told(tmp_path, tensorflow, file, said, caplog):
    torch.save(tensorflow.state_dict(), tmp_path / file)
    TimmBackbone(name=PLAIN, weights=str(tmp_path / file))
    assert said in caplog.text and "equal shapes but compute other features" in caplog.text


def test_families_without_a_twin_are_loaded_without_a_word(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="d2road")
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t"}))
    TimmBackbone(name="resnet10t", weights=str(tmp_path / "w.safetensors"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("tf_mobilenetv3_small_100", "mobilenetv3_small_100", True),
        ("tf_efficientnet_b0", "efficientnet_b0", True),
        ("vit_base_patch32_clip_quickgelu_224", "vit_base_patch32_clip_224", True),
        ("deit_tiny_patch16_224", "vit_tiny_patch16_224", False),  # the same network, trained otherwise
        ("resnet18", "resnet18d", False),  # other weights, which names and shapes tell apart
    ],
)
def test_twins_are_told_by_what_their_layers_compute(one, other, differ):
    assert bool(architecture_difference(one, other)) == differ


IMAGENET = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize(
    ("name", "mean", "std", "order", "fits"),
    [
        ("resnet18", *IMAGENET, "RGB", True),
        ("resnet18", *(values[::-1] for values in IMAGENET), "BGR", True),
        ("resnet18", IMAGENET[0][::-1], IMAGENET[1][::-1], "RGB", False),
        ("resnet18", IMAGENET[0], [1.0, 1.0, 1.0], "RGB", False),
        (TF, [127.0] * 3, [128.0] * 3, "RGB", True),
        (TF, *IMAGENET, "RGB", False),
        ("vit_tiny_patch16_224", [127.5] * 3, [127.5] * 3, "RGB", True),
    ],
)
def test_pixels_in_another_order_or_scale_than_the_weights_want_are_told(name, mean, std, order, fits, caplog):
    check_pixels(name, "timm", list(mean), list(std), order, "MODEL.TIMM.WEIGHTS")
    assert ("was trained on RGB pixels with mean" in caplog.text) == (not fits)
    caplog.clear()
    check_pixels(name, "", list(mean), list(std), order, "MODEL.TIMM.WEIGHTS")  # from random ones, any will do
    assert not caplog.text


@pytest.mark.parametrize(
    ("author", "keys", "said"),
    [
        ("torchvision", {}, ("STRIDE_IN_1X1 is True, expected False", "not in the order RGB", "PIXEL_STD is [1.0")),
        ("Caffe2", {}, ()),  # Detectron2's defaults are made for these
        ("torchvision", {"stride": False, "mean": IMAGENET[0], "std": IMAGENET[1]}, ()),
        ("Caffe2", {"stride": False, "mean": IMAGENET[0], "std": IMAGENET[1]},
         ("STRIDE_IN_1X1 is False, expected True", "not in the order BGR", "expected 1")),
        ("Detectron2 Model Zoo", {"stride": False}, ()),
    ],
)  # fmt: skip
def test_resnets_of_torchvision_and_of_msra_are_told_apart(author, keys, said, caplog):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "RetinaNet", "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = keys.get("stride", True)
    cfg.MODEL.PIXEL_MEAN = keys.get("mean", cfg.MODEL.PIXEL_MEAN)
    cfg.MODEL.PIXEL_STD = keys.get("std", cfg.MODEL.PIXEL_STD)
    model = build_model(cfg)
    warn_of_other_kind(model, author, "R-50.pkl")
    assert all(text in caplog.text for text in said) and bool(caplog.text) == bool(said)
