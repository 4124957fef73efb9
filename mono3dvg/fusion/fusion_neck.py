"""Fusion neck: the backbone's maps and a sentence become one fine map for each sentence, in stages, coarse to fine.

Letters: B images, N sentences of all images, T words, D channels; maps are given from fine to coarse.

    coarsest map   lateral -> stage 1 -> merge -+
    next finer     lateral -> + raised <--------+ -> stage 2 -> merge -+
    next finer     lateral -> + raised <-------------------------------+ -> stage 3 -> merge -+
    finer ones     lateral -> merge <- raised <-----------------------------------------------+

Every stage takes the words that the one before has updated. `merge` convolves the image's own map and the fused one.
Maps finer than those of the last stage are merged without a fusion of their own: at four times the pixels it would cost
more than all stages together, and what the sentence says arrives from below. There the image's map is convolved once
for all its sentences, and the fused one before it is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures.tensor_record import rows_for_each
from d2road.utils.errors import ConfigError
from d2road.utils.uploads import upload
from mono3dvg.fusion.fusion_registry import build_fusion


@dataclass
class NeckOutput:
    """What the neck returns: the finest map (N, D, H, W), words (N, T, D), zero at padding, and sentences (N, D)."""

    map: Tensor
    words: Tensor
    sentence: Tensor


class FusionNeck(nn.Module):
    """Fuse maps of several strides with the words of sentences.

    No norm looks beyond one pixel, so that neither the other sentences nor the size to which a batch is filled up
    change a result, up to the reach of the 3x3 convolutions at the border.

    Args:
        in_channels: of the maps, fine to coarse.
        dim: D, of words, of all fused maps and of the result.
        fusion: name in `mono3dvg.fusion.fusion_registry.FUSION_REGISTRY`.
        stages: 0 to the number of maps; the first works on the coarsest map. With 0 the map ignores the sentence.
        options: of the fusion.
    Raises:
        ValueError: no maps, stages out of range, what `build_fusion` refuses.
    """

    def __init__(
        self, in_channels: Sequence[int], dim: int, fusion: str = "text_conditioned", stages: int = 3, **options: Any
    ):
        super().__init__()
        if not in_channels:
            raise ValueError("FusionNeck: in_channels is empty, expected the channels of one map at least")
        if not 0 <= stages <= len(in_channels):
            raise ConfigError(
                f"FusionNeck: {stages} stages for {len(in_channels)} maps, expected 0 to {len(in_channels)}"
            )
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), PixelNorm(dim)) for channels in in_channels
        )
        self.stages = nn.ModuleList(build_fusion(fusion, dim, **options) for _ in range(stages))
        self.fused_levels = max(stages, 1)  # from the coarsest on; without stages there is still a map to begin with
        first_raised = len(in_channels) - self.fused_levels
        self.merge = nn.ModuleList(Merge(dim, 1 if level < first_raised else 3) for level in range(len(in_channels)))
        self.norm_sentence = nn.LayerNorm(dim)

    def forward(
        self,
        maps: Sequence[Tensor],
        image_of: Tensor,
        words: Tensor,
        mask: Tensor,
        relevance: Tensor | None = None,
        inside: Tensor | None = None,
    ) -> NeckOutput:
        """Fuse.

        Args:
            maps: (B, C_l, H_l, W_l), fine to coarse.
            image_of: (N,) long, the image of each sentence.
            words: (N, T, D); mask: (N, T) bool, True for words.
            relevance: (N, T) in [0, 1]; a word of relevance 0 has no effect.
            inside: (B, H, W) bool of any size, True in the image, False in what fills it up.
        Returns:
            Map of the size of the finest given one.
        Raises:
            ValueError: another number of maps than of in_channels.
        """
        if len(maps) != len(self.lateral):
            raise ValueError(f"FusionNeck: got {len(maps)} maps, expected {len(self.lateral)}, fine to coarse")
        # Without stages nothing depends on the sentence: work an image, not a sentence.
        rows = image_of if self.stages else torch.arange(maps[0].shape[0], device=maps[0].device)
        words = words.masked_fill(~mask.unsqueeze(-1), 0)
        fused: Tensor | None = None
        for step, level in enumerate(reversed(range(len(maps)))):
            image = self.lateral[level](channels_last(maps[level]))
            if step < self.fused_levels:
                visual = repeat_rows(image, rows)
                fused = visual if fused is None else visual + resize(fused, visual.shape[-2:])
            assert fused is not None  # the coarsest map is fused
            if step < len(self.stages):
                within = None if inside is None else rows_for_each(_resize_mask(inside, fused.shape[-2:]), rows)
                words, fused = self.stages[step](words, mask, fused, relevance, within)
            fused = self.merge[level](image, fused, rows)
        assert fused is not None
        return NeckOutput(
            fused if self.stages else repeat_rows(fused, image_of), words, self._sentence(words, mask, relevance)
        )

    def _sentence(self, words: Tensor, mask: Tensor, relevance: Tensor | None) -> Tensor:
        """Mean of the words, weighted by their relevance, (N, D)."""
        weight = (mask if relevance is None else relevance.masked_fill(~mask, 0)).to(words.dtype).unsqueeze(-1)
        return self.norm_sentence((words * weight).sum(1) / weight.sum(1).clamp(min=1e-6))


class Merge(nn.Module):
    """3x3 convolution of the image's map and a convolution of the fused one side by side, pixel norm, ReLU.

    The convolution of the two is the sum of a convolution of each; that of the image is done once for its sentences,
    and that of a coarser fused map before it is raised.

    Args:
        kernel: of the convolution of the fused map; 1 where it is coarser.
    """

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.image = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.fused = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, bias=False)
        self.norm = PixelNorm(dim)

    def forward(self, image: Tensor, fused: Tensor, rows: Tensor) -> Tensor:
        """(B, D, H, W), (N, D, h, w) and the image of each row (N,) to (N, D, H, W)."""
        own = repeat_rows(self.image(image), rows)
        return F.relu(self.norm(own + resize(self.fused(fused), own.shape[-2:])))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(N, D, h, w) to (N, D, H, W)."""
    if all(_is_known_equal(*sides) for sides in zip(x.shape[-2:], size)):
        return x
    return F.interpolate(x, list(size), mode="bilinear", align_corners=False)


