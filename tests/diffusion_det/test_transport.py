"""Paths between boxes and noise, what is trained along them, and boxes that are drawn anew on them."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from d2road.config import validate
from diffusion_det.box_prior import NormalPrior
from diffusion_det.build import build_transport, sampling_choices
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.noising import diffuse_boxes, nearest_noise
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import TRANSPORT_REGISTRY, CosineSchedule, FlowPath, boxes_to_state

NODE = "MODEL.DiffusionDet."
FLOW = (NODE + "TRANSPORT", "flow")
PATHS = {
    "diffusion": CosineSchedule(),
    "flow": FlowPath(),
    "shifted": FlowPath(shift=3.0),
    "same ratios": FlowPath(same_snr=True),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_levels_lead_from_boxes_to_noise(path):
    alpha, sigma = path.coefficients(torch.arange(-1, 1000))
    assert alpha.dtype == torch.float64 and alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all()
    assert 0 <= alpha[-1] < 1e-3 and 0.999 < sigma[-1] <= 1
    for t in (-1, 0, 500, 999):
        assert torch.equal(torch.stack(path.coefficients(t)), torch.stack([alpha[t + 1], sigma[t + 1]]))
    assert torch.equal(path.half().alphas, alpha[1:]) and not path.state_dict()


def test_a_flow_is_straight():
    path = FlowPath()
    x0, noise = torch.randn(2, 5, 4, dtype=torch.float64)
    along = torch.stack([path.add_noise(x0, t, noise) for t in (99, 199, 299)])
    torch.testing.assert_close(along.diff(dim=0), (0.1 * (noise - x0)).expand(2, 5, 4))
    assert path.coefficients(999) == (0, 1) and path.log_snr(999) == -torch.inf and path.log_snr(-1) == torch.inf


def test_shift_moves_levels_as_published():
    """sigma' = s sigma / (1 + (s - 1) sigma) for each level, Esser et al., Eq. 23 for square roots of pixels."""
    sigma, shifted = FlowPath().sigmas.numpy(), FlowPath(shift=3.0).sigmas.numpy()
    # Their form: odds of noise against signal times the shift.
    odds, moved = sigma[:-1] / (1 - sigma[:-1]), shifted[:-1] / (1 - shifted[:-1])
    np.testing.assert_allclose(moved, 3 * odds, rtol=1e-9)


def test_the_same_ratios_are_those_of_diffusion():
    ours, diffusion = FlowPath(same_snr=True), CosineSchedule()
    for t in (0, 100, 700, 999):
        assert ours.log_snr(t).item() == pytest.approx(diffusion.log_snr(t).item(), rel=1e-9)


def test_levels_are_drawn_as_the_key_says():
    torch.manual_seed(0)
    paths = {density: FlowPath(1000, density) for density in ((), (0.0, 1.0), (1.0, 0.5))}
    draws = {d: torch.cat([path.draw_level("cpu") for _ in range(4000)]) / 1000 for d, path in paths.items()}
    even = draws[()]
    assert even.mean().item() == pytest.approx(0.5, abs=0.02) and even.std().item() == pytest.approx(12**-0.5, abs=0.01)
    for (mean, deviation), share in list(draws.items())[1:]:
        share = share.clamp(0.0005, 0.9995)
        assert torch.logit(share).mean().item() == pytest.approx(mean, abs=0.06)
        assert torch.logit(share).std().item() == pytest.approx(deviation, abs=0.06)


