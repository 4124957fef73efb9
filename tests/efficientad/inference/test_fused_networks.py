"""Folded networks give the maps of those they come from."""

import pytest
import torch

from efficientad.inference.fused_networks import FusedNetworks
from efficientad.modeling.autoencoder import build_autoencoder
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
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
