"""From the head's numbers to boxes in metres: every branch gives back the true boxes of random roadside cameras."""

import numpy as np
import pytest
import torch

from d2road.structures import Boxes3D, Camera
from d2road.structures.camera_batch import Cameras, Grounds, ground_parameters
from d2road.structures.depth_cues import place_boxes, yaw_rotations
from diffusion_det.pose.pose_decoding import branch_index, decode
from diffusion_det.pose.pose_head import BRANCHES, GroundHead, PoseHead, RawPose, box_geometry
from tests.factories.pose_scenes import mirrored_raw, perfect_rows
from tests.factories.roadside_objects import PRIORS, make_world, mirrored, true_depth


def decoded(world, rows, grounds=None):
    raw = RawPose.unpack(rows, len(PRIORS))
    return decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, grounds or world.grounds)


def same_angle(found, wanted, atol=1e-4):
    off = (torch.as_tensor(found).double() - torch.as_tensor(wanted).double() + torch.pi) % (2 * torch.pi) - torch.pi
    assert off.abs().max() < atol, off.abs().max()


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_way_gives_back_the_true_boxes(branch, seed):
    world = make_world(seed)
    pose = decoded(world, perfect_rows(world))
    index = branch_index(branch)
    assert pose.usable[:, index].float().mean() > 0.95
    use = pose.usable[:, index]
    np.testing.assert_allclose(pose.log_depth[use, index].exp(), true_depth(world)[use.numpy()], rtol=1e-4)
    frame = world.grounds.frame()
    location, ry = place_boxes(pose.xy, pose.log_depth[:, index], pose.alpha, world.cameras, frame)
    rotation = frame @ yaw_rotations(ry)
    error = (location - world.rows[:, :3]).norm(dim=1) / world.rows[:, :3].norm(dim=1)
    assert error[use].max() < 1e-4
    torch.testing.assert_close(pose.dims, world.rows[:, 3:6], rtol=1e-4, atol=0)
    same_angle(ry, world.rows[:, 6])
    truth = Boxes3D.from_kitti(world.rows, np.stack([c.ground_rotation() for c in world.camera_list]))
    torch.testing.assert_close(rotation, truth.rotation, atol=2e-4, rtol=0)
    torch.testing.assert_close(pose.quality, torch.full((len(use),), 1 / (1 + np.exp(-2.0))))
    torch.testing.assert_close(pose.var, torch.full((len(use), 3), np.exp(-4.0)))


def test_outputs_of_other_classes_have_no_say():
    world = make_world(2)
    rows = perfect_rows(world)
    raw = RawPose.unpack(rows, len(PRIORS))
    changed = raw.dims.clone()
    changed[torch.arange(len(rows)), (world.classes + 1) % 3] += 5
    before, raw.dims = decoded(world, rows).dims, changed
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, world.grounds)
    assert torch.equal(pose.dims, before)


def test_objects_off_the_ground_are_reached_by_the_plane_way_s_correction():
    world = make_world(5)
    world.boxes3d[:, 1] -= 0.4  # 0.4 m up, with the boxes and rays that go with it
    pose = decoded(world, perfect_rows(world))
    use = pose.usable[:, 1]
    np.testing.assert_allclose(pose.log_depth[use, 1].exp(), true_depth(world)[use.numpy()], rtol=2e-4)