def test_coupling_is_the_cheapest_permutation_of_all_boxes():
    x0, noise = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(1))
    order = nearest_noise(x0, noise)
    assert order.sort().values.tolist() == list(range(40))
    cost = ((x0[:, None] - noise[None]) ** 2).sum(-1).numpy()
    assert cost[range(40), order].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-6)
    gt, whwh = [torch.tensor([[10.0, 20, 60, 80]])], torch.tensor([[128.0, 96, 128, 96]])
    clean = boxes_to_state(gt[0], whwh[0], NormalPrior(2.0))
    moved = []
    for coupling in ("independent", "optimal"):
        torch.manual_seed(3)
        path = FlowPath()
        path.draw_level = lambda device: torch.full((1,), 499)
        boxes, t, origin = diffuse_boxes(gt, whwh, path, 40, NormalPrior(2.0), coupling)
        assert t.tolist() == [499] and origin[0, 0] == 0 and (origin[0, 1:] == -1).all()
        moved.append((boxes_to_state(boxes[0], whwh[0], NormalPrior(2.0))[0] - clean).norm().item())
    assert moved[1] < moved[0]  # the object got a noise that is near to it


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_renewed_boxes_come_from_the_marginal_of_the_level(path):
    """Mean 0, variance (alpha SNR_SCALE / 3)^2 + sigma^2, as the boxes that fill up the queries in training."""
    seen, scale, count = [], 2.0, 4000
    prior = NormalPrior(scale)
    whwh = torch.tensor([[100.0, 100, 100, 100]])

    def predict(boxes, t):
        seen.append((t, boxes_to_state(boxes, whwh, prior)[0, :, :2]))
        return torch.full((1, count, 3), -9.0), boxes

    noise = GeneratorNoise([torch.Generator().manual_seed(0)])
    denoise(
        predict, build_sampler("ddim", path, 1.0), whwh, noise, steps=6, count=count, prior=prior, renewal_thresh=0.5
    )
    t, state = seen[-1]
    alpha, sigma = (value.item() for value in path.coefficients(t))
    assert state.mean().item() == pytest.approx(0, abs=0.03)
    assert state.std().item() == pytest.approx(((alpha * scale / 3) ** 2 + sigma**2) ** 0.5, rel=0.03)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++", "euler", "heun", "restart"])
def test_a_detector_trains_and_detects_along_a_flow(sampler, small_model, make_input):
    model = small_model(*FLOW, NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", 4, NODE + "COUPLING", "optimal")
    batch = [make_input(0), make_input(1)]
    torch.manual_seed(0)
    losses = model.train()(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        found = [x["instances"] for x in model.eval()(batch)]
        alone = model([batch[1]])[0]["instances"]
    assert all(len(one) and torch.isfinite(one.pred_boxes.tensor).all() for one in found)
    torch.testing.assert_close(found[1].scores, alone.scores, atol=1e-4, rtol=1e-4)


def test_paths_and_solvers_of_a_config(small_cfg):
    path = build_transport(small_cfg(*FLOW, NODE + "FLOW.SHIFT", 2.0, NODE + "LEVEL_DENSITY", (0.0, 1.0)))
    assert isinstance(path, FlowPath) and path.shift == 2 and path.level_density == (0, 1)
    assert isinstance(build_transport(small_cfg()), CosineSchedule)
    assert TRANSPORT_REGISTRY.names() == ["diffusion", "flow"]
    assert {"euler", "heun"} <= set(sampling_choices(small_cfg(*FLOW)).samplers)
    assert not {"euler", "heun"} & set(sampling_choices(small_cfg()).samplers)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((NODE + "TRANSPORT", "flows"), "TRANSPORT is 'flows': choose one of diffusion, flow"),
        ((NODE + "SAMPLER", "heun"), r"SAMPLER is 'heun': .*TRANSPORT flow"),
        ((*FLOW, NODE + "OFFICIAL_COMPAT", True), "published code knows diffusion alone"),
        ((NODE + "LEVEL_DENSITY", (0.0, -1.0)), "a mean and a positive deviation"),
        ((NODE + "COUPLING", "best"), "choose independent or optimal"),
        ((*FLOW, NODE + "FLOW.SHIFT", 0.0), "FLOW.SHIFT is 0.0: must be positive"),
        ((*FLOW, NODE + "FLOW.SHIFT", 2.0, NODE + "FLOW.SAME_SNR", True), "has no effect beside FLOW.SAME_SNR"),
    ],
)
def test_contradictions_are_told(opts, message, small_cfg):
    cfg = small_cfg(*opts, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()")
    with pytest.raises(ValueError, match=message):
        validate(cfg)
