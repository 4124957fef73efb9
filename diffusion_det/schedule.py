"""The forward diffusion of boxes: noise levels, and the map between boxes and diffusion states.

Letters: B images, N boxes an image, T = 1000 noise levels. A diffusion state is a box (cx, cy, w, h), each divided by
the image's width or height, mapped from [0, 1] to [-scale, scale].

    t = -1: clean boxes        x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise        t = T - 1: pure noise
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


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


class CosineSchedule(nn.Module):
    """Noise levels of the variance-preserving diffusion; all arithmetic in float64.

    Args:
        timesteps: number T of noise levels.
    """

    alphas_cumprod: Tensor

    def __init__(self, timesteps: int = 1000):
        super().__init__()
        self.timesteps = timesteps
        # Not in the state dict: it is fixed by `timesteps`.
        self.register_buffer("alphas_cumprod", cosine_alphas_cumprod(timesteps), persistent=False)
        # Of a level that is a number the host computes: no device is asked, and none waits. The last is that of -1.
        self._host_levels = torch.cat([cosine_alphas_cumprod(timesteps), torch.ones(1, dtype=torch.float64)]).unbind()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CosineSchedule":
        """Follow the model to its device but keep float64 when it is cast to half precision."""
        super()._apply(fn, recurse)
        if self.alphas_cumprod.dtype != torch.float64:
            exact = cosine_alphas_cumprod(self.timesteps)
            self.alphas_cumprod = exact.to(self.alphas_cumprod.device)
        return self

    def signal(self, t: Tensor | int) -> Tensor:
        """abar at t, float64, shaped like t; t = -1 is the clean end, where it is 1.

        Of a number t it is a scalar on the CPU, which may meet tensors of any device.
        """
        if isinstance(t, int):
            return self._host_levels[t]
        return torch.where(t >= 0, self.alphas_cumprod[t.clamp(min=0)], 1.0)

    def add_noise(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """Draw x_t given x_0.

        Args:
            x0, noise: (..., N, 4).
            t: one level, or one per leading index.
        Returns:
            like x0, float64.
        """
        abar = self.signal(t)
        if not abar.dim():  # which would leave the others in single precision
            x0, noise = x0.double(), noise.double()
        else:
            abar = abar.reshape(abar.shape + (1,) * (x0.dim() - abar.dim()))
        return abar.sqrt() * x0 + (1 - abar).sqrt() * noise

    def noise_from(self, x: Tensor, x0: Tensor, t: int) -> Tensor:
        """The noise that turns x0 into x at level t, float64 (DDIM's epsilon for a network that predicts x0)."""
        abar = self.signal(t)
        return ((1 / abar).sqrt() * x - x0) / (1 / abar - 1).sqrt()


def boxes_to_state(boxes_xyxy: Tensor, image_whwh: Tensor, scale: float) -> Tensor:
    """Pixel boxes to diffusion states.

    Args:
        boxes_xyxy: (..., N, 4) pixels.
        image_whwh: (..., 4) width, height, width, height of the unpadded image.
        scale: signal scale (MODEL.DiffusionDet.SNR_SCALE).
    Returns:
        (..., N, 4), unclamped.
    """
    unit = boxes_xyxy / image_whwh[..., None, :]
    x1, y1, x2, y2 = unit.unbind(-1)
    unit = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=-1)
    return (unit * 2 - 1) * scale


def state_to_boxes(state: Tensor, image_whwh: Tensor, scale: float) -> Tensor:
    """Diffusion states to pixel boxes; the state is clamped to [-scale, scale] first.

    Returns:
        (..., N, 4) xyxy pixels, of the state's dtype.
    """
    unit = (state.clamp(-scale, scale) / scale + 1) / 2
    cx, cy, w, h = unit.unbind(-1)
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
