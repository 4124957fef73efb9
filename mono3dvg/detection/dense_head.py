"""Dense 3D detection head (CenterNet), the decoding of its peaks, and the referral head.

The numbers get their meaning in `box_coding.py`. Letters: B images, N sentences, C classes, D channels, P cells, K
candidates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures import aligned_iou_bev, pairwise_iou_bev
from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.camera_batch import SceneGeometry, upright_frame
from d2road.structures.iou3d import pairwise_iou_bev_dense
from d2road.utils.uploads import upload
from mono3dvg.detection.box_coding import RawBoxes, decode_rows
from mono3dvg.detection.candidates import Candidates

_FAR_AWAY = -1e4  # rows and boxes of padding: they overlap nothing


@dataclass
class RawMaps:
    """Outputs of `DenseHead`: heat (B, C, Hf, Wf) logits, regression (B, R, Hf, Wf) for `RawBoxes.unpack`, attributes
    (B, L, Hf, Wf) logits of what the object is like, L = 0 where the head does not say it."""

    heat: Tensor
    regression: Tensor
    attributes: Tensor

    def at(self, image: Tensor, cells: Tensor) -> RawBoxes:
        """The numbers at cells (P,), indices into Hf * Wf, of images (P,)."""
        return RawBoxes.unpack(gather_cells(self.regression, image, cells))

    def attributes_at(self, cells: Tensor) -> Tensor:
        """Logits (B, K, L) at cells (B, K) of the B images."""
        return gather_each(self.attributes, cells)


def gather_cells(maps: Tensor, image: Tensor, cells: Tensor) -> Tensor:
    """(B, R, Hf, Wf) at cells (P,) of images (P,) -> (P, R)."""
    return gather_rows(maps, image * (maps.shape[2] * maps.shape[3]) + cells)


def gather_rows(maps: Tensor, places: Tensor) -> Tensor:
    """(B, R, Hf, Wf) at places (P,), indices into B * Hf * Wf -> (P, R)."""
    # Whole rows of one table: their gradient is added row by row, many times faster than number by number.
    return maps.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, places)


def gather_each(maps: Tensor, cells: Tensor) -> Tensor:
    """(B, R, Hf, Wf) at cells (B, K) of each image -> (B, K, R)."""
    image = torch.arange(cells.shape[0], device=cells.device)[:, None].expand(cells.shape)
    return gather_cells(maps, image.flatten(), cells.flatten()).unflatten(0, cells.shape)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell.

    Group and batch norm average over the map: then the padding that an image gets from its batch would change what is
    found in it.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, Hf, Wf) -> the same."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def tower(in_channels: int, dim: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions with norm and ReLU."""
    layers: list[nn.Module] = []
    for i in range(depth):
        channels = in_channels if i == 0 else dim
        layers += [nn.Conv2d(channels, dim, 3, padding=1, bias=False), ChannelNorm(dim), nn.ReLU()]
    return nn.Sequential(*layers)


def prior_bias(prior: float) -> float:
    """Logit of a probability: a map that starts there is not flooded by its background."""
    return -math.log((1 - prior) / prior)


