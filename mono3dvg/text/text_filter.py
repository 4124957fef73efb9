"""Text filter: a selective state space model over the words whose step is scaled by a learned token relevance."""

from typing import Any

import torch
from torch import Tensor, nn

from d2road.layers.mamba2 import BidirectionalMamba2

# A gate starts nearly open (0.88): every word has its effect until training tells which are not needed.
GATE_BIAS = 2.0


class TextFilter(nn.Module):
    """Bidirectional Mamba-2 over the words, residual, with a relevance in [0, 1] that multiplies each word's step.

    A word of relevance 0 writes nothing into the state and fades nothing in it. Padding is exactly neutral.

    Args:
        dim: channels of the words.
        gate: learn relevances; otherwise every word has relevance 1.
        heads, head_dim, state_dim, options: as `d2road.layers.Mamba2`; rates start near zero, so that a long sentence
            is not forgotten.
    """

    def __init__(
        self,
        dim: int,
        gate: bool = True,
        heads: int = 4,
        head_dim: int = 16,
        state_dim: int = 32,
        a_range: tuple[float, float] = (1e-3, 5e-3),
        dt_range: tuple[float, float] = (1e-2, 0.2),
        **options: Any,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixer = BidirectionalMamba2(
            dim, heads=heads, head_dim=head_dim, state_dim=state_dim, a_range=a_range, dt_range=dt_range, **options
        )
        self.gate: nn.Sequential | None = None
        if gate:
            hidden, output = nn.Linear(dim, dim), nn.Linear(dim, 1)
            nn.init.constant_(output.bias, GATE_BIAS)
            self.gate = nn.Sequential(hidden, nn.SiLU(), output)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the words of each sentence.

        Args:
            features: (N, T, D); padding may hold anything.
            mask: (N, T) bool, True for words.
        Returns:
            (N, T, D) and the relevance (N, T) in [0, 1]; both zero at padding.
        """
        features = features.masked_fill(~mask.unsqueeze(-1), 0)
        normal = self.norm(features)
        relevance = torch.ones_like(features[..., 0]) if self.gate is None else self.gate(normal).squeeze(-1).sigmoid()
        relevance = relevance.masked_fill(~mask, 0)
        mixed = self.mixer(normal, valid=mask, step_gate=relevance)
        return features + mixed, relevance
