"""IoU and GIoU of upright 3D boxes, in 3D and from above (bird's-eye view, BEV).

Boxes are rows x, y, z (bottom centre, y down), h, w, l (m), ry (rad) and stand upright along y. In the camera frame
that is KITTI's measure. Boxes on a ground to which the camera is tilted are measured truly in the ground frame:
`boxes.in_frame(R).to_kitti()` with `R = camera.ground_rotation()`.

All functions compute in float64, on the device of the boxes, and return the boxes' dtype. Gradients are finite
everywhere. Pairs that cannot touch are sorted out first; the rest is computed in pieces of bounded memory (with
gradients, what the backward pass needs grows with the number of pairs that may touch). A box without volume (area, in
BEV) overlaps nothing: IoU 0. All raise ValueError for wrong shapes, NaN and infinity.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from d2road.structures.footprints import hull_area, overlap_area, resolve_heading

# Pairs in one piece. On the CPU a piece stays in the cache and below the size at which torch shares an operation among
# threads: these operations are too short to gain from that, and lose much when other work keeps a core busy.
_PIECE_CPU, _PIECE_GPU = 2**11, 2**18

Measure = Callable[[Tensor, Tensor], Tensor]


def pairwise_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """IoU of all pairs: (N, 7), (M, 7) -> (N, M)."""
    return _pairwise(a, b, _iou_3d)


def pairwise_iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """IoU of the footprints of all pairs: (N, 7), (M, 7) -> (N, M)."""
    return _pairwise(a, b, _iou_bev)


def pairwise_iou_bev_dense(a: Tensor, b: Tensor) -> Tensor:
    """`pairwise_iou_bev` by the same operations whatever the boxes are, as a graph needs it: slower, unchecked."""
    dtype, shape = torch.promote_types(a.dtype, b.dtype), (len(a), len(b), 8)
    a, b = resolve_heading(a)[:, None].expand(shape), resolve_heading(b)[None].expand(shape)
    meet = _circles_meet(a, b)
    a, b = a.flatten(0, 1), b.flatten(0, 1)
    overlap = torch.where(meet.flatten(), overlap_area(a, b), 0.0)
    return _ratio(overlap, _footprint(a) + _footprint(b) - overlap).view(meet.shape).to(dtype)


def aligned_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """IoU pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast."""
    return _aligned(a, b, _iou_3d)


def aligned_iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """IoU of the footprints pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast."""
    return _aligned(a, b, _iou_bev)


def aligned_giou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU in [-1, 1] pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast.

    The enclosure is the convex hull of both footprints times the extent in height of both. All pairs:
    `aligned_giou_3d(a[:, None], b)`.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.
    """
    return _aligned(a, b, _giou_3d)


