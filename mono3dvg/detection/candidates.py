"""Boxes that sentences can mean: from the dense head's peaks, or from labels.

Letters: B images (or, after indexing, N sentences), K candidates an image (padded), C classes, M objects of an image,
P objects of all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures import pairwise_iou_bev
from d2road.structures.boxes2d import iou_and_giou
from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.depth_cues import view_boxes
from d2road.structures.tensor_record import TensorRecord
from mono3dvg.detection.box_coding import decode as decode_boxes
from mono3dvg.detection.box_coding import place_boxes
from mono3dvg.detection.dense_head import RawMaps, gather_each
from mono3dvg.detection.objects import Objects, cat_objects, upright_frame
from mono3dvg.language.kleene import YES

# Of looks in training: a usual detector is wrong in one of fifteen and mostly not sure.
_SURE_LOGIT, _LOGIT_NOISE = 3.0, 2.0
_FAR_AWAY = -1e4  # rows and boxes of padding: they overlap nothing


@dataclass
class Candidates(TensorRecord):
    """boxes_xyxy (B, K, 4) pixels of the network input. rows (B, K, 7): x, y, z of the bottom centre, h, w, l, ry as
    the annotations have them. classes (B, K). class_probs (B, K, C). looks (B, K, L): probabilities of `LOOKS`, L = 0
    where nothing says them. heat (B, K): probability of the class. std (B, K): deviation of the log depth.
    cells (B, K): index into Hf * Wf. valid (B, K): False for padding."""

    boxes_xyxy: Tensor
    rows: Tensor
    classes: Tensor
    class_probs: Tensor
    looks: Tensor
    heat: Tensor
    std: Tensor
    cells: Tensor
    valid: Tensor

    @property
    def traits(self) -> Tensor:
        """(B, K, C + L) what each is and what it is like: 0 where nothing is known of a look, 1 or -1 where it is."""
        return torch.cat([self.class_probs, 2 * self.looks - 1], dim=-1).float()

    def take(self, order: Tensor) -> "Candidates":
        """Of each image the candidates at `order` (B, K')."""

        def pick(value: Tensor) -> Tensor:
            index = order.view(*order.shape, *[1] * (value.ndim - 2)).expand(*order.shape, *value.shape[2:])
            return value.gather(1, index)

        return self.map(pick)


def cells_to_pixels(cells: Tensor, width: int, stride: float) -> Tensor:
    """(...) indices into Hf * Wf -> (..., 2) centres of the cells, pixels."""
    return torch.stack([cells % width, torch.div(cells, width, rounding_mode="floor")], dim=-1).add(0.5) * stride


def covered_cells(sizes_hw: Sequence[tuple[int, int]], map_hw: tuple[int, int], stride: float, device) -> Tensor:
    """(B, Hf, Wf) bool: cells whose centre lies in the unpadded image."""
    size = torch.tensor(sizes_hw, dtype=torch.float32, device=device)
    v, u = ((torch.arange(n, device=device) + 0.5) * stride for n in map_hw)
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
    peaks = torch.where(F.max_pool2d(heat, 3, stride=1, padding=1) == heat, heat, torch.zeros_like(heat))
    values, index = peaks.flatten(1).topk(min(top_k, peaks[0].numel()), dim=1)
    size = heat.shape[2] * heat.shape[3]
    return values, torch.div(index, size, rounding_mode="floor"), index % size


def decode(
    raw: RawMaps,
    scene: SceneGeometry,
    sizes_hw: Sequence[tuple[int, int]],
    stride: float,
    priors_hwl: Tensor,
    ry_frame: str,
    *,
    top_k: int = 50,
    threshold: float = 0.05,
    nms_2d: float = 1.0,
    nms_bev: float = 1.0,
) -> Candidates:
    """Candidates of B images, best first.

    Args:
        scene: camera and ground of each image.
        sizes_hw: height, width of the unpadded images, pixels.
        stride: side of a cell, pixels.
        priors_hwl: (C, 3) mean sizes, m.
        ry_frame: of the annotations, "camera" or "ground".
        threshold: heat below which a peak is none.
        nms_2d, nms_bev: overlap of the 2D boxes, of the footprints, above which the weaker of two is the same object
            seen again; 1 keeps all.
    """
    heat = raw.heat.float().sigmoid()
    batch, _, _, width = heat.shape
    values, classes, cells = find_peaks(heat, top_k, covered_cells(sizes_hw, heat.shape[2:], stride, heat.device))
    image = torch.arange(batch, device=heat.device).repeat_interleave(cells.shape[1])
    each, flat = scene[image], cells.flatten()
    decoded = decode_boxes(
        raw.at(image, flat), cells_to_pixels(flat, width, stride), stride, priors_hwl[classes.flatten()].float(), each
    )
    rows = place_boxes(
        decoded.bottom, decoded.log_depth, decoded.dims, decoded.alpha, each.cameras, upright_frame(each, ry_frame)
    )
    limits = heat.new_tensor([[w, h, w, h] for h, w in sizes_hw])[image]
    boxes = decoded.boxes_xyxy.clamp(min=0).minimum(limits)
    # A heat map between 0.5 cells tells classes apart softly: all classes at the cell, not only that of the peak.
    probs = gather_each(heat, cells)
    found = Candidates(
        boxes_xyxy=boxes.unflatten(0, cells.shape),
        rows=rows.unflatten(0, cells.shape),
        classes=classes,
        class_probs=probs,
        looks=raw.looks_at(cells).float().sigmoid(),
        heat=values,
        std=decoded.std.unflatten(0, cells.shape),
        cells=cells,
        valid=values > max(threshold, 0.0),
    )
    keep = found.valid & ~repeated(found, upright_frame(scene, ry_frame), nms_2d, nms_bev)
    return compact(found, keep)


def compact(found: Candidates, keep: Tensor) -> Candidates:
    """Those to keep (B, K), in order, and no more padding than the fullest image needs (one row at least)."""
    order = torch.sort((~keep).to(torch.uint8), dim=1, stable=True).indices
    most = max(int(keep.sum(1).max()), 1) if len(keep) else 1
    kept = found.take(order[:, :most])
    kept.valid = keep.gather(1, order[:, :most])
    return kept


@torch.no_grad()
def repeated(found: Candidates, frame: Tensor, nms_2d: float, nms_bev: float) -> Tensor:
    """(B, K) candidates that overlap a better one which stays, whatever their classes (greedy suppression)."""
    batch, count = found.valid.shape
    same = torch.zeros(batch, count, count, dtype=torch.bool, device=found.heat.device)
    if nms_2d < 1:
        boxes = with_area(found.boxes_xyxy)
        same |= iou_and_giou(boxes[:, :, None], boxes[:, None])[0] > nms_2d
    if nms_bev < 1:
        level = torch.cat([found.rows[..., :3] @ frame, found.rows[..., 3:]], dim=-1)
        same |= torch.stack([pairwise_iou_bev(rows, rows) > nms_bev for rows in level.nan_to_num(_FAR_AWAY)])
    gone = ~found.valid
    for k in range(count if nms_2d < 1 or nms_bev < 1 else 0):  # best first
        stays = ~gone[:, k]
        gone[:, k + 1 :] |= stays[:, None] & same[:, k, k + 1 :]
    return gone & found.valid


def home_cells(objects: Objects, middle: Tensor, in_front: Tensor, map_hw: tuple[int, int], stride: float) -> Tensor:
    """The cell (P,) at which each object is predicted.

    That of the projected middle of its 3D box if the 2D box holds it; else (no 3D box, or cut by the border of the
    image so that the middle lies outside) that of the middle of the 2D box, which is seen.

    Args:
        middle: (P, 2) pixels, in_front: (P,) whether it means anything.
    """
    boxes = objects.boxes_xyxy
    inside = ((middle >= boxes[:, :2]) & (middle <= boxes[:, 2:])).all(1) & in_front & objects.has_3d
    seen = (boxes[:, :2] + boxes[:, 2:]) / 2
    place = torch.where(inside[:, None], middle, seen) / stride
    height, width = map_hw
    column = place[:, 0].floor().clamp(0, width - 1)
    row = place[:, 1].floor().clamp(0, height - 1)
    return (row * width + column).long()


def from_objects(
    objects: Sequence[Objects],
    scene: SceneGeometry,
    num_classes: int,
    map_hw: tuple[int, int],
    stride: float,
    ry_frame: str,
    *,
    looks: bool = False,
    jitter: float = 0.0,
    generator: torch.Generator | None = None,
) -> Candidates:
    """Labels as if they had been detected with certainty; candidate k of an image is its object k.

    Objects to be ignored and those without 3D box are not valid.

    Args:
        looks: take the labels' looks too, half where they are not known.
        jitter: about as far as a detector is off, in deviations: of the 2D boxes' sides in shares of their size and of
            the log depth 5 %, of the heading 0.1 rad, for 1; probabilities waver too. 0 leaves the labels.
        generator: draws it.
    """
    joined, image, position = cat_objects(objects)
    each = scene[image]
    views = view_boxes(joined.rows, each.cameras, upright_frame(each, ry_frame))
    cells = home_cells(joined, views.middle, views.in_front, map_hw, stride)
    certain = F.one_hot(joined.classes, num_classes).to(joined.rows.dtype)
    flat = Candidates(
        boxes_xyxy=joined.boxes_xyxy,
        rows=joined.rows,
        classes=joined.classes,
        class_probs=certain,
        looks=joined.looks.to(certain) / int(YES) if looks else certain[:, :0],
        heat=torch.ones_like(joined.rows[:, 0]),
        std=torch.zeros_like(joined.rows[:, 0]),
        cells=cells,
        valid=joined.has_3d & ~joined.ignore,
    )
    if jitter > 0:
        flat = _jittered(flat, each, jitter, generator)
    most = max([len(o) for o in objects] + [1])

    def pad(value: Tensor) -> Tensor:
        whole = value.new_zeros(len(objects), most, *value.shape[1:])
        whole[image, position] = value
        return whole

    return flat.map(pad)


def _jittered(flat: Candidates, each: SceneGeometry, jitter: float, generator: torch.Generator | None) -> Candidates:
    """Rows move along their rays, 2D boxes by shares of their sides."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=flat.rows.device) * jitter

    count, num_classes = flat.class_probs.shape
    sides = (flat.boxes_xyxy[:, 2:] - flat.boxes_xyxy[:, :2]).repeat(1, 2)
    center = each.cameras.center
    location = center + (flat.rows[:, :3] - center) * (0.05 * noise(count, 1)).exp()
    turn = torch.where(noise(count).abs() > 2.5 * jitter, torch.pi, 0.0) + 0.1 * noise(count)
    dims = flat.rows[:, 3:6] * (0.05 * noise(count, 3)).exp()
    certainty = (0.15 * noise(count, 1).abs()).clamp(max=0.6)
    wavering = noise(count, num_classes).abs()
    wavering = wavering / wavering.sum(1, keepdim=True).clamp(min=1e-6)
    return Candidates(
        boxes_xyxy=flat.boxes_xyxy + 0.05 * noise(count, 4) * sides,
        rows=torch.cat([location, dims, flat.rows[:, 6:] + turn[:, None]], dim=1),
        classes=flat.classes,
        class_probs=flat.class_probs * (1 - certainty) + certainty * wavering,
        looks=(_SURE_LOGIT * (2 * flat.looks - 1) + _LOGIT_NOISE * noise(*flat.looks.shape)).sigmoid(),
        heat=1 - certainty[:, 0],
        std=0.05 * jitter + flat.std,
        cells=flat.cells,
        valid=flat.valid,
    )


@torch.no_grad()
def match_objects(
    found: Candidates, objects: Sequence[Objects], positive: float = 0.5, negative: float = 0.3
) -> Tensor:
    """Which labelled object each candidate is, one to one: (B, K) positions in the image's objects.

    By overlap of the 2D boxes, best pair first, from `positive` on. -1 for candidates that are nothing: below
    `negative` for every object, or second to a better one. -2 for those in between and those on objects to be ignored.
    """
    matched = torch.full_like(found.cells, -1)
    for b, labels in enumerate(objects):
        if len(labels) == 0:
            continue
        boxes = with_area(found.boxes_xyxy[b].float())
        iou = iou_and_giou(boxes[:, None], with_area(labels.boxes_xyxy[None].float()))[0].nan_to_num(0.0)
        iou = torch.where(found.valid[b][:, None], iou, torch.zeros_like(iou))
        best = iou.amax(1)
        unclear = ((best >= negative) & (best < positive)) | ((iou * labels.ignore).amax(1) >= negative)
        left = iou * ~labels.ignore
        for _ in range(min(iou.shape)):
            k, m = divmod(int(left.argmax()), iou.shape[1])
            if left[k, m] < positive:
                break
            matched[b, k] = m
            left[k], left[:, m] = 0.0, 0.0
        matched[b] = torch.where(unclear & (matched[b] == -1), -2, matched[b])
    return matched


def with_area(boxes_xyxy: Tensor) -> Tensor:
    """Boxes (..., 4) that have an area, if a tiny one, so that overlaps are finite."""
    return torch.cat([boxes_xyxy[..., :2], torch.maximum(boxes_xyxy[..., 2:], boxes_xyxy[..., :2] + 1e-3)], dim=-1)
