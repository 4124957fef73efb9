"""Losses of pose: nothing at the truth, known likelihoods, quality as the overlap that the boxes really have."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2road.structures import Boxes3D, Camera, aligned_iou_3d
from d2road.structures.camera_batch import Grounds
from d2road.structures.depth_cues import place_boxes, yaw_rotations
from diffusion_det.pose.pose_decoding import decode
from diffusion_det.pose.pose_fusion import fuse
from diffusion_det.pose.pose_head import RawPose
from diffusion_det.pose.pose_losses import MatchedLabels, PoseCriterion, PoseOutputs, PoseTargets, project_labels
from tests.factories.pose_scenes import perfect_rows
from tests.factories.roadside_objects import PRIORS, make_world, take, true_depth

NAMES = ("xy", "z", "dims", "depth", "heading", "quality", "ground")


@pytest.fixture
def criterion():
    return PoseCriterion(dict.fromkeys(NAMES, 1.0), PRIORS, len(PRIORS))


def visible(seed, count=30, **options):
    """A world whose objects have all three depth branches."""
    world = make_world(seed, count, **options)
    if not world.ground:
        return world
    raw = RawPose.unpack(perfect_rows(world), 3)
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, world.grounds)
    return take(world, pose.usable.all(1).nonzero()[:, 0].tolist())


def losses_of(criterion, world, rows, estimated=None, stage=None, number=None, **changes):
    arguments = {
        "boxes_xyxy": world.boxes_xyxy,
        "classes": world.classes,
        "boxes3d": world.rows,
        "stage": torch.zeros(len(rows), dtype=torch.long) if stage is None else stage,
        "number": torch.tensor([float(len(rows))]) if number is None else number,
        "cameras": world.cameras,
        "estimated": estimated or world.grounds,
        "true": world.grounds,
    }
    a = arguments | changes
    outputs = PoseOutputs(rows, a["boxes_xyxy"], a["stage"], a["cameras"], a["estimated"])
    return criterion(outputs, MatchedLabels(a["classes"], a["boxes3d"], a["true"]), a["number"])


@pytest.mark.parametrize("ground", [True, False])
def test_nothing_to_learn_at_the_truth(criterion, ground):
    world = visible(0, ground=ground)
    rows = perfect_rows(world)
    losses = losses_of(criterion, world, rows)
    assert set(losses) == {f"loss_pose_{n}" for n in NAMES[:-1]}
    for name in ("xy", "z", "dims"):
        assert losses[f"loss_pose_{name}"] < 2e-3, name
    # The bins' logits are 4 against -1: what cross entropy leaves of them. The residual's error is nothing.
    bins = -math.log(math.exp(4) / (math.exp(4) + 11 * math.exp(-1)))
    assert losses["loss_pose_heading"].item() == pytest.approx(bins, abs=1e-3)
    ways = 3 if ground else 1
    assert losses["loss_pose_depth"].item() == pytest.approx(-2.0 * ways, abs=0.02)  # the log deviation alone
    # Overlap 1, quality 2: -log sigmoid(2)
    assert losses["loss_pose_quality"].item() == pytest.approx(math.log(1 + math.exp(-2)), abs=5e-3)


@pytest.mark.parametrize(
    "field, name", [("bottom", "xy"), ("center", "xy"), ("depth", "z"), ("dims", "dims"), ("bins", "heading")]
)
def test_every_error_costs(criterion, field, name):
    """Also that its gradient leads back: a step against it lowers the loss."""
    world = visible(1)
    rows = perfect_rows(world)
    raw = RawPose.unpack(rows, 3)
    torch.manual_seed(0)
    noise = torch.randn(getattr(raw, field).shape)
    getattr(raw, field).add_((5 if field == "bins" else 0.3) * noise)  # a view of the rows
    rows.requires_grad_()
    key = f"loss_pose_{name}"
    wrong = losses_of(criterion, world, rows)[key]
    assert wrong > losses_of(criterion, world, perfect_rows(world))[key] + 0.05
    (gradient,) = torch.autograd.grad(wrong, rows)
    assert torch.isfinite(gradient).all()
    step = torch.zeros_like(gradient)  # what is right already lies on a kink
    getattr(RawPose.unpack(step, 3), field).add_(getattr(RawPose.unpack(gradient, 3), field))
    assert losses_of(criterion, world, rows - 1e-3 * step / step.norm())[key] < wrong


def test_dims_in_corner_errors_and_ratios(criterion):
    world = visible(2)
    rows = perfect_rows(world)
    raw = RawPose.unpack(rows, 3)
    raw.dims += 0.1
    dims = world.rows[:, 3:6]
    wanted = ((math.exp(0.1) - 1) * dims.sum(1) / (2 * dims.norm(dim=1)) + 0.3).mean()
    torch.testing.assert_close(losses_of(criterion, world, rows)["loss_pose_dims"], wanted, rtol=1e-3, atol=0)


def test_z_counts_in_diagonals_up_to_a_limit(criterion):
    world = visible(3)
    rows = perfect_rows(world)
    RawPose.unpack(rows, 3).depth.add_(0.05)
    z = torch.tensor(true_depth(world))
    lever = (z / world.rows[:, 3:6].double().norm(dim=1)).clamp(max=5.0)
    assert (lever < 5).any() and (lever == 5).any()
    raw = RawPose.unpack(rows, 3)
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, world.grounds)
    log_depth, _ = fuse(pose, torch.zeros(len(z), 3))
    wanted = (lever * (log_depth - z.log()).abs()).mean()
    found = losses_of(criterion, world, rows)["loss_pose_z"]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)


def test_depth_is_the_laplace_likelihood(criterion):
    world = visible(4)
    torch.manual_seed(0)
    rows = perfect_rows(world)
    rows[:, 4:7] += 0.2 * torch.randn(len(rows), 3)
    rows[:, 7:10] -= torch.rand(len(rows), 3)
    raw = RawPose.unpack(rows, 3)
    exact = world.grounds
    var = torch.tensor([1e-4, 2e-4, 1e-3])
    estimated = Grounds(exact.mean, var.expand_as(exact.mean), exact.known)
    z = torch.tensor(true_depth(world)).log()
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, world.grounds)
    for ground, ground_var in ((exact, torch.zeros(3)), (estimated, var)):
        total = (pose.var + (pose.shared**2 * ground_var).sum(-1)).double()
        # A Laplace distribution of deviation s has the scale s / sqrt 2.
        laplace = torch.distributions.Laplace(pose.log_depth.double(), total.sqrt() / 2**0.5)
        wanted = -laplace.log_prob(z[:, None].expand(-1, 3)) - 0.5 * math.log(2)
        found = losses_of(criterion, world, rows, ground)["loss_pose_depth"]
        assert found.item() == pytest.approx(wanted.sum(1).mean().item(), rel=1e-3)


def test_ways_that_cannot_be_used_are_not_trained(criterion):
    world = visible(5, ground=False)
    rows = perfect_rows(world).requires_grad_()
    losses = losses_of(criterion, world, rows)
    (gradient,) = torch.autograd.grad(losses["loss_pose_depth"] + losses["loss_pose_z"], rows)
    raw = RawPose.unpack(gradient, 3)
    assert (raw.depth[:, 1:] == 0).all() or raw.depth[:, 1:].abs().max() < 1e-5 * raw.depth[:, 0].abs().max()
    assert (raw.log_std[:, 0] != 0).all()


@pytest.mark.parametrize("tilt", [0.0, 0.03])
def test_quality_learns_the_overlap_of_the_boxes(criterion, tilt):
    """In the axes of the true ground, also where another one (off by 1.7 degrees) is estimated in."""
    world = visible(6)
    exact = world.grounds
    estimated = Grounds(exact.mean + tilt * torch.tensor([1.0, -1.0, 0.0]), exact.var, exact.known)
    torch.manual_seed(1)
    rows = perfect_rows(world)
    raw = RawPose.unpack(rows, 3)
    raw.depth += 0.03 * torch.randn_like(raw.depth)
    raw.bottom += 0.05 * torch.randn_like(raw.bottom)
    raw.dims += 0.1 * torch.randn_like(raw.dims)
    raw.residuals += 0.3 * torch.randn_like(raw.residuals)
    raw.quality += torch.randn_like(raw.quality)
    # By the way of testing: boxes placed in the camera frame, then turned into the axes of their ground.
    pose = decode(raw, world.boxes_xyxy, world.classes, PRIORS, world.cameras, estimated)
    frame = exact.frame()
    log_depth, _ = fuse(pose, torch.zeros(len(rows), 3))
    location, ry = place_boxes(pose.xy, log_depth, pose.alpha, world.cameras, estimated.frame())
    found = Boxes3D(location, pose.dims, estimated.frame() @ yaw_rotations(ry))
    truth = Boxes3D.from_kitti(world.rows, frame)
    overlaps = torch.cat(
        [aligned_iou_3d(f.in_frame(r).to_kitti(), t.in_frame(r).to_kitti())
         for f, t, r in zip(*([b[i : i + 1] for i in range(len(rows))] for b in (found, truth)), frame)]
    )  # fmt: skip
    assert 0.05 < overlaps.mean() < 0.9
    wanted = F.binary_cross_entropy_with_logits(raw.quality, overlaps)
    found = losses_of(criterion, world, rows.requires_grad_(), estimated)["loss_pose_quality"]
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=0)
    (gradient,) = torch.autograd.grad(found, rows)
    gradient = RawPose.unpack(gradient, 3)
    assert (gradient.quality != 0).any() and (gradient.depth == 0).all()  # the overlap is a target, not a path


def test_stages_suffixes_and_normalisation(criterion):
    world = visible(7, 24)
    torch.manual_seed(2)
    rows = perfect_rows(world) + 0.1 * torch.randn(len(world.classes), 44)
    stage = torch.arange(len(rows)) % 3
    stage[stage == 1] = 2  # the middle stage has no match
    number = torch.tensor([4.0, 1.0, 20.0])
    losses = losses_of(criterion, world, rows, stage=stage, number=number)
    assert set(losses) == {f"loss_pose_{n}{s}" for n in NAMES[:-1] for s in ("_0", "_1", "")}
    for suffix, s in (("_0", 0), ("", 2)):
        own = (stage == s).nonzero()[:, 0]
        single = losses_of(criterion, take(world, own.tolist()), rows[own], number=number[s : s + 1])
        for name in NAMES[:-1]:
            torch.testing.assert_close(losses[f"loss_pose_{name}{suffix}"], single[f"loss_pose_{name}"])
    assert all(losses[f"loss_pose_{n}_1"] == 0 for n in NAMES[:-1])


def test_weights(criterion):
    world = visible(8, 6)
    rows = perfect_rows(world) + 0.1
    plain = losses_of(criterion, world, rows)
    weights = {name: 0.5 + i for i, name in enumerate(NAMES)}
    weighted = losses_of(PoseCriterion(weights, PRIORS, 3), world, rows)
    for name in NAMES[:-1]:
        torch.testing.assert_close(weighted[f"loss_pose_{name}"], plain[f"loss_pose_{name}"] * weights[name])


def test_no_match_at_all(criterion):
    world = visible(9, 6)
    none = torch.zeros(0, dtype=torch.long)
    rows = torch.zeros(0, 44, requires_grad=True)
    empty = {
        "boxes_xyxy": torch.zeros(0, 4), "classes": none, "boxes3d": torch.zeros(0, 7), "number": torch.ones(1),
        "cameras": world.cameras[none], "estimated": world.grounds[none], "true": world.grounds[none],
    }  # fmt: skip
    losses = losses_of(criterion, world, rows, **empty)
    assert all(value == 0 for value in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize("z", [0.0, -3.0, 0.05])
def test_bottoms_that_are_not_before_the_camera_teach_no_place(criterion, z):
    """A long vehicle beside a KITTI camera: its image point would be mirrored or infinite."""
    world = visible(10, 4, ground=False)
    center = world.camera_list[0].center
    x1, _, x2, y2 = world.boxes_xyxy[0].tolist()
    ray = world.camera_list[0].rays(np.array([(x1 + x2) / 2, y2]))  # mirrored, it falls on the box's lower edge
    world.boxes3d[0, :3] = center + ray * z
    rows = (perfect_rows(visible(10, 4, ground=False)) + 0.05).requires_grad_()
    losses = losses_of(criterion, world, rows)
    assert all(torch.isfinite(value) for value in losses.values()), losses
    place_losses = sum(losses[f"loss_pose_{n}"] for n in ("xy", "z", "depth"))
    (gradient,) = torch.autograd.grad(place_losses, rows, retain_graph=True)
    assert torch.isfinite(gradient).all()
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).any()
    (gradient,) = torch.autograd.grad(losses["loss_pose_dims"], rows)
    assert (gradient[0] != 0).any()  # its size can still be learned


def test_objects_mostly_outside_the_image_teach_no_place(criterion):
    world = visible(11, 4)
    rows = perfect_rows(world)
    x1, y1, x2, y2 = world.boxes_xyxy[0]
    world.boxes_xyxy[0] = torch.stack([x1, y1 - 4 * (y2 - y1), x2, y1 - 3 * (y2 - y1)])
    rows.requires_grad_()
    losses = losses_of(criterion, world, rows)
    (gradient,) = torch.autograd.grad(sum(losses[f"loss_pose_{n}"] for n in ("xy", "z", "depth")), rows)
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).any()


def test_numbers_that_are_not_finite_are_left_to_the_trainer(criterion):
    """Mixed precision skips a step that overflows, and the trainer names the loss: the overlap must not stop before."""
    world = visible(12, 4)
    rows = perfect_rows(world)
    rows[0] = float("nan")
    losses = losses_of(criterion, world, rows)
    assert not torch.isfinite(losses["loss_pose_xy"])


def test_ground_is_the_laplace_likelihood_of_the_images_that_have_one(criterion):
    mean, std = torch.tensor([[-0.2, 0.01, 1.9], [9.0, 9, 9]]), torch.tensor([[0.1, 0.05, 0.3], [1.0, 1, 1]])
    predicted = Grounds(mean, std**2, torch.tensor([True, True]))
    true = Grounds(torch.tensor([[-0.25, 0.0, 2.0], [0.0, 0, 0]]), torch.zeros(2, 3), torch.tensor([True, False]))
    laplace = torch.distributions.Laplace(mean[0], std[0] / 2**0.5)
    wanted = (-laplace.log_prob(true.mean[0]) - 0.5 * math.log(2)).sum()
    torch.testing.assert_close(criterion.ground(predicted, true), wanted)
    nobody = Grounds(true.mean, true.var, torch.tensor([False, False]))
    assert criterion.ground(predicted, nobody) == 0


def test_project_labels_by_the_numpy_camera():
    world = visible(13)
    labels = project_labels(world.rows, world.boxes_xyxy, world.cameras, world.grounds)
    raw = RawPose.unpack(perfect_rows(world), 3)
    torch.testing.assert_close(labels.bottom, raw.bottom, atol=1e-3, rtol=0)
    torch.testing.assert_close(labels.center, raw.center, atol=1e-3, rtol=0)
    upright = [Camera(c.P) for c in world.camera_list]
    other = project_labels(world.rows, world.boxes_xyxy, world.cameras, Grounds.from_list(upright, "cpu"))
    assert (other.center - labels.center).abs().max() > 0.01  # without a ground, up is the camera's -y


def test_targets_are_padded():
    rows = [torch.rand(2, 7), torch.zeros(0, 7), torch.rand(3, 7)]
    flags = [torch.tensor([True, False]), torch.zeros(0, dtype=torch.bool), torch.ones(3, dtype=torch.bool)]
    padded = PoseTargets.pad(rows, flags)
    assert padded.boxes3d.shape == (3, 3, 7) and padded.valid.sum(1).tolist() == [1, 0, 3]
    assert torch.equal(padded.boxes3d[2], rows[2])
    assert PoseTargets.pad(rows[1:2], flags[1:2]).valid.tolist() == [[False]]
