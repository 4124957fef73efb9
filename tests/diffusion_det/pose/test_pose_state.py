"""Pose in the diffusion state: untrained before training, noised by the schedule, carried through the steps."""

import pytest
import torch
from torch import nn

from diffusion_det.box_prior import NormalPrior
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.pose.pose_state import LIMIT, STATE_SIZE, encode_state, noisy_states
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import CosineSchedule
from tests.factories.pose_models import NODE, ON, STATE, run, same


def test_untrained_state_says_nothing(small_model):
    state = small_model(*STATE).pose.state_embedding
    assert (state(torch.randn(2, 5, STATE_SIZE)) == 0).all()
    nn.init.normal_(state.output.weight)
    assert (state(torch.randn(2, 5, STATE_SIZE)) != 0).any()


def test_a_trained_state_conditions_the_head(small_model, make_scene):
    untrained, trained = small_model(*STATE, NODE + "SAMPLE_STEP", 2), small_model(*STATE, NODE + "SAMPLE_STEP", 2)
    with torch.no_grad():
        trained.pose.state_embedding.output.weight.normal_()
    (a,), (b,) = run(untrained, [make_scene(0)]), run(trained, [make_scene(0)])
    assert set(a.get_fields()) == set(b.get_fields()) == set(run(small_model(*ON), [make_scene(0)])[0].get_fields())
    assert len(a) != len(b) or not torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)


def test_states_are_clean_numbers_about_unit_scale():
    log_depth = torch.tensor([3.7, 1.0, 9.0])
    alpha = torch.tensor([0.0, 1.0, -2.0])
    state = encode_state(torch.tensor([[0.1, -0.15]]).expand(3, 2), log_depth, torch.zeros(3, 3), alpha, 2.0)
    assert state.shape == (3, STATE_SIZE)
    torch.testing.assert_close(state[0], torch.tensor([2.0, 0, 0, 0, 0, 0, 0, 2 / 0.7]))
    assert state.abs().max() == 2 * LIMIT


def test_noisy_states_follow_the_schedule():
    schedule = CosineSchedule(1000)
    clean, present = torch.full((2, 4000, STATE_SIZE), 3.0), torch.zeros(2, 4000, dtype=torch.bool)
    present[:, :2000] = True
    t = torch.tensor([100, 900])
    torch.manual_seed(0)
    noisy = noisy_states(clean, present, t, schedule, 1.5)
    for i in range(2):
        keep = schedule.alphas_cumprod[t[i]].item()
        own, other = noisy[i, :2000], noisy[i, 2000:]
        assert own.mean().item() == pytest.approx(3 * keep**0.5, abs=0.03)
        assert own.std().item() == pytest.approx((1 - keep) ** 0.5, abs=0.02)
        assert other.mean().item() == pytest.approx(0, abs=0.04)  # a random pose
        assert other.std().item() == pytest.approx((1.5**2 * keep + 1 - keep) ** 0.5, abs=0.03)


def test_denoise_carries_the_side_state():
    """DDIM without noise keeps the direction of a state whose clean value is known; renewed boxes start anew."""
    seen, schedule = [], CosineSchedule()
    goal = torch.linspace(-1, 1, 3)

    def predict(boxes, t, side):
        seen.append((t, side))
        logits = torch.full((1, 6, 2), 5.0)
        logits[:, 4:] = -5.0
        return logits, boxes, torch.ones(1, 6, 7), goal.expand(1, 6, 3)

    sampler = build_sampler("ddim", schedule, eta=0.0)
    results = denoise(
        predict, sampler, torch.full((1, 4), 100.0), GeneratorNoise([torch.Generator().manual_seed(0)]),
        steps=2, count=6, prior=NormalPrior(2.0), side_channels=3, side_scale=1.0,
    )  # fmt: skip
    assert [len(r) for r in results] == [3, 3] and results[0][2].shape == (1, 6, 7)
    (t, before), (s, after) = seen
    a, b = (schedule.alphas_cumprod[level].item() for level in (t, s))
    noise = (before - a**0.5 * goal) / (1 - a) ** 0.5
    wanted = b**0.5 * goal + (1 - b) ** 0.5 * noise
    torch.testing.assert_close(after[:, :4], wanted[:, :4].float(), atol=1e-3, rtol=1e-3)
    assert ((after - wanted)[:, 4:].abs() > 0.05).any(-1).all()


def test_clean_state_is_what_training_would_encode(small_model, make_scene):
    """Predicted boxes with the head's numbers, encoded; finite, bounded, one a box."""
    model = small_model(*STATE).eval()
    images = [make_scene(0), make_scene(1)]
    with torch.no_grad():
        batch = model.preprocess(images)
        features = model.features(batch)
        scene = model.pose.scene([x["camera"] for x in images], features[-1], batch.image_sizes)
        boxes = torch.tensor([[20.0, 30, 60, 70]]).expand(2, 5, 4)
        outputs = model.head.denoising_step(features, boxes, torch.tensor([500, 500]), keep_pooled=True)
        feature = model.pose.embed_last(outputs)
        state = model.pose.clean_state(feature, outputs.boxes_xyxy[-1], outputs.logits[-1], scene)
    assert state.shape == (2, 5, STATE_SIZE)
    assert torch.isfinite(state).all() and state.abs().max() <= LIMIT
    torch.testing.assert_close(
        (state[..., 6] * 0.7) ** 2 + (state[..., 7] * 0.7) ** 2, torch.ones(2, 5), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++", "euler", "heun", "restart"])
def test_poses_go_along_a_flow_too(sampler, small_model, make_scene):
    """Boxes and poses follow one path with one solver, in training and testing, whatever the prior of the boxes."""
    prior = (NODE + "PRIOR", "fitted", NODE + "PRIOR_MOMENTS", (0.5, 0.6, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1))
    keys = (NODE + "TRANSPORT", "flow", NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", 4, *prior)
    model = small_model(*STATE, *keys).train()
    losses = model([make_scene(0), make_scene(1, objects=0)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values()) and losses["loss_pose_depth"] > 0
    (found,) = run(model, [make_scene(0)])
    assert len(found) and torch.isfinite(found.pred_boxes3d.location).all()
    (alone,) = run(model, [make_scene(0)], seed=5)  # noise is of the image, not of the global state
    same(found, alone, 1e-5)
