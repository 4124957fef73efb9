"""Folded networks give the maps of those they come from."""

import pytest
import torch

from efficientad.inference.fused_networks import FusedNetworks
from efficientad.modeling.autoencoder import build_autoencoder
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
from efficientad.modeling.winograd import WinogradConv2d
from tests.factories.anomaly_models import narrow_networks


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_maps_stay_as_they_are(size, padding):
    torch.manual_seed(0)
    with narrow_networks():
        autoencoder = build_autoencoder("linear_attention", 8, dim=16, heads=2)
        networks = Networks(PDN(size, 8, padding), PDN(size, 16, padding), autoencoder).eval()
        networks.teacher_mean, networks.teacher_std = torch.randn(8) * 0.1, torch.rand(8) * 0.1 + 0.02
        before = {name: value.clone() for name, value in networks.state_dict().items()}
        folded = FusedNetworks(networks)
        images = torch.randn(2, 3, 128, 140)
        with torch.no_grad():
            expected, found = networks.raw_maps(images), folded.raw_maps(images)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in networks.state_dict().items())


@pytest.mark.parametrize("has_matrix_units", [False, True])
def test_in_bfloat16_the_last_layers_have_fewer_products_unless_there_are_matrix_units(monkeypatch, has_matrix_units):
    monkeypatch.setattr("efficientad.inference.fused_networks.has_matrix_units", lambda: has_matrix_units)
    torch.manual_seed(0)
    autoencoder = build_autoencoder("linear_attention", 128, dim=16, heads=2)
    networks = Networks(PDN("small", 128), PDN("small", 256), autoencoder).eval()
    rounded = FusedNetworks(networks, torch.bfloat16)
    for pdn in (rounded.teacher, rounded.student):
        assert isinstance(pdn.conv4, WinogradConv2d) is not has_matrix_units
        assert {p.dtype for p in pdn.conv2.parameters()} == {torch.bfloat16}
        kind = torch.bfloat16 if has_matrix_units else torch.float32
        assert {p.dtype for p in pdn.conv4.parameters()} == {kind}
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected, found = networks.raw_maps(images), rounded.raw_maps(images)
    assert found.dtype == torch.float32 and torch.allclose(found, expected, rtol=0.05)
