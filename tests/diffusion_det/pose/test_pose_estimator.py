"""A head that says the truth, and a wrong plane: what the estimator makes of them."""

import numpy as np
import pytest
import torch
from torch import nn

from d2road.structures import Boxes3D, Camera
from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry, ground_parameters
from diffusion_det.denoising import Detections
from diffusion_det.pose.pose_estimator import PoseDecoding, PoseEstimator
from diffusion_det.pose.pose_losses import PoseCriterion
from tests.factories.pose_scenes import perfect_rows
from tests.factories.roadside_objects import PRIORS, make_world


class Truthful(nn.Module):
    """Gives fixed outputs for the boxes it is asked about."""

    num_stages = 1

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, feature, boxes_xyxy, cameras, stage):
        return self.rows


def tilted(camera, pitch, roll, height=0.0) -> Camera:
    """The camera with its plane off by tangents and a relative height."""
    s0, s1, log_height = ground_parameters(camera) + np.array([pitch, roll, height])
    normal = np.array([s1, -1.0, s0])
    return Camera(camera.P, [*normal, -(normal @ (camera.center + np.exp(log_height) * np.array([0, 1.0, 0])))])


def answer(world, given, **options):
    """boxes, scores, deviations and the scene's ground, with `given` as the camera."""
    criterion = PoseCriterion({}, PRIORS, len(PRIORS))
    rows = perfect_rows(world, log_std=-3.0)
    estimator = PoseEstimator(
        head=Truthful(rows), ground_head=None, criterion=criterion, decoding=PoseDecoding(**options)
    )
    scene = estimator.scene([given], torch.zeros(1, 4, 8, 8), [(1080, 1920)])
    count = len(rows)
    found = Detections(world.boxes_xyxy, torch.ones(count), world.classes, (torch.zeros(count, 4),))
    return *estimator.boxes3d(found, scene), scene


@pytest.mark.parametrize("options", [{}, {"shared_ground_error": False}, {"depth": "plane"}, {"depth": "height"}])
def test_truth_in_truth_out(options):
    world = make_world(0, 12, one_camera=True)
    camera = world.camera_list[0]
    boxes, scores, std, _ = answer(world, camera, ground_std=(1e-4, 1e-4, 1e-4), **options)
    truth = Boxes3D.from_kitti(world.rows, camera.ground_rotation())
    torch.testing.assert_close(boxes.location, truth.location, rtol=1e-3, atol=5e-3)
    torch.testing.assert_close(boxes.rotation, truth.rotation, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores, torch.full_like(scores, 1 / (1 + np.exp(-2.0))))
    assert (std > 0).all()


@pytest.mark.parametrize("error", [(0.017, 0.0, 0.0), (0.0, -0.02, 0.0), (-0.015, 0.01, 0.03)])
def test_objects_put_a_wrong_plane_right(error):
    """Depths and the axes that boxes stand on both move towards the truth."""
    world = make_world(1, 12, one_camera=True)
    camera = world.camera_list[0]
    given = tilted(camera, *error)
    truth = Boxes3D.from_kitti(world.rows, camera.ground_rotation())
    trusting, *_ = answer(world, given, ground_std=(0.0, 0.0, 0.0))
    together, *_ = answer(world, given, ground_std=(0.02, 0.02, 0.03))
    off = [(boxes.location - truth.location).norm(dim=1).mean().item() for boxes in (together, trusting)]
    assert off[0] < 0.2 * off[1], off
    down = torch.tensor(camera.ground_rotation()[:, 1]).float()
    lean = [(boxes.rotation[:, :, 1] - down).norm(dim=1).mean().item() for boxes in (together, trusting)]
    assert lean[0] < 0.4 * lean[1], lean


def test_headings_follow_the_corrected_axes():
    world = make_world(2, 12, one_camera=True)
    camera = world.camera_list[0]
    given = tilted(camera, 0.017, 0.01)
    boxes, _, _, _ = answer(world, given, ground_std=(0.02, 0.02, 0.03))
    off = boxes.yaw(camera.ground_rotation()) - world.rows[:, 6]
    assert (torch.remainder(off + torch.pi, 2 * torch.pi) - torch.pi).abs().max() < 0.01


def test_given_planes_carry_their_deviation():
    world = make_world(3, 2, one_camera=True)
    *_, scene = answer(world, world.camera_list[0], ground_std=(0.01, 0.02, 0.03))
    torch.testing.assert_close(scene.ground.var, torch.tensor([[1e-4, 4e-4, 9e-4]]))
    *_, scene = answer(world, world.camera_list[0], use_given_ground=False)
    assert not scene.ground.known.any()


def test_guess_and_given_are_weighed():
    """Where both a guess and a given plane are there, it is their product; else the guess alone."""

    class Guess(nn.Module):
        def forward(self, feature, sizes, cameras):
            mean = torch.tensor([[-0.2, 0.01, 1.9]]).expand(len(sizes), 3)
            return Grounds(mean, torch.full_like(mean, 1e-4), torch.ones(len(sizes), dtype=torch.bool))

    world = make_world(4, 1)
    camera = world.camera_list[0]
    pose = PoseEstimator(
        head=Truthful(None),
        ground_head=Guess(),
        criterion=PoseCriterion({}, PRIORS, 3),
        decoding=PoseDecoding(ground_std=(0.01, 0.01, 0.01)),
    )
    scene = pose.scene([camera, Camera(camera.P)], torch.zeros(2, 4, 8, 8), [(1080, 1920)] * 2)
    guess = torch.tensor([-0.2, 0.01, 1.9])
    exact = torch.tensor(ground_parameters(camera)).float()
    torch.testing.assert_close(scene.ground.mean, torch.stack([(guess + exact) / 2, guess]))
    torch.testing.assert_close(scene.ground.var, torch.tensor([[0.5e-4] * 3, [1e-4] * 3]))
    assert scene.ground.known.all()
    assert isinstance(scene, SceneGeometry) and isinstance(scene.cameras, Cameras)
