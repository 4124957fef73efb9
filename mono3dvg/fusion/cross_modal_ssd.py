"""Cross-modal selective state space block: words write a state, pixels read it, and may write into it too.

Letters: N sentences, T words, L = H * W pixels, D channels, h heads, p channels of a head, n size of the state.

    x, B, step <- words      S = final state of the words, both directions summed, over its root mean square
    C, z       <- pixels     pixel <- pixel + out(C S * SiLU(z))

Three fusion variants, by how the visual side enters the state:

- unidirectional: pixels only read. The same as a scan over [words; pixels] in which pixels have steps of length zero.
- bidirectional: pixels are scanned after the words, with x, B and step of their own.
- text_conditioned: likewise, but B and step of a pixel come from what it reads of the sentence: what the sentence asks
  for is written.

In the latter two the words read the state that the pixels leave, so that each stream takes from the other.

Differs from a Mamba-2 layer on the visual side: the state is normalised, not what each pixel reads of it, so that how
well a pixel matches the sentence survives (and it costs next to nothing); and the residual takes the place of D x.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.mamba2 import BidirectionalMamba2
from d2road.layers.map_scan import check_directions, fading_rates, read_state, scan_map
from d2road.utils.errors import ConfigError
from mono3dvg.fusion.fusion_registry import FUSION_REGISTRY

VARIANTS = ("text_conditioned", "unidirectional", "bidirectional")


class CrossModalSSD(nn.Module):
    """One exchange between the words of a sentence and a map, both residual.

    Args:
        dim: D of both streams.
        variant: "text_conditioned" | "unidirectional" | "bidirectional".
        heads, head_dim, state_dim: h, p, n.
        a_range: initial rates of fading of words and pixels: near zero, or early words fade under a long sentence.
        dt_range: initial steps of words.
        map_dt_range: initial steps of all pixels together: each has its share, so that a finer map writes no more.
        directions: in which pixels are passed, see `scan_map`; without effect on "unidirectional".
        chunk_size, backend: see `d2road.layers.ssd`.
    Raises:
        ValueError: unknown variant or directions, or a size that `Mamba2` refuses.
    """

    def __init__(
        self,
        dim: int,
        variant: str = "unidirectional",
        heads: int = 4,
        head_dim: int = 16,
        state_dim: int = 32,
        a_range: tuple[float, float] = (1e-3, 5e-3),
        dt_range: tuple[float, float] = (1e-2, 0.2),
        map_dt_range: tuple[float, float] = (0.5, 8.0),
        directions: int = 2,
        chunk_size: int = 32,
        backend: str = "auto",
    ):
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(f"CrossModalSSD: variant is {variant!r}, expected one of {list(VARIANTS)}")
        check_directions(directions)
        self.variant, self.heads, self.head_dim, self.state_dim = variant, heads, head_dim, state_dim
        self.directions, self.chunk_size, self.backend = directions, chunk_size, backend
        self.inner = heads * head_dim
        self.norm_words, self.norm_pixels = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.words = BidirectionalMamba2(
            dim, heads=heads, head_dim=head_dim, state_dim=state_dim, a_range=a_range, dt_range=dt_range,
            chunk_size=chunk_size, backend=backend,
        )  # fmt: skip
        self.pixels = nn.Linear(dim, self.inner + state_dim)  # z, C
        self.out = nn.Linear(self.inner, dim, bias=False)
        if variant == "unidirectional":
            return
        self.x_proj = nn.Linear(dim, self.inner, bias=False)  # x of the pixels
        # B and step of a pixel, from itself or from what it has read of the sentence.
        self.context_norm = nn.LayerNorm(self.inner) if variant == "text_conditioned" else nn.Identity()
        self.selection_proj = nn.Linear(
            self.inner if variant == "text_conditioned" else dim, state_dim + heads, bias=False
        )
        self.A_log = fading_rates(heads, a_range, directions)
        step = torch.empty(heads).uniform_(math.log(map_dt_range[0]), math.log(map_dt_range[1])).exp()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(dt_bias) = step
        self.text_read_proj = nn.Linear(dim, self.inner + state_dim)  # z, C of the words
        self.text_out = nn.Linear(self.inner, dim, bias=False)

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mono3dvg.fusion.fusion_registry`."""
        padding = ~mask.unsqueeze(-1)
        words = words.masked_fill(padding, 0)
        size = (visual.shape[2], visual.shape[3])
        tokens = visual.flatten(2).transpose(1, 2)  # (N, L, D)
        normal_words, normal = self.norm_words(words), self.norm_pixels(tokens)
        mixed, state = self.words(normal_words, valid=mask, step_gate=relevance, return_final_states=True)
        words, state = words + mixed, normalize_state(state).to(tokens.dtype)
        z, C = self.pixels(normal).split([self.inner, self.state_dim], dim=-1)
        C = F.silu(C).unsqueeze(2)
        y = read_state(C, state)
        if self.variant != "unidirectional":
            x, dt, B = self._writing(normal, y, inside)
            y, state = scan_map(
                x, dt, self.A_log, B, C, size, self.directions, initial_states=state,
                chunk_size=self.chunk_size, backend=self.backend,
            )  # fmt: skip
            words = words + self._read_by_words(normal_words, state).masked_fill(padding, 0)
        tokens = tokens + self.out(y.flatten(2) * F.silu(z))
        return words, tokens.transpose(1, 2).unflatten(2, size)

    def _writing(self, pixels: Tensor, context: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, L, h, p), steps (N, L, h), zero outside of the image, and B (N, L, 1, n) of the pixels."""
        source = self.context_norm(context.flatten(2)) if self.variant == "text_conditioned" else pixels
        B, dt = self.selection_proj(source).split([self.state_dim, self.heads], dim=-1)
        dt = F.softplus(dt + self.dt_bias)
        if inside is None:
            dt = dt / pixels.shape[1]
        else:
            inside = inside.flatten(1).unsqueeze(-1)  # (N, L, 1)
            dt = dt.masked_fill(~inside, 0) / inside.sum(1, keepdim=True).clamp(min=1)
        x = F.silu(self.x_proj(pixels)).unflatten(-1, (self.heads, self.head_dim))
        return x, dt, F.silu(B).unsqueeze(2)

    def _read_by_words(self, words: Tensor, state: Tensor) -> Tensor:
        """What the words (N, T, D) read of the state that the pixels have left."""
        z, C = self.text_read_proj(words).split([self.inner, self.state_dim], dim=-1)
        y = read_state(F.silu(C).unsqueeze(2), normalize_state(state))
        return self.text_out(y.flatten(2) * F.silu(z))


def normalize_state(state: Tensor, eps: float = 1e-6) -> Tensor:
    """A state (N, h, p, n) over its root mean square, a sentence: how much was written does not matter, but what.

    It is also divided by the square root of n, so that what is read has the size of C.
    """
    scale = state.square().mean(dim=(1, 2, 3), keepdim=True).add(eps**2).rsqrt()
    return state * (scale / math.sqrt(state.shape[-1]))


for _variant in VARIANTS:
    FUSION_REGISTRY.register(partial(CrossModalSSD, variant=_variant), name=_variant)