def _is_known_equal(one: Any, other: Any) -> bool:
    """Whether two sides are equal; of sides that an exported graph leaves open, whether they must be."""
    if not isinstance(one, torch.SymInt) and not isinstance(other, torch.SymInt):
        return bool(one == other)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(one == other)


def channels_last(x: Tensor) -> Tensor:
    """(N, D, H, W) with the channels of a pixel side by side in memory, which a traced graph does not know."""
    return x if torch.jit.is_tracing() else x.contiguous(memory_format=torch.channels_last)


class _RepeatRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        total = grad.new_zeros(ctx.count, *grad.shape[1:])
        if grad.device.type != "cpu":
            return total.index_add(0, rows, grad), None
        for n, row in enumerate(rows.tolist()):
            total[row] += grad[n]
        return total, None


def repeat_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] of large rows; the gradient is added row by row, which torch does number by number on a CPU.

    Args:
        x: (B, ...); rows: (N,) long.
    """
    return _RepeatRows.apply(x, rows) if x.requires_grad else rows_for_each(x, rows)


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel of (N, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _resize_mask(inside: Tensor, size: Sequence[int]) -> Tensor:
    """(B, H, W) bool at another size; a pixel is inside if its centre is."""
    rows, columns = (  # by the host
        upload(torch.div((2 * torch.arange(new) + 1) * old, 2 * new, rounding_mode="floor"), inside.device)
        for new, old in zip(size, inside.shape[-2:])
    )
    return inside[:, rows[:, None], columns]
