"""Fusion by guided scans, as Mamba-YOLO-World does it, for comparison.

Letters: N sentences, T words, L = H * W pixels, D channels, h heads, p channels of a head, n size of the state.

    words  <- words + text scan of the words              its final state is n guides of h * p channels
    pixels <- pixels + scan of [guides; pixels]           parallel guidance: before the pixels of every direction
    words  <- words + text scan of [visual; words]          serial guidance: the pixels' final state, as n tokens

Source: Wang et al., Mamba-YOLO-World, ICASSP 2025, from its description. Differs: one exchange is the whole of it, for
one map, so that it stacks as the others do (there, words are guided once by the states of all levels); plain 1x1
projections in place of CSP blocks; gradients pass through the states unless `detach`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.mamba2 import GatedRMSNorm, Mamba2
from d2road.layers.map_scan import check_directions, fading_rates, scan_map
from mono3dvg.fusion.fusion_registry import FUSION_REGISTRY


@FUSION_REGISTRY.register(name="mamba_fusion")
class MambaFusion(nn.Module):
    """One exchange between words and a map through the final states of their scans.

    Args:
        dim: D of both streams.
        heads, head_dim, state_dim: h, p, n.
        a_range, dt_range: as published for Mamba-2.
        directions: in which a map is scanned, see `scan_map`; 4 is published.
        detach: as published, no gradient passes through the states, so that the sentence learns nothing by guiding.
        chunk_size, backend: see `d2road.layers.ssd`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        head_dim: int = 16,
        state_dim: int = 32,
        a_range: tuple[float, float] = (1.0, 16.0),
        dt_range: tuple[float, float] = (1e-3, 0.1),
        directions: int = 4,
        detach: bool = False,
        chunk_size: int = 32,
        backend: str = "auto",
    ):
        super().__init__()
        check_directions(directions)
        self.heads, self.head_dim, self.state_dim = heads, head_dim, state_dim
        self.directions, self.detach, self.chunk_size, self.backend = directions, detach, chunk_size, backend
        inner, written = heads * head_dim, heads * head_dim + 2 * state_dim + heads
        options: dict[str, Any] = {
            "heads": heads, "head_dim": head_dim, "state_dim": state_dim, "kernel": 3, "a_range": a_range,
            "dt_range": dt_range, "chunk_size": chunk_size, "backend": backend,
        }  # fmt: skip
        self.norm_words, self.norm_guided, self.norm_pixels = (nn.LayerNorm(dim) for _ in range(3))
        self.words, self.guided = Mamba2(dim, **options), Mamba2(dim, **options)
        self.text_guide, self.visual_guide = nn.Linear(inner, inner), nn.Linear(inner, dim)
        self.guide_proj = nn.Linear(inner, written, bias=False)  # x, B, C, step
        self.pixel_proj = nn.Linear(dim, inner + written, bias=False)  # z, x, B, C, step
        self.A_log = fading_rates(heads, a_range, directions)
        step = torch.empty(heads).uniform_(math.log(dt_range[0]), math.log(dt_range[1])).exp()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(dt_bias) = step
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = GatedRMSNorm(inner)
        self.out = nn.Linear(inner, dim, bias=False)

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mono3dvg.fusion.fusion_registry`."""
        size = (visual.shape[2], visual.shape[3])
        tokens = visual.flatten(2).transpose(1, 2)  # (N, L, D)
        words = words.masked_fill(~mask.unsqueeze(-1), 0)
        mixed, state = self.words(self.norm_words(words), mask, relevance, return_final_states=True)
        words = words + mixed

        guides = self.text_guide(self._as_tokens(state))  # (N, n, h * p)
        z, pixels = self.pixel_proj(self.norm_pixels(tokens)).tensor_split([guides.shape[-1]], dim=-1)
        x, dt, B, C = self._writing(pixels)
        if inside is not None:
            dt = dt.masked_fill(~inside.flatten(1).unsqueeze(-1), 0)
        y, state = scan_map(
            x, dt, self.A_log, B, C, size, self.directions, prefix=self._writing(self.guide_proj(guides)),
            chunk_size=self.chunk_size, backend=self.backend,
        )  # fmt: skip
        y = y + x * self.skip.unsqueeze(-1)
        tokens = tokens + self.out(self.norm(y.flatten(2), z))

        visual_guides = self.visual_guide(self._as_tokens(state))  # (N, n, D)
        words = words + self._guide_words(words, mask, visual_guides, relevance)
        return words, tokens.transpose(1, 2).unflatten(2, size)

    def _guide_words(self, words: Tensor, mask: Tensor, visual_guides: Tensor, relevance: Tensor | None) -> Tensor:
        """A scan of [visual guides; words], of which the words are kept; zero at padding."""
        count = visual_guides.shape[1]
        tokens = self.norm_guided(torch.cat([visual_guides, words], dim=1))
        gate = None if relevance is None else F.pad(relevance, (count, 0), value=1.0)
        return self.guided(tokens, F.pad(mask, (count, 0), value=True), gate)[:, count:]

    def _as_tokens(self, state: Tensor) -> Tensor:
        """A state (N, h, p, n) as n tokens of h * p channels."""
        state = state.detach() if self.detach else state
        return state.flatten(1, 2).transpose(1, 2)

    def _writing(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (N, S, h, p), steps (N, S, h), B and C (N, S, 1, n)."""
        inner = self.heads * self.head_dim
        x, B, C, dt = projected.split([inner, self.state_dim, self.state_dim, self.heads], dim=-1)
        x = F.silu(x).unflatten(-1, (self.heads, self.head_dim))
        return x, F.softplus(dt + self.dt_bias), F.silu(B).unsqueeze(2), F.silu(C).unsqueeze(2)
