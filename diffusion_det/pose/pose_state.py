"""Pose as part of the diffusion state: eight channels beside each box, noised and denoised with it.

    bottom offset (2), log depth, log-ratios of h, w, l (3), sin and cos of the heading against the ray

Each is centred and scaled to about unit variance, since they differ in scale; then all are multiplied by the signal
scale. A condition embedding that starts at zero tells the decoder of them: an untrained one is the read-out
without state.
Source: MonoDiff (Ranasinghe et al., CVPR 2024) for the need of scaling by kind; the rest is ours.
"""

import torch
from torch import Tensor, nn

from diffusion_det.schedule import NoisePath

STATE_SIZE = 8
# Offset of the bottom in box sides, log metres, log-ratios, sine and cosine.
CENTER = (0.0, -0.15, 3.7, 0.0, 0.0, 0.0, 0.0, 0.0)
SPREAD = (0.1, 0.1, 0.6, 0.12, 0.12, 0.12, 0.7, 0.7)
LIMIT = 3.0  # states are clamped to so many deviations


def encode_state(bottom: Tensor, log_depth: Tensor, log_ratio: Tensor, alpha: Tensor, scale: float) -> Tensor:
    """bottom (..., 2), log depth (...), log-ratio (..., 3), alpha (...) -> (..., 8)."""
    numbers = [bottom, log_depth[..., None], log_ratio, alpha.sin()[..., None], alpha.cos()[..., None]]
    values = torch.cat(numbers, dim=-1)
    return ((values - values.new_tensor(CENTER)) / values.new_tensor(SPREAD)).clamp(-LIMIT, LIMIT) * scale


def noisy_states(clean: Tensor, present: Tensor, t: Tensor, schedule: NoisePath, scale: float) -> Tensor:
    """States for training; boxes without an object start from a random pose.

    Args:
        clean: (B, N, 8), present (B, N): whether there is an object; t (B,) noise levels.
    """
    clean = torch.where(present[..., None], clean, scale * torch.randn_like(clean))
    return schedule.add_noise(clean, t, torch.randn_like(clean)).to(clean.dtype)


class StateEmbedding(nn.Module):
    """States (B, N, 8) -> condition embeddings (B, N, C) to the decoder's queries; zero before training."""

    def __init__(self, dim: int):
        super().__init__()
        self.hidden, self.output = nn.Linear(STATE_SIZE, dim), nn.Linear(dim, dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, state: Tensor) -> Tensor:
        return self.output(torch.relu(self.hidden(state.to(self.hidden.weight.dtype))))
