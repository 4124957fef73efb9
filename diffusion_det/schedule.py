"""Transports of boxes: noise levels on the path from boxes to noise, and the map between boxes and states on it.

Letters: B images, N boxes an image, T = 1000 noise levels. A state is a box (cx, cy, w, h), each divided by the
image's width or height, in the coordinates of a BoxPrior.

    t = -1: clean boxes        x_t = alpha_t x_0 + sigma_t noise        t = T - 1: pure noise
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from d2road.utils.registry import Registry
from diffusion_det.box_prior import BoxPrior

# Paths by the name in MODEL.DiffusionDet.TRANSPORT: classes of NoisePath.
TRANSPORT_REGISTRY = Registry("MODEL.DiffusionDet.TRANSPORT")


def cosine_alphas_cumprod(timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """Cumulative signal level abar of the cosine schedule.

    Returns:
        (timesteps,) float64, decreasing.
    Source: Nichol & Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, Eq. 17; each beta is
        clipped and the products taken anew, as DiffusionDet does.
    """
    x = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64)
    level = torch.cos((x / timesteps + offset) / (1 + offset) * math.pi / 2) ** 2
    level = level / level[0]
    betas = (1 - level[1:] / level[:-1]).clamp(0, max_beta)
    return torch.cumprod(1 - betas, dim=0)


class NoisePath(nn.Module):
    """Path between boxes and noise: x_t = alpha_t x_0 + sigma_t noise at T levels; all arithmetic in float64.

    A path gives `levels`; everything else, and every solver, follows from them.

    Args:
        timesteps: number T of noise levels.
        level_density: () to draw levels in training evenly, or mean and deviation of a normal variable whose logistic
            function is the drawn share of T.
    """

    straight = False  # whether states move at constant speed from noise to box, as Euler and Heun have it
    alphas: Tensor
    sigmas: Tensor

    def __init__(self, timesteps: int = 1000, level_density: Sequence[float] = ()):
        super().__init__()
        self.timesteps, self.level_density = timesteps, tuple(level_density)
        # Not in the state dict: they are fixed by the settings of the path.
        for name, values in zip(("alphas", "sigmas"), self.levels()):
            self.register_buffer(name, values, persistent=False)
        # Of a level that is a number the host computes: no device is asked, and none waits. The last are those of -1.
        ends = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        self._host_levels = [column.unbind() for column in torch.cat([torch.stack(self.levels()), ends], dim=1)]

    def levels(self) -> tuple[Tensor, Tensor]:
        """alpha, falling, and sigma, rising, of levels 0 to T - 1: (T,) float64 each."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NoisePath":
        """Follow the model to its device but keep float64 when it is cast to half precision."""
        super()._apply(fn, recurse)
        if self.alphas.dtype != torch.float64:
            self.alphas, self.sigmas = (exact.to(self.alphas.device) for exact in self.levels())
        return self

    def coefficients(self, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t, float64, shaped like t; t = -1 is the clean end, where they are 1 and 0.

        Of a number t they are scalars on the CPU, which may meet tensors of any device.
        """
        if isinstance(t, int):
            return self._host_levels[0][t], self._host_levels[1][t]
        noisy, index = t >= 0, t.clamp(min=0)
        return torch.where(noisy, self.alphas[index], 1.0), torch.where(noisy, self.sigmas[index], 0.0)

    def log_snr(self, t: int) -> Tensor:
        """Half the logarithm of the signal-to-noise ratio, log(alpha / sigma); infinite where one of them is 0."""
        alpha, sigma = self.coefficients(t)
        return alpha.log() - sigma.log()

    def draw_level(self, device: torch.device | str) -> Tensor:
        """A level to train at, (1,) int64, from the global random state."""
        if not self.level_density:
            return torch.randint(0, self.timesteps, (1,), device=device)
        mean, deviation = self.level_density
        share = torch.sigmoid(mean + deviation * torch.randn(1, device=device))
        return (share * self.timesteps).long().clamp(max=self.timesteps - 1)

    def add_noise(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """Draw x_t given x_0.

        Args:
            x0, noise: (..., N, 4).
            t: one level, or one per leading index.
        Returns:
            like x0, float64.
        """
        alpha, sigma = self.coefficients(t)
        if not alpha.dim():  # which would leave the others in single precision
            x0, noise = x0.double(), noise.double()
        else:
            shape = alpha.shape + (1,) * (x0.dim() - alpha.dim())
            alpha, sigma = alpha.reshape(shape), sigma.reshape(shape)
        return alpha * x0 + sigma * noise

    def noise_from(self, x: Tensor, x0: Tensor, t: int) -> Tensor:
        """The noise that turns x0 into x at level t, float64 (DDIM's epsilon for a network that predicts x0)."""
        alpha, sigma = self.coefficients(t)
        return (x - alpha * x0) / sigma


@TRANSPORT_REGISTRY.register(name="diffusion")
class CosineSchedule(NoisePath):
    """Noise levels of the variance-preserving diffusion: alpha^2 + sigma^2 = 1, alpha^2 by the cosine schedule."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """abar = alpha^2, (T,) float64."""
        return cosine_alphas_cumprod(self.timesteps).to(self.alphas.device)

    def levels(self) -> tuple[Tensor, Tensor]:
        """Square roots of abar and 1 - abar."""
        abar = cosine_alphas_cumprod(self.timesteps)
        return abar.sqrt(), (1 - abar).sqrt()


@TRANSPORT_REGISTRY.register(name="flow")
class FlowPath(NoisePath):
    """Straight path of flow matching, x_t = (1 - sigma) x_0 + sigma noise: the last level is noise alone.

    Args:
        shift: above 1, levels are noisier: sigma = shift u / (1 + (shift - 1) u) at the share u = (t + 1) / T.
        same_snr: take the signal-to-noise ratio of each level from the cosine schedule instead.
    Source: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; shift and logit-normal levels: Esser et
        al., Scaling Rectified Flow Transformers, ICML 2024, Sections 3.1 and 5.3.2.
    """

    straight = True

    def __init__(
        self,
        timesteps: int = 1000,
        level_density: Sequence[float] = (),
        shift: float = 1.0,
        same_snr: bool = False,
    ):
        self.shift, self.same_snr = shift, same_snr
        super().__init__(timesteps, level_density)

    def levels(self) -> tuple[Tensor, Tensor]:
        """1 - sigma, and sigma."""
        if self.same_snr:
            abar = cosine_alphas_cumprod(self.timesteps)
            ratio = (1 / abar - 1).sqrt()
            return 1 / (1 + ratio), ratio / (1 + ratio)
        share = torch.arange(1, self.timesteps + 1, dtype=torch.float64) / self.timesteps
        sigma = self.shift * share / (1 + (self.shift - 1) * share)
        return 1 - sigma, sigma


def boxes_to_state(boxes_xyxy: Tensor, image_whwh: Tensor, prior: BoxPrior) -> Tensor:
    """Pixel boxes to diffusion states.

    Args:
        boxes_xyxy: (..., N, 4) pixels.
        image_whwh: (..., 4) width, height, width, height of the unpadded image.
    Returns:
        (..., N, 4), unclamped.
    """
    unit = boxes_xyxy / image_whwh[..., None, :]
    x1, y1, x2, y2 = unit.unbind(-1)
    return prior.encode(torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=-1))


def state_to_boxes(state: Tensor, image_whwh: Tensor, prior: BoxPrior) -> Tensor:
    """Diffusion states to pixel boxes, which are clamped to those of the prior.

    Returns:
        (..., N, 4) xyxy pixels, of the state's dtype.
    """
    cx, cy, w, h = prior.decode(state).unbind(-1)
    unit = torch.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)
    return unit * image_whwh[..., None, :]


def random_unit_boxes(count: int, device: torch.device | str, generator: torch.Generator | None = None) -> Tensor:
    """Boxes (cx, cy, w, h) around the image centre that fill up the queries in training.

    Returns:
        (count, 4) in units of the image, mean 0.5 and deviation 1/6, sides at least 1e-4.
    """
    return unit_boxes(torch.randn(count, 4, device=device, generator=generator))


def unit_boxes(normal: Tensor) -> Tensor:
    """Standard normal numbers (..., 4) as boxes of `random_unit_boxes`."""
    boxes = normal / 6.0 + 0.5
    return torch.cat([boxes[..., :2], boxes[..., 2:].clamp(min=1e-4)], dim=-1)