def aligned_giou_bev(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of the footprints in [-1, 1], as `aligned_giou_3d`; enclosure: their convex hull."""
    return _aligned(a, b, _giou_bev)


def _iou_3d(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap_and_union_3d(a, b)
    return _ratio(overlap, union)


def _iou_bev(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap_and_union_bev(a, b)
    return _ratio(overlap, union)


def _giou_3d(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap_and_union_3d(a, b)
    low, high = a[:, 1].maximum(b[:, 1]), (a[:, 1] - _height(a)).minimum(b[:, 1] - _height(b))  # y is down
    hull = hull_area(a, b) * (low - high)
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def _giou_bev(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap_and_union_bev(a, b)
    hull = hull_area(a, b)
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def _overlap_and_union_3d(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) volumes of pairs (K, 8), (K, 8)."""
    shared_height = a[:, 1].minimum(b[:, 1]) - (a[:, 1] - _height(a)).maximum(b[:, 1] - _height(b))
    # Written as a loss of height, not as a difference of the y, the height of equal boxes is exact.
    shared_height = shared_height.clamp(min=0).minimum(_height(a)).minimum(_height(b))
    overlap = _footprint_overlap(a, b, shared_height > 0) * shared_height
    return overlap, _footprint(a) * _height(a) + _footprint(b) * _height(b) - overlap


def _overlap_and_union_bev(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) areas of pairs (K, 8), (K, 8)."""
    overlap = _footprint_overlap(a, b, torch.ones_like(a[:, 0], dtype=torch.bool))
    return overlap, _footprint(a) + _footprint(b) - overlap


def _footprint_overlap(a: Tensor, b: Tensor, wanted: Tensor) -> Tensor:
    """(K,) overlap of the footprints where it is wanted (K,) and possible, else 0."""
    with torch.no_grad():
        chosen = (wanted & _circles_meet(a, b)).nonzero()[:, 0]
    return torch.zeros_like(a[:, 0]).scatter(0, chosen, overlap_area(_take(a, chosen), _take(b, chosen)))


def _circles_meet(a: Tensor, b: Tensor) -> Tensor:
    """Whether the circles around two footprints meet; by broadcasting."""
    reach = (_hypot(a[..., 4], a[..., 5]) + _hypot(b[..., 4], b[..., 5])) / 2
    return _hypot(a[..., 0] - b[..., 0], a[..., 2] - b[..., 2]) <= reach


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    """torch.hypot, which no graph knows."""
    return (x.square() + y.square()).sqrt()


def _heights_meet(a: Tensor, b: Tensor) -> Tensor:
    """Whether the extents in height overlap; by broadcasting."""
    return (a[..., 1] > b[..., 1] - b[..., 3]) & (b[..., 1] > a[..., 1] - a[..., 3])


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, 0 where the whole is nothing."""
    nothing = whole <= 0
    return torch.where(nothing, 0.0, part / torch.where(nothing, 1.0, whole))


def _height(boxes: Tensor) -> Tensor:
    return boxes[:, 3].clamp(min=0)


def _footprint(boxes: Tensor) -> Tensor:
    return boxes[:, 4].clamp(min=0) * boxes[:, 5].clamp(min=0)


def _pairwise(a: Tensor, b: Tensor, iou: Measure) -> Tensor:
    """An IoU of all pairs, 0 for those that cannot touch."""
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"all pairs need boxes (N, 7) and (M, 7), got {tuple(a.shape)} and {tuple(b.shape)}")
    dtype = _check(a, b)
    a, b = resolve_heading(a), resolve_heading(b)
    rows = []
    piece, columns = _piece(a), max(1, len(b))
    for some_a in a.split(max(1, 8 * piece // columns)):
        with torch.no_grad():
            meet = _circles_meet(some_a[:, None], b)
            if iou is _iou_3d:
                meet &= _heights_meet(some_a[:, None], b)
            pairs = meet.flatten().nonzero()[:, 0]
        values = [iou(_take(some_a, ij // columns), _take(b, ij % columns)) for ij in pairs.split(piece)]
        block = torch.zeros_like(meet, dtype=torch.float64).flatten()
        rows.append(block.scatter(0, pairs, torch.cat(values)).view(meet.shape))
    return torch.cat(rows).to(dtype)


def _aligned(a: Tensor, b: Tensor, measure: Measure) -> Tensor:
    """A measure pair by pair."""
    dtype = _check(a, b)
    try:
        shape = torch.broadcast_shapes(a.shape, b.shape)
    except RuntimeError as error:
        raise ValueError(f"boxes {tuple(a.shape)} and {tuple(b.shape)} do not pair up: {error}") from error
    a, b = (resolve_heading(boxes).expand(*shape[:-1], 8).reshape(-1, 8) for boxes in (a, b))
    pieces = [measure(i, j) for i, j in zip(a.split(_piece(a)), b.split(_piece(b)), strict=True)]
    return torch.cat(pieces).reshape(shape[:-1]).to(dtype)


def _take(boxes: Tensor, index: Tensor) -> Tensor:
    # boxes[index] uses threads for less than 100 boxes.
    return boxes.index_select(0, index)


def _piece(boxes: Tensor) -> int:
    return _PIECE_CPU if boxes.device.type == "cpu" else _PIECE_GPU


def _check(a: Tensor, b: Tensor) -> torch.dtype:
    """The dtype of the result."""
    for name, boxes in (("a", a), ("b", b)):
        if boxes.ndim < 1 or boxes.shape[-1] != 7:
            raise ValueError(f"boxes {name} must be (..., 7): x, y, z, h, w, l, ry; got {tuple(boxes.shape)}")
        if not boxes.isfinite().all():
            index = (~boxes.isfinite()).any(dim=-1).nonzero()[0].tolist()
            raise ValueError(f"boxes {name}[{', '.join(map(str, index))}] are not finite: leave such boxes out before")
    dtype = torch.promote_types(a.dtype, b.dtype)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()
