"""Cross-attention between words and pixels: the usual way to fuse them, for comparison."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from mono3dvg.fusion.fusion_registry import FUSION_REGISTRY

# Attention to a word of relevance r is weighted by r; a logarithm of zero would have no gradient.
MIN_RELEVANCE = 1e-6


@FUSION_REGISTRY.register(name="cross_attention")
class CrossAttention(nn.Module):
    """Cross-attention of pixels to words and of words to pixels, both pre-norm and residual.

    Args:
        dim: D of both streams; `heads` divides it.
    Raises:
        ValueError: heads do not divide dim.
    """

    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(f"CrossAttention: {heads} heads do not divide {dim} channels")
        self.heads = heads
        self.norm_words, self.norm_pixels = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.words, self.pixels = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)  # query, key, value
        self.out_words, self.out_pixels = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mono3dvg.fusion.fusion_registry`."""
        padding = ~mask.unsqueeze(-1)
        words = words.masked_fill(padding, 0)
        tokens = visual.flatten(2).transpose(1, 2)  # (N, L, D)
        of_words, of_pixels = (
            self._split(self.words(self.norm_words(words))),
            self._split(self.pixels(self.norm_pixels(tokens))),
        )
        bias = words.new_zeros(mask.shape) if relevance is None else relevance.clamp(min=MIN_RELEVANCE).log()
        bias = bias.masked_fill(~mask, -torch.inf)[:, None, None]  # (N, 1, 1, T)
        to_words = F.scaled_dot_product_attention(of_pixels[0], of_words[1], of_words[2], attn_mask=bias)
        kept = None if inside is None else inside.flatten(1)[:, None, None]
        to_pixels = F.scaled_dot_product_attention(of_words[0], of_pixels[1], of_pixels[2], attn_mask=kept)
        tokens = tokens + self.out_pixels(to_words.transpose(1, 2).flatten(2))
        words = words + self.out_words(to_pixels.transpose(1, 2).flatten(2)).masked_fill(padding, 0)
        return words, tokens.transpose(1, 2).unflatten(2, visual.shape[-2:])

    def _split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """(N, S, 3 D) as query, key and value (N, heads, S, D / heads)."""
        return projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
