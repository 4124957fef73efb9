"""Fusion variants by name: modules in which the tokens of a sentence and the pixels of a map take from each other.

Each is a module of one exchange, registered with `@FUSION_REGISTRY.register(name="...")` and called as

    words, visual = fusion(words, mask, visual, relevance, inside)

    words      (N, T, D); padding may hold anything and becomes zero
    mask       (N, T) bool, True for words, which come first
    visual     (N, D, H, W), a map for every sentence
    relevance  (N, T) in [0, 1] of `TextFilter`, or None: a word of relevance 0 has no effect
    inside     (N, H, W) bool, True in the image, False where it was filled up to the size of the batch, or None

and returns both of the same shapes. Padding is neutral, a sentence does not depend on the others of its batch, and the
cost is linear in words and in pixels (in their product with "cross_attention").

Its first argument is D; from a config it is given those of `heads, head_dim, state_dim, chunk_size, backend`
(MODEL.MONO3DVG.SSD) and `directions` (MODEL.MONO3DVG.FUSION) that its constructor has.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry

FUSION_REGISTRY = Registry("fusion")


@FUSION_REGISTRY.register(name="none")
class NoFusion(nn.Module):
    """No fusion: neither stream takes from the other."""

    def __init__(self, dim: int):
        super().__init__()

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, relevance: Tensor | None = None, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Words with zeros at padding, and the map as it is."""
        return words.masked_fill(~mask.unsqueeze(-1), 0), visual


def build_fusion(name: str, dim: int, **options: Any) -> nn.Module:
    """The fusion ``name`` for streams of ``dim`` channels.

    Args:
        options: those of the module that have another value than by default.
    Raises:
        ConfigError: unknown name, or options that it does not have.
    """
    fusion = FUSION_REGISTRY.get(name)
    try:
        return fusion(dim, **options)
    except TypeError as error:
        raise ConfigError(f"fusion {name!r} does not take these options {sorted(options)}: {error}") from error


def accepted_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that the constructor of the fusion ``name`` has."""
    known = inspect.signature(FUSION_REGISTRY.get(name)).parameters
    return {key: value for key, value in options.items() if key in known}
