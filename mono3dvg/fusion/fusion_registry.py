"""Ways in which a sentence and a map take from each other, by name.

Each is a module of one exchange, called as

    words, visual = fusion(words, mask, visual, relevance, inside)

    words      (N, T, D); padding may hold anything and becomes zero
    mask       (N, T) bool, True for words, which come first
    visual     (N, D, H, W), a map for every sentence
    relevance  (N, T) in [0, 1] of `TextFilter`, or None: a word of relevance 0 is not heard
    inside     (N, H, W) bool, True in the image, False where it was filled up to the size of the batch, or None

and returns both of the same shapes. Padding is neutral, a sentence does not depend on the others of its batch, and the
cost is linear in words and in pixels (in their product with "cross_attention").
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from mono3dvg.fusion.cross_attention import CrossAttention
from mono3dvg.fusion.cross_modal_ssd import READINGS, CrossModalSSD
from mono3dvg.fusion.mamba_fusion import MambaFusion


class NoFusion(nn.Module):
    """Neither takes from the other."""

    def __init__(self, dim: int):
        super().__init__()

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Words with zeros at padding, and the map as it is."""
        return words.masked_fill(~mask.unsqueeze(-1), 0), visual


FUSIONS: dict[str, Callable[..., nn.Module]] = {
    **{reading: partial(CrossModalSSD, reading=reading) for reading in READINGS},
    "cross_attention": CrossAttention,
    "mamba_fusion": MambaFusion,
    "none": NoFusion,
}


def build_fusion(name: str, dim: int, **options) -> nn.Module:
    """The fusion ``name`` for streams of ``dim`` channels.

    Args:
        options: those of the module that have another value than by default.
    Raises:
        ValueError: unknown name, or options that it does not have.
    """
    if name not in FUSIONS:
        raise ConfigError(f"fusion is {name!r}, expected one of {', '.join(FUSIONS)}")
    try:
        return FUSIONS[name](dim, **options)
    except TypeError as error:
        raise ConfigError(f"fusion {name!r} does not take these options {sorted(options)}: {error}") from error
