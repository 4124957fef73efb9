"""Solvers against diffusers, which we did not write."""

import itertools

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from diffusion_det.box_prior import NormalPrior
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.sampler import SAMPLER_REGISTRY, build_sampler, step_pairs
from diffusion_det.schedule import CosineSchedule, FlowPath, boxes_to_state, state_to_boxes


@pytest.fixture(scope="module")
def schedule():
    return CosineSchedule()


@pytest.fixture(scope="module")
def betas(schedule):
    abar = schedule.alphas_cumprod
    return (1 - abar / torch.cat([torch.ones(1, dtype=abar.dtype), abar[:-1]])).numpy()


def network(x, t):
    """Any smooth function of state and level stands for the network."""
    return torch.tanh(0.7 * x + 0.2 * torch.sin(torch.tensor(t / 90.0)))


def state(seed, steps=1):
    return torch.randn(steps, 2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_ddim_equals_diffusers(schedule, betas, eta, steps):
    oracle = DDIMScheduler(
        trained_betas=betas, clip_sample=False, prediction_type="sample", timestep_spacing="trailing"
    )
    oracle.alphas_cumprod = schedule.alphas_cumprod  # the same levels, not rounded to float32
    oracle.set_timesteps(steps)
    sampler = build_sampler("ddim", schedule, eta)
    ours = theirs = state(0)[0]
    noises = state(1, steps)
    pairs = sampler.pairs(steps)
    assert [t for t, _ in pairs] == oracle.timesteps.tolist()
    for (t, s), noise in zip(pairs, noises):
        ours = sampler.step(ours, network(ours, t), t, s, noise)
        theirs = oracle.step(network(theirs, t), t, theirs, eta=eta, variance_noise=noise).prev_sample
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_ddpm_equals_diffusers(schedule, betas):
    oracle = DDPMScheduler(
        trained_betas=betas, clip_sample=False, prediction_type="sample", variance_type="fixed_small"
    )
    sampler = build_sampler("ddpm", schedule, 1.0)
    x = state(2)[0]
    for t in (700, 300, 20, 0):
        generator = torch.Generator().manual_seed(t)
        noise = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(t))
        theirs = oracle.step(network(x, t), t, x, generator=generator).prev_sample
        torch.testing.assert_close(sampler.step(x, network(x, t), t, t - 1, noise), theirs, atol=1e-5, rtol=1e-5)


def test_ddpm_is_ddim_with_full_noise(schedule):
    x, noise = state(3)[0], state(4)[0]
    ddim, ddpm = (build_sampler(n, schedule, 1.0) for n in ("ddim", "ddpm"))
    for t, s in [(999, 749), (749, 249), (249, 3)]:
        x0 = network(x, t)
        torch.testing.assert_close(ddim.step(x, x0, t, s, noise), ddpm.step(x, x0, t, s, noise))


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_dpm_solver_equals_diffusers(schedule, betas, steps):
    oracle = DPMSolverMultistepScheduler(
        trained_betas=betas,
        solver_order=2,
        algorithm_type="dpmsolver++",
        prediction_type="sample",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
    oracle.set_timesteps(steps)
    sampler = build_sampler("dpmsolver++", schedule, 1.0)
    sampler.start()
    ours = theirs = state(5)[0]
    pairs = sampler.pairs(steps)
    assert [t for t, _ in pairs] == oracle.timesteps.tolist()
    for t, s in pairs:
        ours = sampler.step(ours, network(ours, t), t, s, torch.zeros_like(ours))
        theirs = oracle.step(network(theirs, t), t, theirs).prev_sample
        # diffusers keeps its levels in float32, which shows at the noisiest one
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def test_renewed_box_starts_with_a_first_order_step(schedule):
    sampler = build_sampler("dpmsolver++", schedule, 1.0)
    x, noise = state(6)[0], torch.zeros(2, 9, 4)
    renewed = torch.zeros(2, 9, dtype=torch.bool)
    renewed[1, 3] = True
    sampler.start()
    x = sampler.step(x, network(x, 999), 999, 749, noise)
    second = sampler.step(x, network(x, 749), 749, 499, noise, renewed)
    sampler.start()
    first = sampler.step(x, network(x, 749), 749, 499, noise)
    assert torch.equal(second[renewed], first[renewed])
    assert not torch.isclose(second[~renewed], first[~renewed]).any(1).any()


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 4, 8])
def test_flow_solvers_equal_diffusers(steps, shift):
    """DPM-Solver++ and Euler's method on straight paths, from noise alone, where the log-SNR is infinite, to boxes."""
    path = FlowPath(shift=shift)
    solvers = {"dpmsolver++": DPMSolverMultistepScheduler, "euler": FlowMatchEulerDiscreteScheduler}
    for name, kind in solvers.items():
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "zero"}
        oracle = kind(**(flow if name == "dpmsolver++" else {}))
        sampler = build_sampler(name, path, 1.0)
        pairs = sampler.pairs(steps)
        oracle.set_timesteps(steps)
        # Of its own levels, the oracle leaves out the noisiest.
        levels = torch.tensor([path.coefficients(t)[1] for t, _ in pairs] + [0.0], dtype=torch.float64)
        oracle.sigmas, oracle.timesteps = levels, 1000 * levels[:-1]
        sampler.start()
        ours = theirs = state(5)[0]
        for i, (t, s) in enumerate(pairs):
            velocity = (theirs - network(theirs, t)) / levels[i]
            ours = sampler.step(ours, network(ours, t), t, s, torch.zeros_like(ours))
            theirs = oracle.step(velocity, oracle.timesteps[i], theirs).prev_sample
            torch.testing.assert_close(ours, theirs.double(), atol=1e-6, rtol=1e-6)


