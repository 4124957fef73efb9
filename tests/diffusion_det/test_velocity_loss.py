"""Velocity loss: against velocities of the paths, by derivative and by hand."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from d2road.config import validate
from diffusion_det.box_prior import NormalPrior
from diffusion_det.build import build_criterion
from diffusion_det.losses import LossOptions, SetCriterion
from diffusion_det.matcher import Targets
from diffusion_det.schedule import CosineSchedule, FlowPath, boxes_to_state
from diffusion_det.velocity_loss import SIGMA_FLOOR, VelocityCriterion
from tests.factories.pose_models import NODE, ON, STATE

VELOCITY = (NODE + "BOX_LOSS", "velocity")
WHWH = torch.tensor([[120.0, 100.0, 120.0, 100.0], [64.0, 80.0, 64.0, 80.0]])
GT = [torch.tensor([[10.0, 10, 40, 50], [60, 20, 90, 60]]), torch.tensor([[30.0, 30, 60, 70]])]
PRIOR = NormalPrior(2.0)
LABELS = [torch.tensor([0, 2]), torch.tensor([1])]
ORIGIN = torch.tensor([[1, -1, 0, -1], [-1, 0, -1, -1]])
OWN = [(0, 0, 1), (0, 2, 0), (1, 1, 0)]  # image, box and object of each box that was made from one


def targets_at(sigma):
    targets = Targets.pad(GT, LABELS, WHWH)
    targets.origin, targets.sigma = ORIGIN, torch.as_tensor(sigma)
    return targets


def predictions(stages=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(stages, 2, 4, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 5 + torch.rand(corner.shape, generator=generator) * 40], -1)
    return torch.randn(stages, 2, 4, 3, generator=generator).requires_grad_(), boxes.requires_grad_()


def states_of(boxes):
    """True and predicted clean states of the boxes that were made from objects, float64."""
    true = [boxes_to_state(GT[i][j][None], WHWH[i], PRIOR)[0] for i, _, j in OWN]
    found = [boxes_to_state(boxes[i, n][None], WHWH[i], PRIOR)[0] for i, n, _ in OWN]
    return torch.stack(true).double(), torch.stack(found).double()


def flow_velocity(x0, noise, share):
    """dx/du of x = (1 - u) x0 + u noise, by derivative."""
    return torch.autograd.functional.jvp(lambda u: (1 - u) * x0 + u * noise, share, torch.ones_like(share))[1]


def diffusion_velocity(x0, noise, angle):
    """dx/da of x = cos(a) x0 + sin(a) noise, by derivative: the path by its angle, as Salimans & Ho have it."""
    turn = torch.autograd.functional.jvp(lambda a: a.cos() * x0 + a.sin() * noise, angle, torch.ones_like(angle))
    return turn[1]


@pytest.mark.parametrize("levels", [(999, 400), (700, 150)])
@pytest.mark.parametrize("path", [FlowPath(), FlowPath(shift=3.0), FlowPath(same_snr=True), CosineSchedule()])
def test_the_loss_is_the_squared_error_of_the_velocity(path, levels):
    alpha, sigma = path.coefficients(torch.tensor(levels))
    logits, boxes = predictions()
    criterion = VelocityCriterion(num_classes=3, prior=PRIOR, velocity_weight=0.5)
    losses = criterion(logits, boxes, targets_at(sigma.float()))
    image = torch.tensor([i for i, _, _ in OWN])
    for stage, suffix in enumerate(["_0", "_1", ""]):
        x0, found = states_of(boxes[stage].detach())
        noise = torch.randn(x0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        a, s = alpha[image, None], sigma[image, None]
        implied = (a * x0 + s * noise - a * found) / s  # the noise that leads from the prediction to the same state
        if isinstance(path, FlowPath):
            error = flow_velocity(found, implied, s.clone()) - flow_velocity(x0, noise, s.clone())
        else:
            angle = torch.atan2(s, a)
            error = diffusion_velocity(found, implied, angle) - diffusion_velocity(x0, noise, angle)
        expected = 0.5 * error.square().sum() / len(OWN)
        torch.testing.assert_close(losses["loss_velocity" + suffix].double(), expected, rtol=1e-4, atol=0)


def test_low_levels_weigh_as_the_floor():
    logits, boxes = predictions()
    criterion = VelocityCriterion(num_classes=3, prior=PRIOR)
    low, at, above = (
        criterion(logits, boxes, targets_at([s, s]))["loss_velocity"] for s in (1e-3, SIGMA_FLOOR, 2 * SIGMA_FLOOR)
    )
    assert low == at and at.item() == pytest.approx(4 * above.item(), rel=1e-5)


def test_padding_learns_no_place_and_no_object():
    logits, boxes = predictions(stages=1)
    criterion = VelocityCriterion(num_classes=3, prior=PRIOR, options=LossOptions(class_weight=1.0))
    losses = criterion(logits, boxes, targets_at([0.5, 1.0]))
    assert losses.keys() == {"loss_ce", "loss_velocity"}
    losses["loss_velocity"].backward()
    moved = boxes.grad[0].abs().sum(-1) > 0
    assert torch.equal(moved, ORIGIN >= 0)
    onehot = torch.zeros(2, 4, 3)
    for i, n, j in OWN:
        onehot[i, n, LABELS[i][j]] = 1
    expected = sigmoid_focal_loss(logits[0], onehot, 0.25, 2.0, reduction="sum") / len(OWN)
    torch.testing.assert_close(losses["loss_ce"], expected)


def test_every_stage_has_the_same_objects():
    logits, boxes = predictions()
    targets = targets_at([0.5, 1.0])
    assert torch.equal(
        VelocityCriterion(num_classes=3, prior=PRIOR).assign(logits, boxes, targets), ORIGIN.expand(3, 2, 4)
    )
    alone = VelocityCriterion(num_classes=3, prior=PRIOR, deep_supervision=False)
    full = VelocityCriterion(num_classes=3, prior=PRIOR)(logits, boxes, targets)
    for name, value in alone(logits, boxes, targets).items():
        torch.testing.assert_close(value, full[name])


@pytest.mark.parametrize("path", ["diffusion", "flow"])
def test_a_detector_learns_velocities(path, small_model, make_input):
    """Also of images with more objects than boxes, and with none."""
    model = small_model(*VELOCITY, NODE + "TRANSPORT", path, NODE + "NUM_PROPOSALS", 6).train()
    batch = [make_input(0), make_input(1, objects=9), make_input(2, objects=0)]
    batch[2]["instances"].gt_classes = batch[2]["instances"].gt_classes.long()
    losses = model(batch)
    assert set(losses) == {"loss_ce", "loss_velocity", "loss_ce_0", "loss_velocity_0"}
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        nothing = model(batch[2:])
    assert nothing["loss_velocity"] == 0 < nothing["loss_ce"]


def test_softmax_takes_the_same_objects():
    logits, boxes = predictions(stages=1)
    targets = targets_at([0.5, 1.0])
    wide = torch.cat([logits, logits[..., :1]], -1)
    options = LossOptions(use_focal=False, class_weight=1.0)
    found = VelocityCriterion(num_classes=3, prior=PRIOR, options=options)(wide, boxes, targets)["loss_ce"]
    wanted = torch.full((2, 4), 3)
    for i, n, j in OWN:
        wanted[i, n] = LABELS[i][j]
    weight = torch.tensor([1, 1, 1, 0.1])
    torch.testing.assert_close(
        found, torch.nn.functional.cross_entropy(wide[0].flatten(0, 1), wanted.flatten(), weight)
    )


def test_the_criterion_of_a_config(small_cfg):
    cfg = small_cfg(*VELOCITY, NODE + "VELOCITY_WEIGHT", 0.75, NODE + "SNR_SCALE", 1.0, NODE + "CLASS_WEIGHT", 3.0)
    criterion = build_criterion(cfg)
    assert criterion.weights == {"loss_ce": 3.0, "loss_velocity": 0.75} and criterion.prior == NormalPrior(1.0)
    assert type(build_criterion(small_cfg())) is SetCriterion


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((NODE + "BOX_LOSS", "l2"), "BOX_LOSS is 'l2': choose one of set, velocity"),
        ((*VELOCITY, NODE + "OFFICIAL_COMPAT", True), "published code knows the set losses alone"),
        ((*VELOCITY, NODE + "VELOCITY_WEIGHT", 0.0), "VELOCITY_WEIGHT is 0.0: must be positive"),
    ],
)
def test_contradictions_are_told(opts, message, small_cfg):
    cfg = small_cfg(*opts, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()")
    with pytest.raises(ValueError, match=message):
        validate(cfg)


@pytest.mark.parametrize("options", [ON, STATE], ids=["pose", "pose in the state"])
def test_poses_learn_each_boxs_own_object(options, small_model, make_scene, monkeypatch):
    model = small_model(*VELOCITY, *options).train()
    seen, losses_of_poses = [], model.pose.losses
    monkeypatch.setattr(model.pose, "losses", lambda *args: seen.append(args[4]) or losses_of_poses(*args))
    losses = model([make_scene(0), make_scene(1, objects=0)])
    sum(losses.values()).backward()
    assert {"loss_ce", "loss_velocity", "loss_pose_depth"} <= set(losses)
    assert all(torch.isfinite(value) for value in losses.values())
    own = torch.full((2, 20), -1)
    own[0, :3] = torch.arange(3)
    assert torch.equal(seen[0], own.expand(2, 2, 20))