def test_mirrored_world_gives_the_mirrored_answer():
    """Any numbers, not only perfect ones: what is mirrored going in comes out mirrored."""
    world = make_world(6)
    torch.manual_seed(0)
    rows = perfect_rows(world)
    rows = rows + 0.2 * torch.randn_like(rows)
    raw, other = RawPose.unpack(rows, 3), mirrored(world)
    answers = []
    for w, r in ((world, raw), (other, mirrored_raw(raw))):
        pose = decode(r, w.boxes_xyxy, w.classes, PRIORS, w.cameras, w.grounds)
        frame = w.grounds.frame()
        placed = [
            place_boxes(pose.xy, pose.log_depth[:, j], pose.alpha, w.cameras, frame) for j in range(len(BRANCHES))
        ]
        answers.append((pose, [Boxes3D(location, pose.dims, frame @ yaw_rotations(ry)) for location, ry in placed]))
    (pose, boxes), (pose_m, boxes_m) = answers
    assert torch.equal(pose.usable, pose_m.usable)
    sign = torch.tensor([1.0, -1.0, 1.0])  # roll turns over
    torch.testing.assert_close(pose_m.shared, pose.shared * sign, rtol=2e-3, atol=2e-3)
    for a, b in zip(boxes, boxes_m):
        torch.testing.assert_close(b.location, a.flipped().location, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(b.rotation, a.flipped().rotation, atol=1e-3, rtol=0)
        torch.testing.assert_close(b.dimensions, a.dimensions)


def test_mirrored_labels_are_decoded_too():
    world = mirrored(make_world(7))
    pose = decoded(world, perfect_rows(world))
    location, ry = place_boxes(pose.xy, pose.log_depth[:, 1], pose.alpha, world.cameras, world.grounds.frame())
    use = pose.usable[:, 1]
    torch.testing.assert_close(location[use], world.rows[use, :3], rtol=2e-4, atol=2e-3)
    same_angle(ry, world.rows[:, 6])


def test_above_the_horizon_only_direct_is_left():
    world = make_world(8)
    rows = perfect_rows(world)
    lift = torch.tensor([c.horizon_v(1000.0) for c in world.camera_list], dtype=torch.float32)
    world.boxes_xyxy = torch.stack([torch.tensor([900.0, 0, 940, 30])] * len(lift)) + (lift - 100)[:, None] * (
        torch.tensor([0.0, 1, 0, 1])
    )
    pose = decoded(world, rows)
    assert pose.usable.tolist() == [[True, False, False]] * len(rows)
    assert torch.isfinite(pose.log_depth).all() and torch.isfinite(pose.shared).all()


def test_boxes_taller_than_the_camera_stands_lose_the_height_way():
    world = make_world(9)
    raw = RawPose.unpack(perfect_rows(world), 3)
    raw.depth[:, 2] = 5.0  # the clamp leaves 0.75 e^1.5 = 3.4 m to 6.7 m above ground
    ground = world.grounds
    ground.mean[:, 2] = np.log(2.0)
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, ground)
    assert not pose.usable[:, 2].any()
    assert pose.usable[:, 1].any()
    assert torch.isfinite(pose.log_depth).all()


def test_without_ground_direct_only_and_upright_in_the_camera_frame():
    world = make_world(10, ground=False)
    pose = decoded(world, perfect_rows(world))
    assert pose.usable.tolist() == [[True, False, False]] * len(world.classes)
    frame = world.grounds.frame()
    assert torch.equal(frame, torch.eye(3).expand_as(frame))
    location, ry = place_boxes(pose.xy, pose.log_depth[:, 0], pose.alpha, world.cameras, frame)
    rotation = frame @ yaw_rotations(ry)
    torch.testing.assert_close(location, world.rows[:, :3], rtol=1e-4, atol=2e-3)
    same_angle(ry, world.rows[:, 6])
    torch.testing.assert_close(Boxes3D(location, pose.dims, rotation).to_kitti(), world.rows, rtol=1e-3, atol=2e-3)


def test_height_way_s_jacobian_against_differences():
    """Small terms (the normal turns with the ground) are left out on purpose: 3 % is what they may amount to."""
    world = make_world(11)
    rows, ground = perfect_rows(world), world.grounds
    pose = decoded(world, rows)
    use = pose.usable.all(1)
    step = torch.tensor([2e-4, 2e-4, 2e-3])
    for k in range(3):
        move = torch.zeros(3)
        move[k] = step[k]
        ends = [
            decoded(world, rows, Grounds(ground.mean + sign * move, ground.var, ground.known)).log_depth
            for sign in (1, -1)
        ]
        difference = (ends[0] - ends[1]) / (2 * step[k])
        scale = pose.shared[use, :, 0].abs() if k < 2 else torch.ones_like(difference[use])
        assert ((difference - pose.shared[..., k])[use].abs() / scale.clamp(min=1)).max() < 0.03
        assert (pose.shared[:, 0] == 0).all()


def test_unknown_way_names_the_known():
    with pytest.raises(ValueError, match="'stereo': choose fused, direct, plane, height"):
        branch_index("stereo")


