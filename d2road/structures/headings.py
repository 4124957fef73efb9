"""Headings as bins with residuals, and the direction of image points over the ground."""

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_BINS = 12


def encode_heading(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) angles -> bin (P,) int64 whose centre is nearest, residual (P,) in half bin widths, -1..1."""
    width = 2 * torch.pi / NUM_BINS
    bins = (alpha / width).round()
    return bins.long() % NUM_BINS, (alpha - bins * width) / (width / 2)


def decode_heading(bins: Tensor, residuals: Tensor) -> Tensor:
    """Logits and residuals (P, 12) -> angles (P,): that of the best bin."""
    best = bins.argmax(-1, keepdim=True)
    return (best + residuals.gather(-1, best) / 2)[..., 0] * (2 * torch.pi / NUM_BINS)


def heading_loss(bins: Tensor, residuals: Tensor, alpha: Tensor) -> Tensor:
    """(P,) cross entropy of the bin logits (P, 12) plus the error of the true bin's residual, for angles (P,)."""
    bin_, residual = encode_heading(alpha)
    at_bin = residuals.gather(1, bin_[:, None])[:, 0]
    return F.cross_entropy(bins, bin_, reduction="none") + (at_bin - residual).abs()


def azimuth(xy: Tensor, frame: Tensor) -> Tensor:
    """(P,) direction of the rays through normalised points (P, 2) in their ground frames, 0 ahead, positive right."""
    ray = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)
    level = (frame.transpose(1, 2) @ ray[:, :, None])[..., 0]
    return torch.atan2(level[:, 0], level[:, 2])