class DenseHead(nn.Module):
    """Class heat map and box regression, from the image alone.

    Args:
        in_channels: of the map.
        dim: width of the two towers.
        depth: 3x3 convolutions of each.
        num_attributes: L, what is said of objects beside class and box, with a tower of its own.
        prior: probability at which the heat map starts.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        dim: int = 64,
        depth: int = 1,
        num_attributes: int = 0,
        prior: float = 0.01,
    ):
        super().__init__()
        self.num_classes, self.num_attributes = num_classes, num_attributes
        self.heat_tower, self.box_tower = tower(in_channels, dim, depth), tower(in_channels, dim, depth)
        self.heat = nn.Conv2d(dim, num_classes, 1)
        self.regression = nn.Conv2d(dim, sum(RawBoxes.SIZES), 1)
        starts = torch.tensor(_STARTS).repeat_interleave(torch.tensor(RawBoxes.SIZES))
        for layer, bias in ((self.heat, torch.full((num_classes,), prior_bias(prior))), (self.regression, starts)):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(bias)
        if num_attributes:
            hidden, output = tower(in_channels, dim, depth), nn.Conv2d(dim, num_attributes, 1)
            output.bias = nn.Parameter(torch.full((num_attributes,), prior_bias(0.1)))
            self.attributes = nn.Sequential(hidden, output)

    def forward(self, feature: Tensor) -> RawMaps:
        """(B, in_channels, Hf, Wf) -> maps."""
        heat, regression = self.heat(self.heat_tower(feature)), self.regression(self.box_tower(feature))
        return RawMaps(heat, regression, self.attributes(feature) if self.num_attributes else heat[:, :0])


# Where the fields of RawBoxes start: 2D boxes of 4 by 4 cells; depths that are off by e^-1.5, 20 %, on both ways.
_STARTS = (0.0, 0.0, math.log(2.0), 0.0, -1.5, 0.0, 0.0, 0.0)


class ReferHead(nn.Module):
    """How much a sentence means what stands at each cell: layers of one cell, for the neck has seen its surroundings.

    Args:
        dim: channels of the fused map.
        prior: probability at which it starts.
    """

    def __init__(self, dim: int, prior: float = 0.02):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU())
        self.output = nn.Conv2d(dim, 1, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        self.output.bias = nn.Parameter(torch.full((1,), prior_bias(prior)))

    def forward(self, fused: Tensor) -> Tensor:
        """(N, D, Hf, Wf) -> logits (N, Hf, Wf)."""
        return self.output(self.tower(fused))[:, 0]


def cells_to_pixels(cells: Tensor, width: int, stride: float) -> Tensor:
    """(...) indices into Hf * Wf -> (..., 2) centres of the cells, pixels."""
    return torch.stack([cells % width, torch.div(cells, width, rounding_mode="floor")], dim=-1).add(0.5) * stride


def covered_cells(
    sizes_hw: Sequence[tuple[int, int]] | Tensor, map_hw: tuple[int, int], stride: float, device: torch.device
) -> Tensor:
    """(B, Hf, Wf) bool: cells whose centre lies in the unpadded image."""
    size = torch.as_tensor(sizes_hw, dtype=torch.float32, device=device)
    v, u = (upload((torch.arange(n) + 0.5) * stride, device) for n in map_hw)
    return (v[None, :, None] < size[:, :1, None]) & (u[None, None, :] < size[:, 1:, None])


def find_peaks(heat: Tensor, top_k: int, covered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest local maxima over 3x3 cells, of all classes.

    Args:
        heat: (B, C, Hf, Wf) probabilities; covered: (B, Hf, Wf) cells that count.
    Returns:
        values, classes, cells (B, K), K = min(top_k, C Hf Wf); value 0 where there are no more peaks.
    Source: Zhou et al., Objects as Points, 2019, section 4.
    """
    heat = heat * covered[:, None]
    peaks = torch.where(F.max_pool2d(heat, 3, stride=1, padding=1) == heat, heat, 0.0)
    values, index = peaks.flatten(1).topk(min(top_k, peaks[0].numel()), dim=1)
    size = heat.shape[2] * heat.shape[3]
    return values, torch.div(index, size, rounding_mode="floor"), index % size