def test_fields_of_a_row_stay_in_order():
    """A trained head's outputs keep their meaning: the layout of a row is part of the checkpoints."""
    assert RawPose.sizes(3) == [2, 2, 3, 3, 9, 12, 12, 1]
    row = torch.arange(44.0)[None] / 100
    raw = RawPose.unpack(row, 3)
    assert raw.depth.tolist() == [pytest.approx([0.04, 0.05, 0.06])]
    assert raw.dims[0, 1].tolist() == pytest.approx([0.13, 0.14, 0.15])
    assert raw.quality.tolist() == pytest.approx([0.43])
    assert RawPose.unpack(row * 0 + 50, 3).log_std.tolist() == [[1.0] * 3]
    assert raw[torch.tensor([0, 0])].bins.shape == (2, 12)


def test_new_head_starts_with_broad_depths():
    torch.manual_seed(0)
    head = PoseHead(num_stages=2, num_classes=3, dim=16)
    world = make_world(12, count=6)
    rows = head(torch.zeros(6, 16), world.boxes_xyxy, world.cameras, 1)
    raw = RawPose.unpack(rows, 3)
    torch.testing.assert_close(raw.log_std, torch.full((6, 3), -1.5), atol=0.3, rtol=0)
    assert raw.depth.abs().max() < 0.3 and raw.bottom.abs().max() < 0.3


def test_box_geometry_sees_the_same_in_a_resized_image():
    world = make_world(13)
    resized = Cameras.from_list([c.resized(0.5, 0.4) for c in world.camera_list], "cpu")
    before = box_geometry(world.boxes_xyxy, world.cameras)
    after = box_geometry(world.boxes_xyxy * torch.tensor([0.5, 0.4, 0.5, 0.4]), resized)
    torch.testing.assert_close(after[:, :5], before[:, :5], atol=1e-4, rtol=0)
    torch.testing.assert_close(after[:, 5], before[:, 5] + np.log(0.5 / 0.4), atol=1e-4, rtol=0)


def test_ground_head_speaks_of_pixels():
    """Its answer is a line in the image; the same line under another focal length is another plane."""
    torch.manual_seed(0)
    head = GroundHead(8, stride=32)
    with torch.no_grad():
        head.output.weight.mul_(30)
    camera = Camera(np.array([[1000.0, 0, 500], [0, 950, 300], [0, 0, 1]]))
    feature = torch.rand(1, 8, 20, 32)
    size = (600, 1000)
    guess = head(feature, [size], Cameras.from_list([camera], "cpu"))
    assert (guess.var > 0).all() and guess.known.all()
    for scale in (2.0, 0.5):  # the same field of view at another resolution, the same features: the same plane
        scaled = GroundHead(8, stride=int(32 * scale))
        scaled.load_state_dict(head.state_dict())
        cameras = Cameras.from_list([camera.resized(scale, scale)], "cpu")
        same = scaled(feature, [(int(600 * scale), int(1000 * scale))], cameras)
        torch.testing.assert_close(same.mean, guess.mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(same.var, guess.var, atol=1e-7, rtol=1e-4)
    # By the numpy camera: the horizon of the predicted plane is the line that the outputs name.
    v_mid, slope = _outputs(head, feature, size)
    s0, s1, _ = guess.mean[0].tolist()
    plane = Camera(camera.P, [s1, -1.0, s0, 5.0])
    for u in (0.0, 400.0, 1000.0):
        assert plane.horizon_v(u) == pytest.approx((v_mid + 0.5) * 600 + slope * (u - 500), abs=0.05)
    np.testing.assert_allclose(ground_parameters(plane)[:2], [s0, s1], atol=1e-6)


def _outputs(head, feature, size):
    x = torch.relu(head.squeeze(feature))[:, :, : -(-size[0] // 32), : -(-size[1] // 32)]
    pooled = torch.nn.functional.adaptive_avg_pool2d(x, (6, 8))
    return head.output(torch.relu(head.hidden(pooled.flatten(1))))[0, :2].tolist()


def test_ground_head_does_not_look_at_padding():
    torch.manual_seed(0)
    head = GroundHead(8, stride=32)
    camera = Cameras.from_list([Camera(np.array([[1000.0, 0, 500], [0, 950, 300], [0, 0, 1]]))], "cpu")
    feature = torch.rand(1, 8, 10, 12)
    padded = torch.cat([feature, 100 * torch.ones(1, 8, 10, 3)], dim=3)
    a, b = head(feature, [(320, 384)], camera), head(padded, [(320, 384)], camera)
    torch.testing.assert_close(a.mean, b.mean)
