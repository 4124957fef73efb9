"""Checkpoints that anomalib itself has written become models with its maps, scores and decisions."""

import logging

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.plain_pickle import stand_in
from d2road.cli.convert import main
from d2road.config import make_cfg
from efficientad.checkpoint.anomalib_settings import read_settings
from tests.factories.anomalib_models import VARIANTS, anomalib_model


def imported(checkpoint, out, *keys):
    """The model that `d2road convert` makes, and its config."""
    assert main(["--source", "anomalib", str(checkpoint), str(out), "MODEL.DEVICE", "cpu", *keys]) == 0
    cfg = make_cfg(str(out.with_suffix(".yaml")))
    model = build_model(cfg).eval()
    Checkpointer(model).load(str(out), require="all")
    return model, cfg


@pytest.mark.parametrize("name", VARIANTS)
def test_maps_scores_and_decisions_are_those_of_anomalib(tmp_path, name, caplog):
    caplog.set_level(logging.WARNING)
    checkpoint, results = anomalib_model(name)
    theirs = torch.load(results)
    model, cfg = imported(checkpoint, tmp_path / "out.pth")
    assert not [record for record in caplog.records if record.name.startswith("efficientad")]  # nothing to guess
    assert tuple(cfg.INPUT.IMAGE_SIZE) == VARIANTS[name][2]
    for image, expected, score, label in zip(*(theirs[key] for key in ("images", "maps", "scores", "labels"))):
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        assert model.resize_image(pixels).shape == pixels.shape
        height, width = image.shape[1:]
        ours = model([{"image": image.float(), "height": height, "width": width}])[0]
        scale = float(expected.abs().max().clamp(min=1))
        assert (ours["anomaly_map"] - expected).abs().max() / scale < 1e-5
        assert float(ours["anomaly_score"]) == pytest.approx(float(score), rel=5e-5)
        # The threshold is the score of one of these images, which rounding may put on either side.
        if abs(float(score - ours["anomaly_threshold"])) > 1e-5 * scale:
            assert bool(ours["anomaly_score"] > ours["anomaly_threshold"]) == bool(label)


def test_a_config_that_contradicts_the_flags_is_refused(tmp_path, capsys):
    checkpoint, _ = anomalib_model("padded")
    call = ["--source", "anomalib", str(checkpoint), str(tmp_path / "o.pth"), "MODEL.DEVICE", "cpu"]
    assert main([*call, "MODEL.EFFICIENT_AD.PADDING", "False"]) == 2
    assert "its layers are padded, the config says PADDING False" in capsys.readouterr().err


# --- settings of other versions: an environment holds one anomalib alone; in these forms 2.1 and 1.x pickled them -----


def built(name, **state):
    """A stand-in as the unpickler makes of an object with these attributes."""
    made = stand_in(*name.rsplit(".", 1))()
    made.__setstate__(state)
    return made


def resize(size, **more):
    return built("torchvision.transforms.v2._geometry.Resize", size=size, antialias=True, **more)


def test_pre_processors_that_were_pickled_as_objects_tell_the_size():
    compose = built("torchvision.transforms.v2._container.Compose", transforms=[resize([300, 330])])
    processor = built("anomalib.pre_processing.pre_processor.PreProcessor", _modules={"transform": compose})
    flags = {"padding": False, "pad_maps": True}
    settings = read_settings({"hyper_parameters": {**flags, "pre_processor": processor}}, {}, "x.ckpt")
    assert settings.image_size == (300, 330)
    assert read_settings({"hyper_parameters": flags, "transform": compose}, {}, "x.ckpt").image_size == (300, 330)


def specification(*steps):
    return {"anomalib_pre_processor_config": {"transform": {
        "class_path": "torchvision.transforms.v2.Compose",
        "init_args": {"transforms": [{"class_path": f"x.{name}", "init_args": args} for name, args in steps]},
    }}}  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "size", "said"),
    [
        ([("Resize", {"size": [256, 300]}), ("ToDtype", {})], (256, 300), ""),
        ([], (0, 0), ""),
        ([("Resize", {"size": [256]})], (0, 0), "Resize([256])"),
        (
            [("Resize", {"size": [288, 288]}), ("CenterCrop", {"size": [256, 256]})],
            (288, 288),
            "CenterCrop([256, 256])",
        ),
        ([("Normalize", {"mean": [0.5]})], (0, 0), "Normalize"),
        ([("Resize", {"size": [256, 256], "interpolation": "bicubic"})], (256, 256), "bicubic"),
        ([("Resize", {"size": [256, 256], "antialias": False})], (256, 256), "without antialiasing"),
    ],
)
def test_transforms_without_a_counterpart_are_told(steps, size, said, caplog):
    loaded = {"hyper_parameters": {"padding": False, "pad_maps": True}, **specification(*steps)}
    assert read_settings(loaded, {"post_processor._image_threshold": torch.tensor(1.0)}, "x.ckpt").image_size == size
    assert (said in caplog.text) if said else not caplog.text


def threshold(config, **numbers):
    state = {f"post_processor.{name}": torch.tensor(value) for name, value in numbers.items()}
    return read_settings({"anomalib_post_processor_config": config}, state, "x.ckpt").threshold


def test_the_threshold_is_where_the_normalised_score_passes_one_minus_the_sensitivity(caplog):
    spread = {"image_min": 0.0, "image_max": 4.0}
    assert threshold({}, _image_threshold=3.0, **spread) == 3.0
    assert threshold({"image_sensitivity": 0.75}, _image_threshold=3.0, **spread) == 2.0
    assert threshold({}, _image_threshold=float("nan"), _pixel_threshold=2.5, **spread) == 2.5
    matched = {"enable_threshold_matching": False}
    assert threshold(matched, _image_threshold=float("nan"), _pixel_threshold=2.5, **spread) == 2.0  # the middle
    assert threshold({"enable_thresholding": False}, _image_threshold=3.0) is None
    assert threshold({}, _image_threshold=float("nan")) is None
    assert "compares them with" not in caplog.text
    assert threshold({"enable_normalization": False}, _image_threshold=3.0, **spread) == 3.0
    assert "compares them with 0.5" in caplog.text


def test_what_a_bare_state_dict_does_not_say_is_told(caplog):
    settings = read_settings({}, {}, "x.pth")
    assert (settings.padding, settings.pad_maps, settings.image_size, settings.threshold) == (False, True, None, None)
    for said in ("does not say padding", "does not say pad_maps", "how images are transformed", "no image threshold"):
        assert said in caplog.text
