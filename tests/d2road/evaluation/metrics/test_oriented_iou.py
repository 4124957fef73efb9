"""Overlap of oriented boxes against half-space intersection, known cases and upright boxes."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from d2road.evaluation.metrics.oriented_iou import aligned_oriented_iou, pairwise_oriented_iou
from d2road.structures import pairwise_iou_3d
from d2road.structures.upright_boxes import box_corners
from tests.oracles.overlaps import half_space_iou


def _corners(location, hwl, rotation=None) -> np.ndarray:
    return box_corners([location], [hwl], 0.0, rotation)[0]


def _random(rng: np.random.Generator) -> np.ndarray:
    return _corners(rng.uniform(-1.5, 1.5, 3), rng.uniform(0.5, 4, 3), Rotation.random(random_state=rng).as_matrix())


def test_random_boxes_against_scipy():
    rng = np.random.default_rng(0)
    a, b = (np.stack([_random(rng) for _ in range(60)]) for _ in range(2))
    expected = np.array([half_space_iou(x, y) for x, y in zip(a, b)])
    assert (expected > 0.01).sum() > 20
    np.testing.assert_allclose(aligned_oriented_iou(a, b), expected, atol=1e-7)
    np.testing.assert_allclose(aligned_oriented_iou(b, a), expected, atol=1e-7)


def test_upright_boxes_against_the_upright_overlap():
    rng = np.random.default_rng(1)
    rows = np.concatenate(
        [rng.uniform(-3, 3, (40, 3)), rng.uniform(0.5, 5, (40, 3)), rng.uniform(-7, 7, (40, 1))], axis=1
    )
    corners = box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6])
    expected = pairwise_iou_3d(torch.from_numpy(rows), torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(pairwise_oriented_iou(corners, corners), expected, atol=1e-7)


@pytest.mark.parametrize("far", [0.0, 60.0])
def test_known_cases_in_any_orientation(far):
    unit, turn = (1.0, 1.0, 1.0), Rotation.from_euler("xyz", [0.3, -1, 2]).as_matrix()
    offset = np.array([far, -far / 10, far])
    cases = [
        (((0, 0, 0), unit), ((0, 0, 0), unit), 1.0),  # the same
        (((0, 0, 0), unit), ((0.5, 0, 0), unit), 1 / 3),  # two faces in common
        (((0, 0, 0), unit), ((1, 0, 0), unit), 0.0),  # touching faces
        (((0, 0, 0), unit), ((1, 1, 1), unit), 0.0),  # touching corners
        (((0, 0, 0), (2, 2, 2)), ((0, -0.5, 0), unit), 1 / 8),  # inside
        (((0, 0, 0), (2, 2, 2)), ((0, 0, 0), unit), 1 / 8),  # inside, on the same ground
        (((0, 0, 0), (1, 1, 3)), ((0, 0, 0), (1, 3, 1)), 1 / 5),  # crossed
        (((0, 0, 0), unit), ((9, 0, 0), unit), 0.0),
        (((0, 0, 0), unit), ((0, 0, 0), (1, 0, 1)), 0.0),  # flat
    ]
    for (p, dims_p), (q, dims_q), expected in cases:
        first, second = (_corners(turn @ np.array(c, float) + offset, d, turn) for c, d in ((p, dims_p), (q, dims_q)))
        assert aligned_oriented_iou(first[None], second[None])[0] == pytest.approx(expected, abs=1e-6), (p, q)


def test_an_octagon():
    """Two unit cubes, one turned by 45 degrees: the common footprint is a regular octagon of area 2 (sqrt 2 - 1)."""
    turned = Rotation.from_euler("y", np.pi / 4).as_matrix()
    inter = 2 * (np.sqrt(2) - 1)
    found = pairwise_oriented_iou(_corners((0, 0, 0), (1, 1, 1))[None], _corners((0, 0, 0), (1, 1, 1), turned)[None])
    assert found[0, 0] == pytest.approx(inter / (2 - inter), abs=1e-7)


def test_nearly_the_same_boxes():
    rng = np.random.default_rng(2)
    box = _random(rng)
    for scale in (1e-15, 1e-12, 1e-9, 1e-8, 1e-7, 1e-5):
        other = np.stack([box + rng.normal(0, scale, (1, 3)) for _ in range(50)])
        found = aligned_oriented_iou(np.repeat(box[None], 50, axis=0), other)
        assert (np.abs(found - 1) < 20 * scale + 1e-6).all(), scale


def test_shapes():
    assert pairwise_oriented_iou(np.zeros((0, 8, 3)), np.zeros((3, 8, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match=r"two arrays \(N, 8, 3\)"):
        aligned_oriented_iou(np.zeros((2, 8, 3)), np.zeros((3, 8, 3)))