def test_euler_is_ddim_without_fresh_noise():
    euler, ddim = (build_sampler(name, FlowPath(), 0.0) for name in ("euler", "ddim"))
    x = state(7)[0]
    for t, s in [(999, 749), (749, 249), (249, 3)]:
        torch.testing.assert_close(*(solver.step(x, network(x, t), t, s, x) for solver in (euler, ddim)))


def test_heun_is_of_second_order():
    """Half the width: an eighth of the error of a single interval, of Euler's method a quarter."""
    path = FlowPath(timesteps=4096)

    def moved(name, t, s, intervals):
        sampler = build_sampler(name, path, 1.0)
        sampler.start()
        x, levels = state(8)[0], torch.linspace(t, s, intervals + 1).int().tolist()
        for pair in itertools.pairwise(levels):
            for now, then in [pair, (pair[1], pair[1])][: 2 if name == "heun" else 1]:
                x = sampler.step(x, torch.sin(2 * x) * path.coefficients(now)[1].cos(), now, then, x)
        return x

    for name, ratio in (("euler", 4), ("heun", 8)):
        errors = []
        for width in (512, 256):
            exact = moved("heun", 3000, 3000 - width, width // 4)
            errors.append((moved(name, 3000, 3000 - width, 1) - exact).norm().item())
        assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.2), name


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_step_of_heun_is_one_evaluation(steps):
    pairs = build_sampler("heun", FlowPath(), 1.0).pairs(steps)
    assert len(pairs) == steps and pairs[0][0] == 999 and pairs[-1][1] == -1
    assert all(t == s or after[0] == s for (t, s), after in itertools.pairwise(pairs))
    assert sum(t == s for t, s in pairs) == (steps - 1) // 2


@pytest.mark.parametrize("path", [CosineSchedule(), FlowPath(), FlowPath(shift=3.0), FlowPath(same_snr=True)])
@pytest.mark.parametrize("name", SAMPLER_REGISTRY.names())
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_perfect_network_gives_the_clean_boxes(path, name, steps):
    """With a network that knows the answer every solver ends there, renewal or not."""
    if SAMPLER_REGISTRY.get(name).only_straight and not path.straight:
        with pytest.raises(ValueError, match=r"follows straight paths: choose ddim.*TRANSPORT flow"):
            build_sampler(name, path, 1.0)
        return
    whwh = torch.tensor([[320.0, 192.0, 320.0, 192.0], [200.0, 100.0, 200.0, 100.0]])
    truth = torch.tensor([[20.0, 30.0, 90.0, 80.0]]).expand(2, 6, 4)

    def predict(boxes, t):
        return torch.full((2, 6, 3), -9.0), truth

    noise = GeneratorNoise([torch.Generator().manual_seed(i) for i in range(2)])
    results = denoise(
        predict, build_sampler(name, path, 1.0), whwh, noise, steps=steps, count=6, prior=NormalPrior(2.0)
    )
    assert len(results) == steps
    torch.testing.assert_close(results[-1][1], truth)
    sampler = build_sampler(name, path, 1.0)
    sampler.start()
    x0 = boxes_to_state(truth, whwh, NormalPrior(2.0))
    end = sampler.step(torch.randn(2, 6, 4), x0, 10, -1, torch.randn(2, 6, 4))
    torch.testing.assert_close(state_to_boxes(end, whwh, NormalPrior(2.0)), truth, atol=1e-4, rtol=0)


def test_restart_always_sees_pure_noise(schedule):
    seen = []

    def predict(boxes, t):
        seen.append((t, boxes.clone()))
        return torch.full((1, 50, 3), 9.0), boxes

    whwh = torch.full((1, 4), 100.0)
    noise = GeneratorNoise([torch.Generator().manual_seed(0)])
    denoise(predict, build_sampler("restart", schedule, 1.0), whwh, noise, steps=3, count=50, prior=NormalPrior(2.0))
    assert [t for t, _ in seen] == [999] * 3
    assert not torch.allclose(seen[0][1], seen[1][1])
    assert not torch.allclose(seen[1][1], seen[2][1])


@pytest.mark.parametrize("timesteps", [1000, 200, 7])
def test_levels_are_those_of_linspace_to_the_digit(timesteps):
    """As the published code has them, for every number of steps: what float32 makes of a level decides which it is."""
    for steps in range(1, timesteps + 1):
        levels = torch.linspace(-1, timesteps - 1, steps=steps + 1).int().tolist()[::-1]
        assert step_pairs(timesteps, steps) == list(itertools.pairwise(levels))


def test_unknown_sampler_and_steps(schedule):
    with pytest.raises(ValueError, match=r"MODEL\.DiffusionDet\.SAMPLER .*known.*: ddim, ddpm, dpmsolver"):
        build_sampler("unipc", schedule, 1.0)
    for steps in (0, -1, 1001):
        with pytest.raises(ValueError, match="SAMPLE_STEP"):
            step_pairs(1000, steps)
