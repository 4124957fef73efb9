"""bfloat16 and 8 bits: close to float32, calibrated for themselves, refused where they do not fit."""

import builtins
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from d2road.config import validate
from efficientad.calibration import measure_maps
from efficientad.inference.fake_quantized import RoundedConv2d
from efficientad.inference.onnx_graph import quantize_kernel, scale_of
from efficientad.inference.quantization import (
    AUTOENCODER_MARGIN,
    Observer,
    limits_of,
    prepare_networks,
    range_names,
)
from efficientad.modeling.autoencoder import build_autoencoder
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
from tests.factories.anomaly_models import SIDE, build, calibrated, entries, narrow_networks, small_cfg

PRECISION = "INFERENCE.PRECISION"


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def networks(size="small", padding=False):
    """Random ones whose features vary as much as those of trained networks."""
    torch.manual_seed(0)
    found = Networks(PDN(size, 32, padding), PDN(size, 64, padding), build_autoencoder("linear_attention", 32, dim=16))
    for pdn in (found.teacher, found.student):
        for conv in pdn.children():
            torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    found.eval().requires_grad_(False)
    images = torch.randn(2, 3, SIDE, SIDE)
    features = found.teacher(images)
    found.teacher_mean.copy_(features.mean((0, 2, 3)))
    found.teacher_std.copy_(features.std((0, 2, 3)))
    return found


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_maps_are_close_to_those_of_float32(size, padding):
    model, images = networks(size, padding), torch.randn(2, 3, SIDE, SIDE + 12)
    observer = Observer(model, -5, 5)
    observer.update(torch.randn(4, 3, SIDE, SIDE))
    with torch.no_grad():
        expected = model.raw_maps(images)
    for precision, limit in (("fp32", 0.99999), ("bf16", 0.999), ("int8", 0.99)):
        found = prepare_networks(model, precision, observer.ranges).raw_maps(images)
        assert found.shape == expected.shape and found.dtype == torch.float32
        for part in (0, 1):
            assert np.corrcoef(found[:, part].flatten(), expected[:, part].flatten())[0, 1] > limit
            assert abs(found[:, part].mean() / expected[:, part].mean() - 1) < 0.03


def test_ranges_are_those_of_the_values():
    model, images = networks(), torch.randn(2, 3, SIDE, SIDE)
    observer = Observer(model, -5, 5)
    for image in images:
        observer.update(image[None])
    ranges = dict(zip(range_names("small", model.autoencoder), observer.ranges.tolist()))
    assert len(ranges) == len(observer.ranges) == 10 + 7
    features = model.features(images)
    assert ranges["image"] == [-5, 5]
    for name, values in (
        ("teacher.conv1", model.teacher.conv1(images)),
        ("student.conv1", model.student.conv1(images)),
        ("teacher.conv4", features.teacher),
        ("student.teacher", features.student),
        ("student.autoencoder", features.student_autoencoder),
    ):
        assert ranges[name] == pytest.approx([values.min().item(), values.max().item()], rel=1e-4), name


def test_ranges_of_the_autoencoder_are_those_of_what_its_convolutions_take():
    model, images = networks(), torch.randn(2, 3, SIDE, SIDE)
    observer = Observer(model, -5, 5)
    observer.update(images)
    ranges = dict(zip(range_names("small", model.autoencoder), observer.ranges.tolist()))
    coder = model.autoencoder
    second = coder.stem[1](coder.stem[0](images))
    tokens = coder.decode(coder.summarise(encoded(coder, images)), model.teacher.map_size(images))
    enlarged = torch.nn.functional.interpolate(tokens, model.teacher.map_size(images), mode="bilinear")
    for name, values in (("stem.0", images), ("stem.2", second), ("smooth", enlarged)):
        least_and_largest = [values.min().item(), values.max().item()]
        assert ranges[f"autoencoder.{name}.input"] == pytest.approx(least_and_largest, rel=1e-4), name
    assert not any("place" in name for name in ranges)  # depthwise: hardly any work
    limits = limits_of("small", coder, observer.ranges)
    assert limits["autoencoder.stem.0.input"] == limits["image"] == (-5, 5)
    assert limits["autoencoder.smooth.input"][1] == pytest.approx(
        AUTOENCODER_MARGIN * ranges["autoencoder.smooth.input"][1]
    )


def encoded(coder, images):
    """What an attention autoencoder summarises, by its layers."""
    x = coder.stem(images)
    x = x + coder.place(x)
    tokens = x.flatten(2).transpose(1, 2)
    for block in coder.fine:
        tokens = block(tokens, x.shape[-2:])
    return tokens.transpose(1, 2).reshape(x.shape)


def test_whole_numbers_hold_zero_exactly_and_err_by_half_a_step():
    for limits in ((-2.1, 2.6), (0.0, 4.0), (0.5, 3.0), (-1.0, -0.5), (0.0, 0.0)):
        step, zero = scale_of(limits)
        assert 0 <= zero <= 255
        values = np.linspace(*limits, 50)
        held = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
        assert np.abs(held - values).max() <= step * 0.5 + 1e-9 + step * 0.5 * (limits[0] < 0)
    weight = torch.randn(6, 4, 3, 3) * torch.tensor([0, 1e-3, 1, 5, 1, 1.0]).view(-1, 1, 1, 1)
    whole, steps = quantize_kernel(weight)
    assert whole.dtype == torch.int8
    assert ((whole * steps.view(-1, 1, 1, 1) - weight).abs() <= steps.view(-1, 1, 1, 1) / 2 + 1e-9).all()


