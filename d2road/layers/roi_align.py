"""RoIAlign over the levels of a feature pyramid.

Letters: B images, N boxes an image, C channels, P pooled side, H x W cells of a map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align


def assign_levels(
    boxes_xyxy: Tensor, min_level: int, max_level: int, canonical_size: float = 224.0, canonical_level: int = 4
) -> Tensor:
    """Pyramid level of each box: a box of `canonical_size` pixels goes to `canonical_level`, twice the size one up.

    Args:
        boxes_xyxy: (..., 4) pixels of the network input; sides may be negative.
        min_level, max_level: log2 of the smallest and largest stride.
    Returns:
        (...) int64 in [0, max_level - min_level].
    Source: Lin et al., Feature Pyramid Networks, CVPR 2017, Eq. 1.
    """
    wh = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    side = wh.prod(-1).sqrt()  # NaN where exactly one side is negative: such a box goes to the finest level
    level = torch.floor(canonical_level + torch.log2(side / canonical_size + 1e-8))
    return torch.nan_to_num(level, nan=min_level).clamp(min_level, max_level).to(torch.int64) - min_level


def multilevel_roi_align(
    features: Sequence[Tensor],
    boxes_xyxy: Tensor,
    strides: Sequence[int],
    output_size: int = 7,
    sampling_ratio: int = 2,
    canonical_size: float = 224.0,
    fixed_shapes: bool | None = None,
) -> Tensor:
    """Pool each box from the level that fits its size (half-pixel aligned, "ROIAlignV2" of Detectron2).

    The boxes of a level are either picked out, which a processor does best, or all boxes are pooled from every level,
    those that do not belong there from far outside, where RoIAlign reads nothing and returns zero. Then no shape
    depends on numbers: an accelerator does not wait, and compilers and graphs can take it.

    Args:
        features: one (B, C, H, W) map per level, finest first.
        boxes_xyxy: (B, N, 4) pixels of the network input.
        strides: stride of each map, powers of two, each twice the one before.
        fixed_shapes: the second way. None: off the processor, and under torch.compile, but not in exported graphs.
    Returns:
        (B * N, P * P, C), row by row.
    Raises:
        ValueError: the numbers of maps, strides and images do not agree.
    """
    if len(features) != len(strides) or features[0].shape[0] != boxes_xyxy.shape[0]:
        raise ValueError(
            f"got {len(features)} maps of {features[0].shape[0]} images for {len(strides)} strides "
            f"and boxes of {boxes_xyxy.shape[0]} images; each level needs one stride and each image its boxes"
        )
    min_level = int(strides[0]).bit_length() - 1
    levels = assign_levels(boxes_xyxy, min_level, min_level + len(strides) - 1, canonical_size).flatten()
    batch, count = boxes_xyxy.shape[:2]
    image_index = torch.arange(batch, device=boxes_xyxy.device).repeat_interleave(count)
    rois = torch.cat([image_index[:, None], boxes_xyxy.reshape(-1, 4)], dim=1)  # (B * N, 5)
    features = [f.to(rois.dtype) for f in features]  # half precision would round the coordinates to whole pixels
    options = (output_size, sampling_ratio)
    if needs_fixed_shapes(rois) if fixed_shapes is None else fixed_shapes:
        return _pool_everywhere(features, rois, levels, strides, *options).flatten(2).transpose(1, 2)
    return _pool_chosen(features, rois, levels, strides, *options).flatten(2).transpose(1, 2)


def needs_fixed_shapes(tensor: Tensor) -> bool:
    """Whether shapes should not depend on the numbers in a tensor: off the processor, and under torch.compile."""
    compiling = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return not torch.jit.is_tracing() and (compiling or tensor.device.type != "cpu")


def _pool_chosen(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
) -> Tensor:
    """Pool rois (R, 5) from maps of their levels (R,), level by level: (R, C, P, P)."""
    pooled = features[0].new_zeros(len(rois), features[0].shape[1], output_size, output_size)
    for level, (feature, stride) in enumerate(zip(features, strides)):
        chosen = torch.nonzero(levels == level).squeeze(1)
        values = roi_align(feature, rois[chosen], output_size, 1.0 / stride, sampling_ratio, aligned=True)
        pooled = pooled.index_put((chosen,), values)
    return pooled


def _pool_everywhere(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
) -> Tensor:
    """`_pool_chosen` by the sum over levels, to which a box outside of a map adds zero."""
    side = max(max(f.shape[2:]) * stride for f, stride in zip(features, strides))
    outside = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], 4.0 * side)], dim=1)
    own = (levels[:, None] == torch.arange(len(strides), device=levels.device)).unbind(1)
    pooled = None
    for feature, here, stride in zip(features, own, strides):
        moved = torch.where(here[:, None], rois, outside)
        part = roi_align(feature, moved, output_size, 1.0 / stride, sampling_ratio, aligned=True)
        pooled = part if pooled is None else pooled.add_(part)
    assert pooled is not None
    return pooled
