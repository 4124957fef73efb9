"""Cameras and grounds as tensors against the numpy camera, Jacobians against differences, beliefs against Gaussians."""

import numpy as np
import pytest
import torch

from d2road.structures import Camera
from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry, ground_parameters
from tests.factories.roadside_objects import make_world, roadside_camera


@pytest.fixture
def camera_list():
    rng = np.random.default_rng(0)
    return [roadside_camera(rng) for _ in range(30)]


def points_before(camera_list, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform([-20, -5, 5], [20, 8, 80], (len(camera_list), 3))


def test_project_and_lift_are_the_camera_s(camera_list):
    cameras = Cameras.from_list(camera_list, "cpu")
    assert all(c.P[0, 0] != c.P[1, 1] and (c.P[:, 3] != 0).all() for c in camera_list)
    points = points_before(camera_list)
    pixels, depth = (np.stack(part) for part in zip(*(c.project(p) for c, p in zip(camera_list, points))))
    xy, found = cameras.project(torch.tensor(points, dtype=torch.float32))
    np.testing.assert_allclose(found, depth, rtol=1e-5)
    np.testing.assert_allclose(cameras.to_pixels(xy), pixels, atol=2e-2)
    np.testing.assert_allclose(cameras.normalize(torch.tensor(pixels, dtype=torch.float32)), xy, atol=1e-5)
    np.testing.assert_allclose(cameras.lift(xy, found), points, atol=1e-4)
    unprojected = np.stack([c.unproject(p, d) for c, p, d in zip(camera_list, pixels, depth)])
    np.testing.assert_allclose(cameras.lift(xy, found), unprojected, atol=1e-4)


def test_skew_is_kept(camera_list):
    skewed = camera_list[0].P.copy()
    skewed[0, 1] = 30.0
    cameras = Cameras.from_list([Camera(skewed)], "cpu")
    pixels, _ = Camera(skewed).project(np.array([3.0, 2.0, 20.0]))
    xy, _ = cameras.project(torch.tensor([[3.0, 2.0, 20.0]]))
    np.testing.assert_allclose(cameras.to_pixels(xy)[0], pixels, atol=1e-3)
    np.testing.assert_allclose(cameras.normalize(torch.tensor(pixels[None], dtype=torch.float32)), xy, atol=1e-6)


def test_depth_on_the_ground_is_the_intersection(camera_list):
    world = make_world(3)
    cameras, grounds = world.cameras, world.grounds
    pixels = torch.stack([world.boxes_xyxy[:, 0], world.boxes_xyxy[:, 3]], dim=1)
    xy = cameras.normalize(pixels)
    wanted = np.stack([c.intersect_plane(p) for c, p in zip(world.camera_list, pixels.double().numpy())])
    use = grounds.below_horizon(xy).numpy()
    assert use.sum() > 30
    depth = grounds.mean[:, 2].exp() / grounds.drop(xy)
    np.testing.assert_allclose(cameras.lift(xy, depth)[use], wanted[use], rtol=3e-4, atol=1e-3)


def test_below_horizon(camera_list):
    cameras, grounds = Cameras.from_list(camera_list, "cpu"), Grounds.from_list(camera_list, "cpu")
    for u in (0.0, 960.0, 1900.0):
        v = np.array([c.horizon_v(u) for c in camera_list])
        # MIN_DROP is 0.02 focal lengths: 20 to 46 px.
        for offset, wanted in ((60.0, True), (15.0, False), (-60.0, False)):
            pixels = torch.tensor(np.stack([np.full_like(v, u), v + offset], axis=1), dtype=torch.float32)
            assert (grounds.below_horizon(cameras.normalize(pixels)) == wanted).all()


def test_rays_above_the_horizon_have_no_gradient():
    grounds = Grounds.from_list([roadside_camera(np.random.default_rng(0))], "cpu")
    xy = torch.tensor([[0.1, -0.9]], requires_grad=True)
    assert grounds.drop(xy).item() == pytest.approx(0.02)
    (gradient,) = torch.autograd.grad(grounds.drop(xy).log().sum(), xy)
    assert (gradient == 0).all()


def test_normal_and_frame(camera_list):
    grounds = Grounds.from_list(camera_list, "cpu")
    np.testing.assert_allclose(grounds.normal(), np.stack([c.ground[:3] for c in camera_list]), atol=1e-6)
    np.testing.assert_allclose(grounds.frame(), np.stack([c.ground_rotation() for c in camera_list]), atol=1e-6)


def test_without_ground():
    level, none = roadside_camera(np.random.default_rng(1)), roadside_camera(np.random.default_rng(2), ground=False)
    grounds = Grounds.from_list([level, none], "cpu")
    assert grounds.known.tolist() == [True, False]
    np.testing.assert_allclose(grounds.frame()[1], np.eye(3))
    assert not grounds.below_horizon(torch.tensor([[0.0, 0.5], [0.0, 0.5]]))[1]
    assert (ground_parameters(none) == 0).all()


def test_camera_below_its_ground_is_refused():
    K = np.array([[1000.0, 0, 500], [0, 1000, 300], [0, 0, 1]])
    with pytest.raises(ValueError, match=r"does not lie below the camera.*check the denorm file"):
        ground_parameters(Camera(K, [0.0, -1.0, 0.0, -6.0]))


def test_depth_jacobian_against_differences(camera_list):
    """d log z / d (s0, s1, log H) on the ground, by the intersection of the numpy camera with moved planes."""
    world = make_world(4)
    grounds = world.grounds
    pixels = torch.stack([world.boxes_xyxy[:, 2], world.boxes_xyxy[:, 3]], dim=1)
    xy = world.cameras.normalize(pixels)
    jacobian = grounds.depth_jacobian(xy)
    for i in grounds.below_horizon(xy).nonzero()[:, 0].tolist():
        camera = world.camera_list[i]
        for k in range(3):
            depths = []
            for sign in (1, -1):
                s0, s1, log_height = ground_parameters(camera) + sign * 1e-4 * np.eye(3)[k]
                normal = np.array([s1, -1.0, s0])
                # H counts from the camera centre along y: n (center + H e_y) + d = 0
                d = -(normal @ (camera.center + np.exp(log_height) * np.array([0, 1.0, 0])))
                moved = Camera(camera.P, [*normal, d])
                depths.append(np.log(moved.project(moved.intersect_plane(pixels[i].double().numpy()))[1]))
            assert jacobian[i, k].item() == pytest.approx((depths[0] - depths[1]) / 2e-4, rel=2e-3, abs=1e-4)


def belief(mean, var, known=True):
    return Grounds(torch.tensor([mean]), torch.tensor([var]), torch.tensor([known]))


def test_combine_is_the_product_of_gaussians():
    a, b = belief([-0.2, 0.01, 1.9], [1e-4, 4e-4, 0.04]), belief([-0.25, -0.02, 1.7], [9e-4, 1e-4, 0.01])
    both = a.combine(b)
    precision = 1 / a.var.double() + 1 / b.var.double()
    mean = (a.mean / a.var.double() + b.mean / b.var.double()) / precision
    torch.testing.assert_close(both.mean.double(), mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(both.var.double(), 1 / precision, atol=0, rtol=1e-5)
    other_way = b.combine(a)
    torch.testing.assert_close(other_way.mean, both.mean)
    torch.testing.assert_close(other_way.var, both.var)


def test_combine_with_certain_and_unknown_beliefs():
    sure = belief([-0.2, 0.01, 1.9], [0.0, 0.0, 0.0])
    vague = belief([-0.25, -0.02, 1.7], [9e-4, 1e-4, 0.01])
    for both in (sure.combine(vague), vague.combine(sure), sure.combine(sure)):
        torch.testing.assert_close(both.mean, sure.mean)
        assert (both.var == 0).all() and both.known.all()
    nobody = belief([9.0, 9.0, 9.0], [0.0, 0.0, 0.0], known=False)
    for both in (nobody.combine(vague), vague.combine(nobody)):
        torch.testing.assert_close(both.mean, vague.mean)
        torch.testing.assert_close(both.var, vague.var)
        assert both.known.all()
    assert not nobody.combine(nobody).known.any()


def test_combine_lets_only_known_ones_have_gradient():
    mean = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    given = belief([-0.2, 0.01, 1.9], [0.0, 0.0, 0.0])
    guess = Grounds(mean, torch.full((1, 3), 0.1), torch.tensor([True]))
    (gradient,) = torch.autograd.grad(given.combine(guess).mean.sum(), mean)
    assert (gradient == 0).all()


def test_indexing_takes_rows(camera_list):
    scene = SceneGeometry(Cameras.from_list(camera_list, "cpu"), Grounds.from_list(camera_list, "cpu"))
    index = torch.tensor([4, 4, 7])
    np.testing.assert_allclose(scene[index].cameras.K[2], camera_list[7].K, rtol=1e-6)
    np.testing.assert_allclose(scene[index].ground.mean[1], ground_parameters(camera_list[4]), atol=1e-6)
    assert scene[index].cameras.fy.tolist() == pytest.approx([camera_list[i].P[1, 1] for i in (4, 4, 7)])


def test_a_scene_of_one_table_is_the_same():
    camera_list = [roadside_camera(np.random.default_rng(seed)) for seed in range(3)]
    camera_list.append(Camera(camera_list[0].K))  # without a plane
    scene = SceneGeometry.from_list(camera_list, "cpu")
    apart = SceneGeometry(Cameras.from_list(camera_list, "cpu"), Grounds.from_list(camera_list, "cpu"))
    index = torch.tensor([3, 1, 1])
    for one, other in ((scene, apart), (scene[index], apart[index]), (scene[index][:2], apart[index][:2])):
        for name in ("K", "K_inv", "center"):
            assert torch.equal(getattr(one.cameras, name), getattr(other.cameras, name)), name
        for name in ("mean", "var", "known"):
            assert torch.equal(getattr(one.ground, name), getattr(other.ground, name)), name
        torch.testing.assert_close(one.ground.frame(), other.ground.frame())
    assert scene.on_host() is scene