# --- through the detector ---


def detector(precision="fp32", *pairs):
    """A calibrated detector, the same weights for every precision."""
    return calibrated(PRECISION, precision, "MODEL.EFFICIENT_AD.OUT_CHANNELS", 32, *pairs)


@pytest.mark.parametrize("tiling", [False, True])
def test_scores_stay_comparable(tiling):
    tiles = ("MODEL.EFFICIENT_AD.TILING.ENABLED", tiling, "MODEL.EFFICIENT_AD.TILING.TILE", f"({SIDE}, {SIDE})")
    plain, images = detector("fp32", *tiles), entries(8, SIDE + 30, seed=5)
    for entry, strength in zip(images, range(8)):
        entry["image"][:, 40:70, 40:70] *= 0.5 + strength / 16
    expected = plain(images)
    for precision in ("bf16", "int8"):
        model = detector(precision, *tiles)
        found = model(images)
        assert model.state.calibrated_for.endswith(precision)
        scores = [[result["anomaly_score"].item() for result in results] for results in (expected, found)]
        assert spearmanr(*scores).statistic > 0.9
        assert np.allclose(*scores, rtol=0.1, atol=0.02)
        good = model(entries(4, seed=1))
        assert all(result["anomaly_score"] <= result["anomaly_threshold"] for result in good)


def test_checkpoints_carry_what_8_bits_need(tmp_path):
    model = detector("int8")
    other = build(PRECISION, "int8", "MODEL.EFFICIENT_AD.OUT_CHANNELS", 32, seed=9).eval()
    other.load_state_dict(model.state_dict())
    images = entries(2)
    for one, two in zip(model(images), other(images)):
        assert torch.equal(one["anomaly_map"], two["anomaly_map"])
    # The networks of 8 bits are no part of it, and follow the weights.
    assert set(model.state_dict()) - set(build().state_dict()) == {"state.ranges"}
    with torch.no_grad():
        other.networks.student.conv2.weight.mul_(2)
    other.load_state_dict(other.state_dict())
    assert not torch.allclose(model(images)[0]["anomaly_map"], other(images)[0]["anomaly_map"], atol=1e-3)


def test_ranges_of_earlier_checkpoints_leave_the_autoencoder_as_it_was():
    def rounded(model):
        model.fold_for_inference()
        return [name for name, part in model.inference.prepared.named_modules() if isinstance(part, RoundedConv2d)]

    state, model = detector("int8").state_dict(), build(PRECISION, "int8", "MODEL.EFFICIENT_AD.OUT_CHANNELS", 32).eval()
    assert len(state["state.ranges"]) == 17
    model.load_state_dict(state | {"state.ranges": state["state.ranges"][:10]})
    assert not rounded(model) and len(rounded(detector("int8"))) == 7
    images = entries(1)
    assert (model(images)[0]["anomaly_map"] - detector("int8")(images)[0]["anomaly_map"]).abs().max() > 0
    measure_maps(model, [[entry] for entry in entries(4, seed=1)])
    assert len(model.state.ranges) == 17 and len(rounded(model)) == 7
    for length in (9, 12):
        model.load_state_dict(state | {"state.ranges": state["state.ranges"][:length]})
        with pytest.raises(ValueError, match=r"ranges that were not measured.*d2road export"):
            model(images)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_checkpoint_calibrated_in_another_precision_is_refused(precision):
    model = build(PRECISION, precision, "MODEL.EFFICIENT_AD.OUT_CHANNELS", 32).eval()
    model.load_state_dict(detector().state_dict(), strict=False)
    with pytest.raises(ValueError, match=rf"config says .*{precision}.*d2road export"):
        model(entries(1))
    if precision == "int8":
        with pytest.raises(ValueError, match=r"ranges that were not measured.*d2road export"):
            model.detect(entries(1))
    plain = build("MODEL.EFFICIENT_AD.OUT_CHANNELS", 32).eval()
    plain.load_state_dict(detector(precision).state_dict(), strict=False)
    with pytest.raises(ValueError, match=rf"calibrated for .*{precision}"):
        plain(entries(1))


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_cure(module):
    model, images = networks(), torch.randn(1, 3, SIDE, SIDE)
    observer = Observer(model, -5, 5)
    observer.update(images)
    importing = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == module:
            raise ImportError(f"No module named '{name}'")
        return importing(name, *args, **kwargs)

    with mock.patch("builtins.__import__", absent), pytest.raises(ImportError, match=r"pip install 'd2road\[export\]'"):
        prepare_networks(model, "int8", observer.ranges)
    assert prepare_networks(model, "fp32").raw_maps(images).shape[1] == 2


def test_unknown_precision_and_what_does_not_go_together():
    with pytest.raises(ValueError, match=r"'int4', expected one of fp32, bf16, int8"):
        prepare_networks(networks(), "int4")
    for pairs, said in (
        ((PRECISION, "int4"), "choose one of auto, fp32, bf16, int8"),
        ((PRECISION, "int8", "MODEL.EFFICIENT_AD.PUAD.ENABLED", True), "PUAD needs fp32"),
        ((PRECISION, "int8", "MODEL.DEVICE", "cuda"), "set it to cpu"),
    ):
        with pytest.raises(ValueError, match=f"(?s){PRECISION}.*{said}"):
            validate(small_cfg(*pairs))