def decode_peaks(
    raw: RawMaps,
    scene: SceneGeometry,
    sizes_hw: Sequence[tuple[int, int]] | Tensor,
    stride: float,
    priors_hwl: Tensor,
    ry_frame: str,
    *,
    top_k: int = 50,
    threshold: float = 0.05,
    nms_2d: float = 1.0,
    nms_bev: float = 1.0,
    padded: bool = False,
    covered: Tensor | None = None,
) -> Candidates:
    """Peaks of the heat maps of B images as candidates, best first, without near duplicates.

    Args:
        scene: camera and ground of each image.
        sizes_hw: height, width of the unpadded images, pixels.
        stride: side of a cell, pixels.
        priors_hwl: (C, 3) mean sizes, m.
        ry_frame: of the annotations, "camera" or "ground".
        threshold: heat below which a peak is none.
        nms_2d, nms_bev: overlap of the 2D boxes, of the footprints, above which the weaker of two is the same object
            detected again; 1 keeps all.
        padded: leave room for `top_k` candidates in every image, so that no shape hangs on what is found.
        covered: `covered_cells` of the map, where they are at hand.
    """
    heat = raw.heat.float().sigmoid()
    batch, _, height, width = heat.shape
    if covered is None:
        covered = covered_cells(sizes_hw, (height, width), stride, heat.device)
    values, classes, cells = find_peaks(heat, top_k, covered)
    image = torch.arange(batch, device=heat.device).repeat_interleave(cells.shape[1])
    each, flat = scene[image], cells.flatten()
    place = image * (height * width) + flat
    decoded, rows = decode_rows(
        RawBoxes.unpack(gather_rows(raw.regression, place)), cells_to_pixels(flat, width, stride), stride,
        priors_hwl[classes.flatten()].float(), each, upright_frame(each, ry_frame),
    )  # fmt: skip
    limits = torch.as_tensor(sizes_hw, dtype=heat.dtype, device=heat.device).flip(1).repeat(1, 2)[image]  # w h w h
    boxes = decoded.boxes_xyxy.clamp(min=0).minimum(limits)
    # A heat map between 0.5 cells tells classes apart softly: all classes at the cell, not only that of the peak.
    probs = gather_rows(heat, place).unflatten(0, cells.shape)
    attributes = probs[..., :0]
    if raw.attributes.shape[1]:
        attributes = gather_rows(raw.attributes, place).unflatten(0, cells.shape).float().sigmoid()
    found = Candidates(
        boxes_xyxy=boxes.unflatten(0, cells.shape),
        rows=rows.unflatten(0, cells.shape),
        classes=classes,
        class_probs=probs,
        attributes=attributes,
        heat=values,
        std=decoded.std.unflatten(0, cells.shape),
        cells=cells,
        valid=values > max(threshold, 0.0),
    )
    keep = suppress(found, upright_frame(scene, ry_frame), nms_2d, nms_bev, padded)
    return compact(found, keep, padded)


def compact(found: Candidates, keep: Tensor, padded: bool = False) -> Candidates:
    """Those to keep (B, K), in order, and no more padding than the fullest image needs (one row at least).

    keep: on the host, so that nobody waits for an accelerator.
    padded: keep K rows, the others as padding.
    """
    count = keep.shape[1]
    place = torch.arange(count, device=keep.device) + (~keep) * count
    order = place.argsort(dim=1)
    most = count if padded else max(int(keep.sum(1).max()), 1) if len(keep) else 1
    order = order[:, :most]
    kept = found.take(upload(order, found.heat.device))
    kept.valid = upload(keep.gather(1, order), found.heat.device)
    return kept


@torch.no_grad()
def suppress(found: Candidates, frame: Tensor, nms_2d: float, nms_bev: float, padded: bool = False) -> Tensor:
    """Greedy non-maximum suppression, whatever the classes: (B, K) candidates that overlap no better one which stays.

    On the host, to which an accelerator hands its comparisons; with `padded`, for graphs, where the candidates are.
    """
    batch, count = found.valid.shape
    same = torch.zeros(batch, count, count, dtype=torch.bool, device=found.heat.device)
    if nms_2d < 1:
        boxes = with_area(found.boxes_xyxy)
        same = same | (iou_and_giou(boxes[:, :, None], boxes[:, None])[0] > nms_2d)
    if nms_bev < 1:
        level = torch.cat([found.rows[..., :3] @ frame, found.rows[..., 3:]], dim=-1)
        same = same | (_overlaps_bev(level.nan_to_num(_FAR_AWAY), padded) > nms_bev)
    gone, same = ~found.valid, same.triu(1)
    if not padded:
        same, gone = torch.cat([same, gone[..., None]], dim=2).cpu().split((count, 1), dim=2)
        gone = gone[..., 0]
    for k in range(count if nms_2d < 1 or nms_bev < 1 else 0):  # best first
        gone = gone | (~gone[:, k : k + 1] & same[:, k])
    return ~gone


def _overlaps_bev(rows: Tensor, padded: bool) -> Tensor:
    """IoU of the footprints of all pairs of each image, (B, K, 7) -> (B, K, K)."""
    if rows.device.type != "cpu" and not padded:
        return aligned_iou_bev(rows[:, :, None], rows[:, None])  # of which none waits
    overlap = pairwise_iou_bev_dense if padded else pairwise_iou_bev
    return torch.stack([overlap(own, own) for own in rows])
