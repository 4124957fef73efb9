"""Gaussian smoothing against scipy's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from efficientad.inference.gaussian_blur import gaussian_blur


@pytest.mark.parametrize("deviation", [0.5, 1.7, 4.0])
def test_the_blur_is_scipys_also_on_maps_smaller_than_its_kernel(deviation):
    maps = torch.rand(2, 1, 9, 40, generator=torch.Generator().manual_seed(1))
    expected = [gaussian_filter(one[0].double().numpy(), deviation, mode="nearest", truncate=4.0) for one in maps]
    found = gaussian_blur(maps, deviation)
    np.testing.assert_allclose(found[:, 0].numpy(), np.stack(expected), atol=1e-6)


def test_no_blur_leaves_maps_as_they_are():
    maps = torch.rand(1, 1, 5, 5)
    assert torch.equal(gaussian_blur(maps, 0.0), maps)
