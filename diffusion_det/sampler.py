"""Solvers of the reverse diffusion: from the state at noise level t and the predicted clean boxes to level s < t.

Transport (path and noise levels), network and solver stay apart: a solver sees states and predictions, never images.
All boxes of all images move together, yet each box carries its own solver history, so that a renewed box starts afresh.

    x_t --network--> x0 --solver--> x_s        levels, e.g. 4 steps: 999 -> 749 -> 499 -> 249 -> -1 (clean)
"""

import itertools

import numpy as np
import torch
from torch import Tensor

from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry
from diffusion_det.schedule import NoisePath

# Solvers by the name in MODEL.DiffusionDet.SAMPLER: classes built as `Sampler(schedule, eta=...)`.
SAMPLER_REGISTRY = Registry("MODEL.DiffusionDet.SAMPLER")


def step_pairs(timesteps: int, steps: int) -> list[tuple[int, int]]:
    """Pairs (from, to) of noise levels, evenly spaced from T - 1 to -1, the clean end.

    Raises:
        ConfigError: `steps` is not in 1..T.
    """
    if not 1 <= steps <= timesteps:
        raise ConfigError(f"SAMPLE_STEP is {steps}; choose 1 to {timesteps}, the number of noise levels")
    # torch.linspace in float32 to the digit, but in numbers: a graph's steps must not hang on tensors.
    width, half = np.float32(timesteps) / np.float32(steps), (steps + 1) // 2
    rising = [np.float32(-1) + width * np.float32(i) for i in range(half)]
    falling = [np.float32(timesteps - 1) - width * np.float32(i) for i in range(steps + 1 - half)]
    levels = [int(level) for level in falling + rising[::-1]]
    return list(itertools.pairwise(levels))


class Sampler:
    """Base of all solvers.

    Args:
        schedule: path and noise levels.
        eta: share of fresh noise in each step, 0 (deterministic) to 1; solvers that have no such choice ignore it.
    """

    only_straight = False  # whether it needs a path on which states move at constant speed

    def __init__(self, schedule: NoisePath, eta: float = 1.0):
        if self.only_straight and not schedule.straight:
            raise ConfigError(
                f"{type(self).__name__} as MODEL.DiffusionDet.SAMPLER follows straight paths: choose ddim, or train "
                "with MODEL.DiffusionDet.TRANSPORT flow"
            )
        self.schedule, self.eta = schedule, eta

    def pairs(self, steps: int) -> list[tuple[int, int]]:
        """The levels to visit."""
        return step_pairs(self.schedule.timesteps, steps)

    def start(self) -> None:
        """Forget the history: called once before the first step."""

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        """Move every box from level t to level s.

        Args:
            x: (B, N, 4) states at t.
            x0: (B, N, 4) predicted clean states.
            noise: (B, N, 4) standard normal.
            renewed: (B, N) bool, boxes that were renewed after the step before and have no history.
        Returns:
            (B, N, 4) states at s; exactly x0 where s is -1.
        """
        raise NotImplementedError


@SAMPLER_REGISTRY.register(name="ddim")
class DDIM(Sampler):
    """Denoising diffusion implicit model: deterministic for eta 0.

    Source: Song et al., Denoising Diffusion Implicit Models, ICLR 2021, Eq. 12 and 16.
    """

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        if s < 0:
            return x0
        alpha, sigma = self.schedule.coefficients(s)
        fresh = self.eta**2 * (1 - _kept(self.schedule, t, s))
        return x0 * alpha + sigma * ((1 - fresh).sqrt() * self.schedule.noise_from(x, x0, t) + fresh.sqrt() * noise)


@SAMPLER_REGISTRY.register(name="ddpm")
class DDPM(Sampler):
    """Denoising diffusion probabilistic model: ancestral sampling from the posterior q(x_s | x_t, x_0).

    Also over strides of levels.

    Source: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, Eq. 6 and 7.
    """

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        if s < 0:
            return x0
        (alpha, sigma), (alpha_next, sigma_next) = (self.schedule.coefficients(level) for level in (t, s))
        fresh = 1 - _kept(self.schedule, t, s)
        mean = alpha_next * fresh * x0 + alpha / alpha_next * (sigma_next / sigma) ** 2 * x
        return mean + sigma_next * fresh.sqrt() * noise


