"""Noise levels and the map between boxes and states."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion_det.box_prior import NormalPrior
from diffusion_det.schedule import CosineSchedule, boxes_to_state, random_unit_boxes, state_to_boxes


def test_levels_fall_from_one_to_nearly_zero():
    abar = CosineSchedule().alphas_cumprod
    assert abar.dtype == torch.float64
    assert (abar.diff() < 0).all()
    assert 0.9999 < abar[0] < 1
    assert 0 < abar[-1] < 1e-6


def test_half_precision_model_keeps_exact_levels():
    schedule = CosineSchedule()
    before = schedule.alphas_cumprod.clone()
    assert torch.equal(schedule.half().alphas_cumprod, before)
    assert "alphas_cumprod" not in schedule.state_dict()


def test_noise_from_inverts_add_noise():
    schedule = CosineSchedule()
    x0, noise = torch.randn(2, 3, 7, 4, dtype=torch.float64)
    for t in (0, 400, 998):
        x = schedule.add_noise(x0, torch.full((3,), t), noise)
        torch.testing.assert_close(schedule.noise_from(x, x0, t), noise, atol=1e-6, rtol=1e-6)
    assert torch.equal(schedule.add_noise(x0, -1, noise), x0)


@given(
    st.lists(st.floats(1, 400), min_size=4, max_size=4),
    st.floats(450, 2000),
    st.floats(450, 2000),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_state_round_trip(sides, width, height, scale):
    x, y, w, h = (torch.tensor(v / 900, dtype=torch.float64) for v in sides)
    whwh = torch.tensor([width, height, width, height], dtype=torch.float64)
    box = torch.stack([x, y, x + w, y + h])[None] * whwh
    state = boxes_to_state(box, whwh, NormalPrior(scale))
    assert state.abs().max() <= scale
    torch.testing.assert_close(state_to_boxes(state, whwh, NormalPrior(scale)), box)


def test_random_boxes_have_area():
    boxes = random_unit_boxes(100_000, "cpu", torch.Generator().manual_seed(0))
    assert (boxes[:, 2:] >= 1e-4).all()
    assert abs(boxes[:, :2].mean() - 0.5) < 0.01
    assert abs(boxes[:, :2].std() - 1 / 6) < 0.01
