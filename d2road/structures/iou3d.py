"""IoU and GIoU of upright 3D boxes, in 3D and from above (bird's-eye view, BEV).

Boxes are rows x, y, z (bottom centre, y down), h, w, l (m), ry (rad) and stand upright along y. In the camera frame
that is KITTI's measure. Boxes on a ground to which the camera is tilted are measured truly in the ground frame:
`boxes.in_frame(R).to_kitti()` with `R = camera.ground_rotation()`.

All functions take tensors or, without torch, arrays. They compute in float64, on the device of the boxes, and return
the boxes' dtype. Gradients are finite everywhere. Pairs that cannot touch are sorted out first; the rest is computed in
pieces of bounded memory (with gradients, what the backward pass needs grows with the number of pairs that may touch). A
box without volume (area, in BEV) overlaps nothing: IoU 0. All raise ValueError for wrong shapes, NaN and infinity.

An accelerator would have to be waited for to sort out and to check. There the functions that go pair by pair compute
all pairs, and give NaN for boxes that are not finite.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from d2road.structures.array_functions import (
    cast,
    cat,
    floating_dtype,
    namespace_of,
    no_gradients,
    on_accelerator,
    placed,
    take_rows,
)
from d2road.structures.footprints import hull_area, overlap_area, resolve_heading

if TYPE_CHECKING:
    from torch import Tensor

Boxes = TypeVar("Boxes", np.ndarray, "Tensor")

# Pairs in one piece. On the CPU a piece stays in the cache and below the size at which torch shares an operation among
# threads: these operations are too short to gain from that, and lose much when other work keeps a core busy.
_PIECE_CPU, _PIECE_GPU = 2**11, 2**18

Measure = Callable[[Any, Any], Any]


def pairwise_iou_3d(a: Boxes, b: Boxes) -> Boxes:
    """IoU of all pairs: (N, 7), (M, 7) -> (N, M)."""
    return _pairwise(a, b, _iou_3d)


def pairwise_iou_bev(a: Boxes, b: Boxes) -> Boxes:
    """IoU of the footprints of all pairs: (N, 7), (M, 7) -> (N, M)."""
    return _pairwise(a, b, _iou_bev)


def pairwise_iou_bev_dense(a: "Tensor", b: "Tensor") -> "Tensor":
    """`pairwise_iou_bev` by the same operations whatever the boxes are, as a graph needs it: slower, unchecked."""
    torch = namespace_of(a)
    dtype, shape = torch.promote_types(a.dtype, b.dtype), (len(a), len(b), 8)
    a, b = resolve_heading(a)[:, None].expand(shape), resolve_heading(b)[None].expand(shape)
    meet = _circles_meet(a, b)
    a, b = a.flatten(0, 1), b.flatten(0, 1)
    overlap = torch.where(meet.flatten(), overlap_area(a, b), 0.0)
    return _ratio(overlap, _footprint(a) + _footprint(b) - overlap).view(meet.shape).to(dtype)


def aligned_iou_3d(a: Boxes, b: Boxes) -> Boxes:
    """IoU pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast."""
    return _aligned(a, b, _iou_3d)


def aligned_iou_bev(a: Boxes, b: Boxes) -> Boxes:
    """IoU of the footprints pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast."""
    return _aligned(a, b, _iou_bev)


def aligned_giou_3d(a: Boxes, b: Boxes) -> Boxes:
    """Generalised IoU in [-1, 1] pair by pair: (..., 7), (..., 7) -> (...), leading dimensions broadcast.

    The enclosure is the convex hull of both footprints times the extent in height of both. All pairs:
    `aligned_giou_3d(a[:, None], b)`.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.
    """
    return _aligned(a, b, _giou_3d)


def aligned_giou_bev(a: Boxes, b: Boxes) -> Boxes:
    """Generalised IoU of the footprints in [-1, 1], as `aligned_giou_3d`; enclosure: their convex hull."""
    return _aligned(a, b, _giou_bev)


def _iou_3d(a: Any, b: Any) -> Any:
    overlap, union = _overlap_and_union_3d(a, b)
    return _ratio(overlap, union)


def _iou_bev(a: Any, b: Any) -> Any:
    overlap, union = _overlap_and_union_bev(a, b)
    return _ratio(overlap, union)


def _giou_3d(a: Any, b: Any) -> Any:
    overlap, union = _overlap_and_union_3d(a, b)
    xp = namespace_of(a)
    low, high = xp.maximum(a[:, 1], b[:, 1]), xp.minimum(a[:, 1] - _height(a), b[:, 1] - _height(b))  # y is down
    hull = hull_area(a, b) * (low - high)
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def _giou_bev(a: Any, b: Any) -> Any:
    overlap, union = _overlap_and_union_bev(a, b)
    hull = hull_area(a, b)
    return _ratio(overlap, union) - _ratio(hull - union, hull)


def _overlap_and_union_3d(a: Any, b: Any) -> tuple[Any, Any]:
    """(K,) volumes of pairs (K, 8), (K, 8)."""
    xp, height_a, height_b = namespace_of(a), _height(a), _height(b)
    shared_height = xp.minimum(a[:, 1], b[:, 1]) - xp.maximum(a[:, 1] - height_a, b[:, 1] - height_b)
    # Written as a loss of height, not as a difference of the y, the height of equal boxes is exact.
    shared_height = xp.minimum(xp.minimum(xp.clip(shared_height, 0, None), height_a), height_b)
    overlap = _footprint_overlap(a, b, _circles_meet(a, b) & (shared_height > 0)) * shared_height
    return overlap, _footprint(a) * height_a + _footprint(b) * height_b - overlap


def _overlap_and_union_bev(a: Any, b: Any) -> tuple[Any, Any]:
    """(K,) areas of pairs (K, 8), (K, 8)."""
    overlap = _footprint_overlap(a, b, _circles_meet(a, b))
    return overlap, _footprint(a) + _footprint(b) - overlap


def _footprint_overlap(a: Any, b: Any, wanted: Any) -> Any:
    """(K,) overlap of the footprints where it is wanted (K,), else 0."""
    if on_accelerator(a):
        return namespace_of(a).where(wanted, overlap_area(a, b), 0.0)
    (chosen,) = namespace_of(a).where(wanted)
    return placed(a[:, 0], chosen, overlap_area(take_rows(a, chosen), take_rows(b, chosen)))


def _circles_meet(a: Any, b: Any) -> Any:
    """Whether the circles around two footprints meet; by broadcasting."""
    with no_gradients(a):
        reach = (_hypot(a[..., 4], a[..., 5]) + _hypot(b[..., 4], b[..., 5])) / 2
        return _hypot(a[..., 0] - b[..., 0], a[..., 2] - b[..., 2]) <= reach


def _hypot(x: Any, y: Any) -> Any:
    """hypot, which no graph of ONNX knows."""
    return namespace_of(x).sqrt(x * x + y * y)


def _heights_meet(a: Any, b: Any) -> Any:
    """Whether the extents in height overlap; by broadcasting."""
    return (a[..., 1] > b[..., 1] - b[..., 3]) & (b[..., 1] > a[..., 1] - a[..., 3])


def _ratio(part: Any, whole: Any) -> Any:
    """part / whole, 0 where the whole is nothing."""
    where, nothing = namespace_of(whole).where, whole <= 0
    return where(nothing, 0.0, part / where(nothing, 1.0, whole))


def _height(boxes: Any) -> Any:
    return namespace_of(boxes).clip(boxes[:, 3], 0, None)


def _footprint(boxes: Any) -> Any:
    clip = namespace_of(boxes).clip
    return clip(boxes[:, 4], 0, None) * clip(boxes[:, 5], 0, None)


def _pairwise(a: Any, b: Any, iou: Measure) -> Any:
    """An IoU of all pairs, 0 for those that cannot touch."""
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"all pairs need boxes (N, 7) and (M, 7), got {tuple(a.shape)} and {tuple(b.shape)}")
    dtype = _check(a, b)
    a, b = resolve_heading(a), resolve_heading(b)
    xp, rows = namespace_of(a), []
    piece, columns = _piece(a), max(1, len(b))
    for some_a in _pieces(a, max(1, 8 * piece // columns)):
        meet = _circles_meet(some_a[:, None], b)
        if iou is _iou_3d:
            meet = meet & _heights_meet(some_a[:, None], b)
        (pairs,) = xp.where(meet.reshape(-1))
        values = [iou(take_rows(some_a, ij // columns), take_rows(b, ij % columns)) for ij in _pieces(pairs, piece)]
        block = xp.zeros_like(meet.reshape(-1), dtype=xp.float64)
        rows.append(placed(block, pairs, cat(values)).reshape(meet.shape))
    return cast(cat(rows), dtype)


def _aligned(a: Any, b: Any, measure: Measure) -> Any:
    """A measure pair by pair."""
    dtype = _check(a, b, finite=not on_accelerator(a))
    try:
        shape = np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError as error:
        raise ValueError(f"boxes {tuple(a.shape)} and {tuple(b.shape)} do not pair up: {error}") from error
    xp = namespace_of(a)
    a, b = (xp.broadcast_to(resolve_heading(boxes), (*shape[:-1], 8)).reshape((-1, 8)) for boxes in (a, b))
    pieces = [measure(i, j) for i, j in zip(_pieces(a, _piece(a)), _pieces(b, _piece(b)), strict=True)]
    values = cat(pieces)
    if on_accelerator(a):
        values = xp.where((xp.isfinite(a) & xp.isfinite(b)).all(1), values, xp.nan)
    return cast(values.reshape(shape[:-1]), dtype)


def _pieces(values: Any, size: int) -> Iterator[Any]:
    """Parts of at most `size` rows, one at least."""
    for low in range(0, max(len(values), 1), size):
        yield values[low : low + size]


def _piece(boxes: Any) -> int:
    return _PIECE_GPU if on_accelerator(boxes) else _PIECE_CPU


def _check(a: Any, b: Any, finite: bool = True) -> Any:
    """The dtype of the result; `finite` checks numbers beside shapes."""
    xp = namespace_of(a)
    for name, boxes in (("a", a), ("b", b)):
        if boxes.ndim < 1 or boxes.shape[-1] != 7:
            raise ValueError(f"boxes {name} must be (..., 7): x, y, z, h, w, l, ry; got {tuple(boxes.shape)}")
        if finite and not xp.isfinite(boxes).all():
            index = xp.argwhere((~xp.isfinite(boxes)).any(-1))[0].tolist()
            raise ValueError(f"boxes {name}[{', '.join(map(str, index))}] are not finite: leave such boxes out before")
    return floating_dtype(a, b)
