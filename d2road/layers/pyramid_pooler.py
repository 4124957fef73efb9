"""RoIAlign of the same pyramid for several sets of boxes, fast on a CPU.

Letters: B images, N boxes an image, R = B * N, C channels, P pooled side, s samples a bin and axis.

A pooled bin is a weighted sum of 4 * s^2 pixels. With all maps as one table of pixels, one row of C values each, that
is an `embedding_bag`: rows are contiguous, all levels take one call, forward and backward use every core.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.layers.roi_align import assign_levels, multilevel_roi_align


class PyramidPooler:
    """`multilevel_roi_align` with the maps given once and the boxes in each call.

    Off the CPU, while tracing, and for an adaptive number of samples it is that function itself.

    Args:
        features, strides, output_size, sampling_ratio, canonical_size: as `multilevel_roi_align`.
    """

    def __init__(
        self,
        features: Sequence[Tensor],
        strides: Sequence[int],
        output_size: int = 7,
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
    ):
        self.features, self.strides = list(features), tuple(strides)
        self.output_size, self.sampling_ratio, self.canonical_size = output_size, sampling_ratio, canonical_size
        tracing = torch.jit.is_tracing() or torch.compiler.is_compiling()
        on_cpu = all(f.device.type == "cpu" for f in self.features)
        self._table: Tensor | None = None
        if on_cpu and sampling_ratio > 0 and not tracing and len(self.features) == len(self.strides):
            # Without a copy of each map where it is channels-last.
            self._table = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in self.features])

    def __call__(self, boxes_xyxy: Tensor) -> Tensor:
        """Pool boxes (B, N, 4) in pixels of the network input: (B * N, P * P, C), row by row.

        Raises:
            ValueError: see `multilevel_roi_align`.
        """
        if self._table is None or self.features[0].shape[0] != boxes_xyxy.shape[0] or not boxes_xyxy.numel():
            self.features = [f.to(boxes_xyxy.dtype) for f in self.features]  # once for all calls
            return multilevel_roi_align(
                self.features, boxes_xyxy, self.strides, self.output_size, self.sampling_ratio, self.canonical_size
            )
        rows, weights = self._pixels(boxes_xyxy.detach())
        # Half precision would round the weights; the sum is taken in the precision of the boxes.
        self._table = self._table.to(weights.dtype)
        pooled = F.embedding_bag(rows, self._table, per_sample_weights=weights, mode="sum")
        return pooled.view(-1, self.output_size**2, self._table.shape[1])

    def _pixels(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table and their weights for each bin, (R * P * P, 4 * s^2) each."""
        batch, count = boxes.shape[:2]
        min_level = int(self.strides[0]).bit_length() - 1
        level = assign_levels(boxes, min_level, min_level + len(self.strides) - 1, self.canonical_size).flatten()
        height, width, first, stride = self._layout(boxes)[:, level]  # (R,) each
        image = torch.arange(batch).repeat_interleave(count)
        first = first + image * height * width

        x1, y1, x2, y2 = (boxes.reshape(-1, 4) / stride[:, None]).unbind(1)
        y, y_weight = self._axis(y1, y2, height)  # (R, P, 2 * s)
        x, x_weight = self._axis(x1, x2, width)
        line = first[:, None, None] + y * width[:, None, None]
        rows = line[:, :, None, :, None] + x[:, None, :, None, :]  # (R, P, P, 2 * s, 2 * s)
        weights = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        shape = (-1, (2 * self.sampling_ratio) ** 2)
        return rows.reshape(shape), weights.reshape(shape)

    def _layout(self, boxes: Tensor) -> Tensor:
        """Height, width, first row in the table, and stride of each level: (4, levels) int64."""
        first, layout = 0, []
        for feature, stride in zip(self.features, self.strides):
            images, _, height, width = feature.shape
            layout.append((height, width, first, stride))
            first += images * height * width
        return torch.tensor(layout, device=boxes.device).T

    def _axis(self, begin: Tensor, end: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Cells that the bins of boxes read along one axis, and their weights.

        Args:
            begin, end: (R,) borders of the boxes in cells; the centre of cell 0 is at 0.5.
            size: (R,) number of cells.
        Returns:
            (R, P, 2 * s) int64 and of the boxes' dtype. Samples more than a cell outside the map weigh nothing, nearer
            ones read its border.
        """
        side, samples = self.output_size, self.sampling_ratio
        length = (end - begin)[:, None] / side
        edge = begin[:, None] - 0.5 + torch.arange(side) * length  # (R, P)
        offset = (torch.arange(samples) + 0.5).to(begin.dtype) / samples
        place = edge[:, :, None] + offset * length[:, :, None]  # (R, P, s)
        last = (size - 1)[:, None, None]
        inside = (place >= -1) & (place <= last + 1)
        place = place.clamp(min=0)
        low = place.to(torch.int64).clamp(min=0).minimum(last)  # not a number becomes some cell, of no weight
        high = (low + 1).minimum(last)
        share = place - low
        weights = torch.stack([1 - share, share], dim=-1) / samples
        weights = torch.where(inside[..., None], weights, 0)
        return torch.stack([low, high], dim=-1).flatten(2), weights.flatten(2)
