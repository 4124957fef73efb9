"""Depth cues against numpy's camera, and placing what was viewed."""

import numpy as np
import pytest
import torch

from d2road.structures.depth_cues import (
    MAX_LOG_RATIO,
    decode_dimensions,
    encode_dimensions,
    log_depth_from_height,
    log_depth_on_ground,
    place_boxes,
    variance_from_ground,
    view_boxes,
)
from tests.factories.roadside_objects import PRIORS, make_world, true_depth


@pytest.mark.parametrize("ground", [True, False])
def test_placing_undoes_viewing(ground):
    world = make_world(3, ground=ground)
    frame = world.grounds.frame()
    views = view_boxes(world.rows, world.cameras, frame)
    assert views.in_front.all()
    location, ry = place_boxes(views.xy, views.log_depth, views.alpha, world.cameras, frame)
    torch.testing.assert_close(location, world.rows[:, :3], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ry, world.rows[:, 6], rtol=0, atol=1e-4)
    for n, camera in enumerate(world.camera_list):
        pixel, _ = camera.project(world.boxes3d[n, :3])
        np.testing.assert_allclose(views.bottom[n], pixel, atol=0.05)


def test_both_cues_give_the_depth_of_boxes_on_the_ground():
    world = make_world(4)
    views = view_boxes(world.rows, world.cameras, world.grounds.frame())
    use = world.grounds.below_horizon(views.xy).numpy()
    assert use.mean() > 0.9
    np.testing.assert_allclose(
        log_depth_on_ground(views.xy, world.grounds).exp()[use], true_depth(world)[use], rtol=1e-3
    )
    height_px = world.cameras.fy * 1.5 / torch.tensor(true_depth(world), dtype=torch.float32)
    found = log_depth_from_height(torch.full_like(height_px, 1.5), height_px, world.cameras)
    np.testing.assert_allclose(found.exp(), true_depth(world), rtol=1e-5)


def test_variance_from_the_ground_is_what_samples_of_it_show():
    world = make_world(5, count=4)
    views = view_boxes(world.rows, world.cameras, world.grounds.frame())
    grounds, std = world.grounds, torch.tensor([1e-4, 1e-4, 1e-3])
    found = variance_from_ground(grounds.depth_jacobian(views.xy), (std**2).expand(4, 3))
    exact, torch_rng = grounds.mean.clone(), torch.Generator().manual_seed(0)
    samples = []
    for _ in range(4000):
        grounds.mean = exact + std * torch.randn(4, 3, generator=torch_rng)
        samples.append(log_depth_on_ground(views.xy, grounds))
    use = grounds.below_horizon(views.xy)
    torch.testing.assert_close(found[use], torch.stack(samples).var(0)[use], rtol=0.15, atol=0)


def test_sizes_are_log_ratios_within_a_clamp():
    dims = PRIORS * torch.tensor([0.8, 1.0, 1.3])
    torch.testing.assert_close(decode_dimensions(encode_dimensions(dims, PRIORS), PRIORS), dims)
    assert torch.equal(
        decode_dimensions(torch.full((3, 3), 9.0), PRIORS), decode_dimensions(torch.full((3, 3), MAX_LOG_RATIO), PRIORS)
    )
