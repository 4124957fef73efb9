"""Intersection area and convex hull of rotated rectangles, the footprints of upright 3D boxes, in closed form.

Neither function sorts angles nor decides which edges belong to the result. Both integrate heights of edges over x, so
that the result depends continuously on the boxes: identical, touching and parallel boxes need no special treatment.
Floatss and arrays go the same way; `Floats` is either.
"""

from typing import Any, TypeAlias

from d2road.structures.array_functions import as_float64, cat, constant, detached, namespace_of, take_along

Floats: TypeAlias = Any  # a tensor or an array: import of torch only where tensors are

# Edges shorter than this, in units of the other box, are taken as a point: a division by less spoils gradients.
_SHORT = 1e-10
# Signs of length and width of the corners 0 to 3 drawn in upright_boxes.py: once around, from x to z.
_SIGNS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


def resolve_heading(boxes: Floats) -> Floats:
    """Rows x, y, z, h, w, l, cos(ry), sin(ry) in float64 of boxes (..., 7) x, y, z, h, w, l, ry."""
    xp, boxes = namespace_of(boxes), as_float64(boxes)
    return cat([boxes[..., :6], xp.cos(boxes[..., 6:]), xp.sin(boxes[..., 6:])], axis=-1)


def overlap_area(a: Floats, b: Floats) -> Floats:
    """Area of the intersection of the footprints of upright boxes, pair by pair.

    In the frame of b, scaled so that b is the square [-1/2, 1/2]^2, the overlap is the integral over x in [-1/2, 1/2]
    of a's upper edge less its lower edge, each clamped to [-1/2, 1/2]:

              +1/2 +--------/-\\----+      an edge of a, from left to right, adds the area below it,
                   |       /...\\   |      from right to left subtracts it;
                   |      /....../ |      where the edge leaves b, it is replaced by b's border.
              -1/2 +-----/....../--+

    Args:
        a, b: (K, 8) of `resolve_heading`.
    Returns:
        (K,) m^2; 0 where a length or width is not positive. Finite gradients everywhere.
    """
    xp = namespace_of(a)
    length, width = b[:, 5], b[:, 4]
    flat = (length <= 0) | (width <= 0)
    x, y = _corners_seen_from(a, b)  # each (4, K), along b's length and width
    x0, y0 = x / xp.where(flat, 1.0, length), y / xp.where(flat, 1.0, width)
    x1, y1 = xp.roll(x0, -1, 0), xp.roll(y0, -1, 0)
    left, right = xp.clip(x0, -0.5, 0.5), xp.clip(x1, -0.5, 0.5)
    slope = (y1 - y0) * _inverse(x1 - x0)
    height = _mean_clamped(y0 + (left - x0) * slope, y1 + (right - x1) * slope)
    # The corners go round against the clock: upper edges run from right to left.
    area = ((left - right) * height).sum(0) * length * width
    return xp.where(flat, 0.0, xp.minimum(xp.minimum(xp.clip(area, 0, None), _area(a)), _area(b)))


def hull_area(a: Floats, b: Floats) -> Floats:
    """Area of the convex hull of both footprints of upright boxes, pair by pair.

    The hull's upper border at the x of a corner is the highest of all chords between a corner to the left and one to
    the right; between neighbouring x it is straight.

    Args:
        a, b: (K, 8) of `resolve_heading`.
    Returns:
        (K,) m^2. Finite gradients everywhere.
    """
    xp = namespace_of(a)
    corners = zip(_corners_seen_from(a, b), _corners_seen_from(b, b))
    x, y = (cat(both) for both in corners)  # each (8, K)
    scale = xp.clip(xp.amax(abs(detached(cat([x, y]))), 0), 1e-300, None)
    order = xp.argsort(x, 0)
    x, y = (take_along(values / scale, order) for values in (x, y))
    rows = [xp.zeros_like(x[0])]
    for k in range(1, 7):
        left_x, right_x = x[:k, None], x[None, k + 1 :]
        left_y, right_y = y[:k, None], y[None, k + 1 :]
        share = (x[k] - left_x) * _inverse(right_x - left_x)
        chords = (left_y + share * (right_y - left_y)).reshape((k * (7 - k), x.shape[1]))
        rows.append(xp.maximum(xp.amax(chords, 0), y[k]) - xp.minimum(xp.amin(chords, 0), y[k]))
    thickness = xp.stack([*rows, rows[0]])
    return ((x[1:] - x[:-1]) * (thickness[1:] + thickness[:-1])).sum(0) / 2 * scale**2


def _corners_seen_from(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Bottom corners of a along b's length and along b's width, from b's centre, m; each (4, K)."""
    signs = constant(_SIGNS, a)
    clip = namespace_of(a).clip
    length, width = clip(a[:, 5], 0, None) * signs[:, :1], clip(a[:, 4], 0, None) * signs[:, 1:]  # each (4, K)
    dx, dz = a[:, 0] - b[:, 0], a[:, 2] - b[:, 2]
    cos_a, sin_a, cos_b, sin_b = a[:, 6], a[:, 7], b[:, 6], b[:, 7]
    cos, sin = cos_a * cos_b + sin_a * sin_b, sin_a * cos_b - cos_a * sin_b  # of the turn from b to a
    along = cos_b * dx - sin_b * dz + cos * length + sin * width
    across = sin_b * dx + cos_b * dz - sin * length + cos * width
    return along, across


def _mean_clamped(start: Floats, end: Floats) -> Floats:
    """Mean of y clamped to [-1/2, 1/2] where y goes evenly from `start` to `end`."""
    clip = namespace_of(start).clip
    start_within, end_within = clip(start, -0.5, 0.5), clip(end, -0.5, 0.5)
    start_beyond, end_beyond = start - start_within, end - end_within
    inverse = _inverse(end - start)
    # Shares of the way above the square less that below it, and their sum.
    difference, total = (abs(end_beyond) - abs(start_beyond)) * inverse, (end_beyond - start_beyond) * inverse
    return 0.5 * difference + (1 - total) * (start_within + end_within) / 2


def _inverse(values: Floats) -> Floats:
    """1 / values, 0 for short ones."""
    where, short = namespace_of(values).where, abs(values) < _SHORT
    return where(short, 0.0, 1 / where(short, 1.0, values))


def _area(boxes: Floats) -> Floats:
    clip = namespace_of(boxes).clip
    return clip(boxes[:, 4], 0, None) * clip(boxes[:, 5], 0, None)
