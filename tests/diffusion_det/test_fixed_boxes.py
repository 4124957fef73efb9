"""Sets of boxes that are the same for every image."""

import numpy as np
import pytest
import torch
from scipy.stats import norm, qmc

from diffusion_det.fixed_boxes import grid_boxes, sobol_normal


@pytest.mark.parametrize("count", [1, 2, 4, 5, 20, 21, 84, 85, 100, 300, 341, 1000, 3001])
def test_every_octave_covers_the_image_and_holds_its_share(count):
    boxes = grid_boxes(count)
    assert boxes.shape == (count, 4) and boxes[0, 2:].tolist() == [1, 1] and boxes.unique(dim=0)[:, 2].min() > 0
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    points = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inside = ((points[:, None] >= low) & (points[:, None] <= high)).all(-1)  # (500, N)
    sides, numbers = boxes[:, 2].unique(return_counts=True)
    assert torch.equal(boxes[:, 2], boxes[:, 3]) and sides.flip(0).tolist() == [2.0**-k for k in range(len(sides))]
    for side, number in zip(sides, numbers):
        assert inside[:, boxes[:, 2] == side].any(1).all()
        assert number >= side**-2 and abs(number - count / (sides**-2).sum() / side**2) < 1
    assert count < (4 ** (len(sides) + 1) - 1) // 3, "another octave would not cover the image"


def test_a_full_pyramid_is_a_square_grid_of_each_octave():
    boxes = grid_boxes(21)[5:]
    ends = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
    assert torch.equal(boxes[:, :2].view(4, 4, 2), torch.stack(torch.meshgrid(ends, ends, indexing="xy"), -1))


@pytest.mark.parametrize("count", [1, 2, 3, 64, 100, 1000])
@pytest.mark.filterwarnings("ignore:The balance properties")
def test_sobol_points_are_those_of_scipy_in_the_middle_of_their_cells(count):
    expected = norm.ppf(qmc.Sobol(4, scramble=False).random(count) + 0.5 / 2 ** int(np.ceil(np.log2(count))))
    found = sobol_normal(count)
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_sobol_points_have_the_distribution_of_noise_and_less_discrepancy():
    points = sobol_normal(256).numpy()
    assert np.abs(points.mean(0)).max() < 1e-12 and np.abs(points.std(0) - 1).max() < 0.02
    drawn = np.random.default_rng(0).standard_normal((20, 256, 4))
    assert qmc.discrepancy(norm.cdf(points)) < 0.2 * min(qmc.discrepancy(norm.cdf(one)) for one in drawn)
