"""IoU of 3D boxes as grounding is scored with: `rotated` is true, `mono3dvg` is the published evaluation's.

Boxes are rows x, y, z (bottom centre, camera frame, y down), h, w, l (m), ry (rad).

The published Mono3DVG evaluation leaves the heading out and takes (h, w, l) as extents along (x, y, z): for a car of
1.5 x 1.6 x 3.9 m, an error of 90 degrees in its heading costs nothing, and 1 m sideways costs a car that crosses the
view 0.80 instead of 0.41. It is here to compare with published tables and for nothing else.
"""

from collections.abc import Callable, Sequence

import numpy as np

from d2road.structures import aligned_iou_3d


def iou_rotated(a: np.ndarray, b: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
    """True IoU pair by pair.

    Args:
        a, b: (N, 7).
        frames: (N, 3, 3) columns = axes of the frame in whose y axis `ry` turns and in which boxes stand upright
            (`Camera.ground_rotation()`); None: the camera frame.
    Returns:
        (N,) float64.
    Raises:
        ValueError: wrong shapes, NaN or infinity.
    """
    rows = [np.asarray(boxes, dtype=np.float64) for boxes in (a, b)]
    if frames is not None:  # `ry` is about the frame's y axis already
        axes = np.asarray(frames, dtype=np.float64)
        rows = [np.concatenate([np.einsum("ni,nij->nj", r[:, :3], axes), r[:, 3:]], axis=1) for r in rows]
    return aligned_iou_3d(*rows)


def iou_mono3dvg(a: np.ndarray, b: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
    """IoU pair by pair as Mono3DVG publishes it, in float32 like there (so that equal boxes may exceed 1 by 1e-6).

    Args:
        a, b: (N, 7).
        frames: not used: the heading does not count.
    Returns:
        (N,) float32.
    Source: values of the published evaluation, see tests. Zhan et al., Mono3DVG, AAAI 2024.
    """
    (center_a, size_a), (center_b, size_b) = _as_extents(a), _as_extents(b)
    low = np.maximum(center_a - size_a / 2, center_b - size_b / 2)
    high = np.minimum(center_a + size_a / 2, center_b + size_b / 2)
    shared = (high - low).prod(axis=1)
    union = size_a.prod(axis=1) + size_b.prod(axis=1) - shared
    meet = (high > low).all(axis=1)
    return np.where(meet, shared / np.where(meet, union, 1), np.float32(0))


IOUS: dict[str, Callable[..., np.ndarray]] = {"rotated": iou_rotated, "mono3dvg": iou_mono3dvg}


def overlap_tables(
    boxes: Sequence[np.ndarray], targets: Sequence[np.ndarray], frames: Sequence[np.ndarray | None], mode: str
) -> list[np.ndarray]:
    """IoU of every box with every target of the same expression, for many expressions at once.

    Args:
        boxes: (K, 7) of each expression, K may be 0.
        targets: (G, 7) of each expression, G may be 0.
        frames: for each expression as for `iou_rotated`, (3, 3) or None.
        mode: "rotated" or "mono3dvg".
    Returns:
        (K, G) of each expression.
    Raises:
        ValueError: unknown mode.
    """
    if mode not in IOUS:
        raise ValueError(f"IoU {mode!r}: choose one of {', '.join(IOUS)}")
    shapes = [(len(b), len(t)) for b, t in zip(boxes, targets)]
    left = [np.repeat(np.reshape(b, (-1, 7)), g, axis=0) for b, (_, g) in zip(boxes, shapes)]
    right = [np.tile(np.reshape(t, (-1, 7)), (k, 1)) for t, (k, _) in zip(targets, shapes)]
    turned = [np.tile(np.eye(3) if f is None else f, (k * g, 1, 1)) for f, (k, g) in zip(frames, shapes)]
    if not sum(k * g for k, g in shapes):
        return [np.zeros(shape) for shape in shapes]
    upright = all(frame is None for frame in frames)
    values = IOUS[mode](np.concatenate(left), np.concatenate(right), None if upright else np.concatenate(turned))
    ends = np.cumsum([k * g for k, g in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes)]


def _as_extents(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.asarray(boxes, dtype=np.float32)
    center = np.stack([rows[:, 0], rows[:, 1] - rows[:, 3] / 2, rows[:, 2]], axis=1)
    return center, rows[:, 3:6]