@SAMPLER_REGISTRY.register(name="dpmsolver++")
class DPMSolverPP(Sampler):
    """DPM-Solver++ (2M): second-order multistep solver for networks that predict x0, deterministic.

    First order at both ends.

    Source: Lu et al., DPM-Solver++, 2022, Algorithm 2 (2M). Differs: the history is kept per box, and a box without one
        takes a first-order step.
    """

    def start(self) -> None:
        self._before: tuple[Tensor, Tensor] | None = None  # x0 and log signal-to-noise ratio of the step before

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        if s < 0:
            return x0
        here, there = self.schedule.log_snr(t), self.schedule.log_snr(s)
        estimate = x0
        if self._before is not None:
            before_x0, before = self._before
            ratio = (here - before) / (there - here)
            second = (1 + 1 / (2 * ratio)) * x0 - before_x0 / (2 * ratio)
            estimate = second if renewed is None else torch.where(renewed[..., None], x0.to(second.dtype), second)
        self._before = (x0, here)
        (_, sigma), (alpha_next, sigma_next) = (self.schedule.coefficients(level) for level in (t, s))
        return sigma_next / sigma * x - alpha_next * torch.expm1(here - there) * estimate


def _kept(schedule: NoisePath, t: int, s: int) -> Tensor:
    """Of the noise at level s, the share of variance that is in x_t already."""
    (alpha, sigma), (alpha_next, sigma_next) = (schedule.coefficients(level) for level in (t, s))
    return (alpha * sigma_next / (alpha_next * sigma)) ** 2


@SAMPLER_REGISTRY.register(name="euler")
class Euler(Sampler):
    """Euler's method along a straight path: x_s = x_t + (sigma_s - sigma_t) v with the velocity v = noise - x_0.

    Source: Liu et al., Flow Straight and Fast, ICLR 2023, Algorithm 1.
    """

    only_straight = True

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        return x0 if s < 0 else x + self._width(t, s) * self._velocity(x, x0, t)

    def _velocity(self, x: Tensor, x0: Tensor, t: int) -> Tensor:
        return (x - x0) / self.schedule.coefficients(t)[1]

    def _width(self, t: int, s: int) -> Tensor:
        return self.schedule.coefficients(s)[1] - self.schedule.coefficients(t)[1]


@SAMPLER_REGISTRY.register(name="heun")
class Heun(Euler):
    """Heun's method along a straight path: a step of Euler's, then again with the mean of both ends' velocities.

    A step of this class is one evaluation of the network, so that solvers compare at equal work: an interval takes two,
    the last one, which ends in the prediction, one, and an even number leaves one interval more to Euler's method.

    Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS 2022, Algorithm 1.
        Differs: a box that was renewed in between keeps its new place.
    """

    def pairs(self, steps: int) -> list[tuple[int, int]]:
        intervals = step_pairs(self.schedule.timesteps, steps // 2 + 1)
        step_pairs(self.schedule.timesteps, steps)  # same bounds on the number of steps
        twice = (steps - 1) // 2
        doubled = [pair for t, s in intervals[:twice] for pair in ((t, s), (s, s))]
        return doubled + intervals[twice:]

    def start(self) -> None:
        self._begun: tuple[Tensor, Tensor, Tensor] | None = None  # state and velocity of the interval, and its width

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        if t != s:
            if s >= 0:
                self._begun = x, self._velocity(x, x0, t), self._width(t, s)
            return super().step(x, x0, t, s, noise, renewed)
        assert self._begun is not None
        before, velocity, width = self._begun
        mended = before + width * (velocity + self._velocity(x, x0, t)) / 2
        return mended if renewed is None else torch.where(renewed[..., None], x.to(mended.dtype), mended)


@SAMPLER_REGISTRY.register(name="restart")
class Restart(Sampler):
    """Fresh random boxes before each step, all at the noisiest level: an ensemble of one-step runs, no denoising.

    The ablation that a solver must beat before its steps can be said to help.
    """

    def pairs(self, steps: int) -> list[tuple[int, int]]:
        top = self.schedule.timesteps - 1
        step_pairs(self.schedule.timesteps, steps)  # same bounds on the number of steps
        return [(top, top)] * (steps - 1) + [(top, -1)]

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, noise: Tensor, renewed: Tensor | None = None) -> Tensor:
        return x0 if s < 0 else noise


def sampler_names(straight: bool) -> tuple[str, ...]:
    """Names of the solvers that can follow a path on which states move at constant speed, or do not."""
    return tuple(name for name in SAMPLER_REGISTRY.names() if straight or not SAMPLER_REGISTRY.get(name).only_straight)


def build_sampler(name: str, schedule: NoisePath, eta: float) -> Sampler:
    """The solver of a registered name, in any case.

    Raises:
        ConfigError: unknown name; lists the known ones.
    """
    return SAMPLER_REGISTRY.get(name if name in SAMPLER_REGISTRY else name.lower())(schedule, eta=eta)
