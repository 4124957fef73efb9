"""The detector's 3D boxes and the ground: they stand on it, depth follows from it, and nobody looks at it unasked."""

import numpy as np
import pytest
import torch

from d2road.structures import Camera
from d2road.structures.camera_batch import ground_parameters
from tests.factories.pose_models import ON, POSE, run, same


@pytest.mark.parametrize("ground", [True, False])
def test_boxes_stand_on_their_ground(small_model, make_scene, ground):
    """Upright in the frame that the labels are in; without a ground (KITTI) that of the camera."""
    image = make_scene(0, ground=ground)
    options = (POSE + "GROUND_PREDICTION", False, POSE + "GROUND_DROPOUT", 0.0, POSE + "SHARED_GROUND_ERROR", False)
    (found,) = run(small_model(*ON, *options), [image])
    down = found.pred_boxes3d.rotation[:, :, 1]
    wanted = torch.tensor(image["camera"].ground_rotation()[:, 1]).float()
    torch.testing.assert_close(down, wanted.expand_as(down), atol=1e-5, rtol=0)


def test_ways_to_depth(small_model, make_scene):
    """On one model: each its own answer; with a certain ground "plane" lies on it up to what the head corrects."""
    found = {}
    for way in ("fused", "direct", "plane", "height"):
        model = small_model(*ON, POSE + "DEPTH", way, POSE + "GROUND_PREDICTION", False, POSE + "GROUND_DROPOUT", 0.0)
        with torch.no_grad():
            for output in model.pose.head.outputs:
                output.weight.zero_()
        (found[way],) = run(model, [make_scene(0)])
    distinct = {tuple(f.pred_boxes3d.location[:, 2].tolist()) for f in found.values()}
    assert len(distinct) == 4
    plane = torch.tensor(make_scene(0)["camera"].ground).float()
    height = found["plane"].pred_boxes3d.location @ plane[:3] + plane[3]
    # The foot of the 2D box, where it lies below the horizon; elsewhere depth is direct.
    low = found["plane"].pred_boxes.tensor[:, 3] > 130
    assert low.sum() > 3
    assert height[low].abs().max() < 0.02
    with pytest.raises(ValueError, match="choose fused, direct, plane, height"):
        small_model(*ON, POSE + "DEPTH", "stereo")


def test_deviation_of_a_single_way_counts_the_ground(small_model, make_scene):
    """A plane that may be off by a degree makes the plane way uncertain far away, as it does the fused one."""
    found, (image,) = [], [make_scene(0)]
    for degrees in (0.1, 1.0):
        options = (POSE + "GROUND_STD", f"({degrees}, {degrees}, 0.0)", POSE + "GROUND_PREDICTION", False)
        model = small_model(*ON, *options, POSE + "GROUND_DROPOUT", 0.0, POSE + "DEPTH", "plane")
        with torch.no_grad():
            for output in model.pose.head.outputs:
                output.weight.zero_()
        found += run(model, [image])
    sharp, vague = found
    low = sharp.pred_boxes.tensor[:, 3] > 130  # at the others the ray misses the ground, and depth is direct
    height = np.exp(ground_parameters(image["camera"])[2])
    relative = torch.tensor(image["camera"].center).float() - sharp.pred_boxes3d.location
    z, x = -relative[:, 2], relative[:, 0] / relative[:, 2]
    wanted = (z / height) ** 2 * (1 + x**2) * np.radians(1) ** 2 * 0.99
    more = (vague.pred_depth_std_m**2 - sharp.pred_depth_std_m**2) / z**2
    assert low.sum() > 3
    torch.testing.assert_close(more[low], wanted[low].float(), rtol=0.02, atol=1e-6)


def test_rgb_alone_does_not_look_at_the_given_plane(small_model, make_scene):
    model = small_model(*ON, POSE + "USE_GIVEN_GROUND", False)
    image = make_scene(0)
    other = image | {"camera": Camera(image["camera"].P, [0.1, -0.9, -0.4, 3.0])}
    none = image | {"camera": Camera(image["camera"].P)}
    answers = run(model, [image, other, none])
    for answer in answers[1:]:
        same(answer, answers[0], 1e-5)
        torch.testing.assert_close(answer.pred_boxes3d.rotation, answers[0].pred_boxes3d.rotation, atol=1e-4, rtol=0)
    given = run(small_model(*ON), [image, other])
    assert (given[0].pred_boxes3d.rotation - given[1].pred_boxes3d.rotation).abs().max() > 0.02
    # A camera without a plane is the same task, whatever the key says.
    same(run(small_model(*ON), [none])[0], answers[0], 1e-5)
