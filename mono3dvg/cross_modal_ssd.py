"""A sentence and a map in one state space model: words write a state, pixels read it, and may write into it too.

Letters: N sentences, T words, L = H * W pixels, D channels, h heads, p channels of a head, n size of the state.

    x, B, step <- words      S = final state of the words, both directions summed
    C          <- pixels     y_pixel = C S + skip * x_pixel

Three readings of how the visual side enters the state:

- frozen: pixels only read. The same as a scan over [words; pixels] in which pixels have steps of length zero.
- learned: pixels are scanned after the words, with x, B and step of their own.
- joint: likewise, but B and step of a pixel come from what it reads of the sentence: what the sentence asks for is
  written.

In the latter two the words read the state that the pixels leave, so that each stream takes from the other.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2ext.layers.mamba2 import BidirectionalMamba2, GatedRMSNorm

from .map_scan import read_state, scan_map

READINGS = ("joint", "frozen", "learned")


class CrossModalSSD(nn.Module):
    """One exchange between the words of a sentence and a map, both residual.

    Args:
        dim: D of both streams.
        reading: "joint" | "frozen" | "learned".
        heads, head_dim, state_dim: h, p, n.
        a_range: initial rates of fading of words and pixels: near zero, or early words fade under a long sentence.
        dt_range: initial steps of words; pixel_dt_range: of pixels, shorter as there are many more of them.
        directions: in which a map is scanned, 1 | 2 | 4; without effect on "frozen".
        chunk_size, backend: see `d2ext.layers.ssd`.
    Raises:
        ValueError: unknown reading or directions, or a size that `Mamba2` refuses.
    """

    def __init__(
        self,
        dim: int,
        reading: str = "frozen",
        heads: int = 4,
        head_dim: int = 16,
        state_dim: int = 32,
        a_range: tuple[float, float] = (1e-3, 5e-3),
        dt_range: tuple[float, float] = (1e-2, 0.2),
        pixel_dt_range: tuple[float, float] = (1e-4, 1e-2),
        directions: int = 2,
        chunk_size: int = 32,
        backend: str = "auto",
    ):
        super().__init__()
        if reading not in READINGS:
            raise ValueError(f"CrossModalSSD: reading is {reading!r}, expected one of {list(READINGS)}")
        self.reading, self.heads, self.head_dim, self.state_dim = reading, heads, head_dim, state_dim
        self.directions, self.chunk_size, self.backend = directions, chunk_size, backend
        inner = heads * head_dim
        self.norm_words, self.norm_pixels = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.words = BidirectionalMamba2(
            dim, heads=heads, head_dim=head_dim, state_dim=state_dim, a_range=a_range, dt_range=dt_range,
            chunk_size=chunk_size, backend=backend,
        )  # fmt: skip
        self.pixels = nn.Linear(dim, 2 * inner + state_dim, bias=False)  # z, x, C
        # Zero at the start: what a pixel says of itself must not drown what it reads of the sentence.
        self.skip = nn.Parameter(torch.zeros(heads))
        self.norm = GatedRMSNorm(inner, eps=1e-6)
        self.out = nn.Linear(inner, dim, bias=False)
        if reading == "frozen":
            return
        # B and step of a pixel, from itself or from what it has read of the sentence.
        self.context_norm = nn.LayerNorm(inner) if reading == "joint" else nn.Identity()
        self.write = nn.Linear(inner if reading == "joint" else dim, state_dim + heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(*a_range).log())
        step = torch.empty(heads).uniform_(math.log(pixel_dt_range[0]), math.log(pixel_dt_range[1])).exp()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(dt_bias) = step
        self.read = nn.Linear(dim, inner + state_dim, bias=False)  # z, C of the words
        self.read_norm = GatedRMSNorm(inner, eps=1e-6)
        self.read_out = nn.Linear(inner, dim, bias=False)

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mono3dvg.fusion`."""
        words = words.masked_fill(~mask.unsqueeze(-1), 0)
        height, width = visual.shape[-2:]
        tokens = visual.flatten(2).transpose(1, 2)  # (N, L, D)
        normal_words, normal = self.norm_words(words), self.norm_pixels(tokens)
        mixed, state = self.words(normal_words, valid=mask, step_gate=relevance, return_final_states=True)
        words = words + mixed
        inner = self.heads * self.head_dim
        z, x, C = self.pixels(normal).split([inner, inner, self.state_dim], dim=-1)
        x, C = F.silu(x).unflatten(-1, (self.heads, self.head_dim)), F.silu(C).unsqueeze(2)
        if self.reading == "frozen":
            y = read_state(C, state)
        else:
            B, dt = self._writing(normal, C, state, inside)
            y, state = scan_map(
                x, dt, -self.A_log.exp(), B, C, (height, width), self.directions, initial_states=state,
                chunk_size=self.chunk_size, backend=self.backend,
            )  # fmt: skip
            words = words + self._read_by_words(normal_words, state).masked_fill(~mask.unsqueeze(-1), 0)
        y = y + x * self.skip.unsqueeze(-1)
        tokens = tokens + self.out(self.norm(y.flatten(2), z))
        return words, tokens.transpose(1, 2).unflatten(2, (height, width))

    def _writing(self, pixels: Tensor, C: Tensor, state: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """B (N, L, 1, n) and steps (N, L, h) of the pixels; the step is zero outside of the image."""
        source = self.context_norm(read_state(C, state).flatten(2)) if self.reading == "joint" else pixels
        B, dt = self.write(source).split([self.state_dim, self.heads], dim=-1)
        dt = F.softplus(dt + self.dt_bias)
        if inside is not None:
            dt = dt.masked_fill(~inside.flatten(1).unsqueeze(-1), 0)
        return F.silu(B).unsqueeze(2), dt

    def _read_by_words(self, words: Tensor, state: Tensor) -> Tensor:
        """What the words (N, T, D) read of the state that the pixels have left."""
        z, C = self.read(words).split([self.heads * self.head_dim, self.state_dim], dim=-1)
        y = read_state(F.silu(C).unsqueeze(2), state).flatten(2)
        return self.read_out(self.read_norm(y, z))
