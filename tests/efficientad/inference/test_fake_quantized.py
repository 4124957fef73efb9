"""Networks rounded to 8 bits in float32, against the same in whole numbers by onnxruntime."""

import pytest
import torch

from efficientad.inference.fake_quantized import FakeQuantizedNetworks, RoundedConv2d, round_to_range
from efficientad.inference.fused_networks import FusedNetworks
from efficientad.inference.onnx_graph import pooled_range, quantize_kernel, scale_of
from efficientad.inference.quantization import Observer, QuantizedNetworks, limits_of
from tests.efficientad.inference.test_quantization import narrow, networks  # noqa: F401 (a fixture of the module)


@pytest.mark.parametrize(("size", "padding"), [("small", False), ("small", True), ("medium", False)])
def test_maps_are_those_of_whole_numbers(size, padding):
    pytest.importorskip("onnxruntime")
    trained = networks(size, padding)
    images = torch.randn(2, 3, 128, 128)
    observer = Observer(trained, -3.0, 3.0)
    observer.update(images)
    limits = limits_of(trained.teacher.size, trained.autoencoder, observer.ranges)
    with torch.no_grad():
        found = FakeQuantizedNetworks(trained, limits).raw_maps(images)
        whole = QuantizedNetworks(trained, observer.ranges).raw_maps(images)
        exact = FusedNetworks(trained).raw_maps(images)
    near, far = (found - whole).abs().mean((0, 2, 3)), (exact - whole).abs().mean((0, 2, 3))
    assert (near < 0.5 * far).all() and (near < 0.012 * whole.mean((0, 2, 3))).all()
    bias = (found - whole).mean((0, 2, 3)).abs()
    assert (bias < 0.5 * (exact - whole).mean((0, 2, 3)).abs()).all()  # what rounding adds to a mean of squares


def test_no_mean_of_four_levels_lies_halfway_between_two():
    """Where one does, as at the same step, engines round it either way."""
    means = torch.arange(4 * 255 + 1, dtype=torch.float64) / 4
    places = means * scale_of((0.0, 255.0))[0] / scale_of(pooled_range((0.0, 255.0)))[0]
    assert ((places % 1 - 0.5).abs() > 9e-4).all()
    assert places.max() < 255 and ((means % 1 - 0.5).abs() == 0).double().mean() > 0.24


def test_values_lie_on_levels_and_within_the_range():
    x = torch.linspace(-5, 5, 1001)
    rounded = round_to_range(x, (-1.0, 3.0))
    assert len(rounded.unique()) == 256 and 0.0 in rounded
    inside = (x > -1) & (x < 3)
    assert (rounded - x).abs()[inside].max() <= 4 / 255 / 2 + 1e-6
    assert -1.01 < rounded.min() < -0.99 and 2.99 < rounded.max() < 3.01


def test_a_rounded_convolution_is_one_of_whole_numbers():
    torch.manual_seed(0)
    conv, limits = torch.nn.Conv2d(5, 7, 4, stride=2, padding=1), (-1.5, 2.0)
    x = 2 * torch.randn(2, 5, 21, 18)
    with torch.no_grad():
        found = RoundedConv2d(conv, limits)(x)
        step, zero = scale_of(limits)
        whole, steps = quantize_kernel(conv.weight)
        levels = ((x / step).round() + zero).clamp(0, 255) - zero
        sums = torch.nn.functional.conv2d(levels.double(), whole.double(), stride=2, padding=1)
        assert torch.equal(sums, sums.round())
        expected = sums * step * steps.view(-1, 1, 1) + conv.bias.view(-1, 1, 1)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=0)
