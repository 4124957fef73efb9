"""Exact IoU of oriented 3D boxes, of any rotation, on arrays.

The surface of the intersection of two convex bodies consists of the parts of each body's faces that lie in the other
body. Faces are clipped at the other box's six planes, and the volume follows from the areas and the normals of the
parts (divergence theorem): V = 1/3 sum of area * (normal . point).

Letters: N pairs, F = 6 faces, V vertices of a polygon (at most 4 + 6).
"""

import numpy as np

# Faces as corners in the drawing of structures/upright_boxes.py, and opposite corners of each: normals point outwards.
_FACES = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [0, 3, 7, 4], [1, 2, 6, 5], [0, 1, 5, 4], [2, 3, 7, 6]])
_CHUNK = 4096
_FLAT_M3 = 1e-9
_SAME_M = 1e-8  # faces closer than this are the same


def aligned_oriented_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of pairs of boxes.

    Args:
        a, b: (N, 8, 3) corners in the order drawn in structures/upright_boxes.py.
    Returns:
        (N,) in [0, 1]; 0 for boxes without volume.
    Raises:
        ValueError: other shapes.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 3 or a.shape[1:] != (8, 3):
        raise ValueError(f"boxes are two arrays (N, 8, 3) of corners, got {a.shape} and {b.shape}")
    volume_a, volume_b = _volume(a), _volume(b)
    apart = np.linalg.norm(a.mean(axis=1) - b.mean(axis=1), axis=1)
    near = (apart < _radius(a) + _radius(b)) & (volume_a > _FLAT_M3) & (volume_b > _FLAT_M3)
    inter = np.zeros(len(a))
    for rows in np.array_split(np.flatnonzero(near), max(1, -(-int(near.sum()) // _CHUNK))):
        if len(rows):
            inter[rows] = _intersection_volume(a[rows], b[rows])
    inter = np.clip(inter, 0, np.minimum(volume_a, volume_b))
    union = volume_a + volume_b - inter
    return np.divide(inter, union, out=np.zeros(len(a)), where=union > 0)


def pairwise_oriented_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) IoU of all pairs of (N, 8, 3) and (M, 8, 3) corners."""
    a, b = np.asarray(a, dtype=np.float64).reshape(-1, 8, 3), np.asarray(b, dtype=np.float64).reshape(-1, 8, 3)
    first, second = np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1, 1))
    return aligned_oriented_iou(first, second).reshape(len(a), len(b))


def _volume(corners: np.ndarray) -> np.ndarray:
    edges = corners[:, [1, 3, 4]] - corners[:, :1]
    return np.abs(np.linalg.det(edges))


def _radius(corners: np.ndarray) -> np.ndarray:
    return np.linalg.norm(corners[:, 0] - corners[:, 6], axis=1) / 2


def _intersection_volume(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    origin = (a.mean(axis=1, keepdims=True) + b.mean(axis=1, keepdims=True)) / 2
    a, b = a - origin, b - origin  # small numbers: areas far from the origin would lose digits
    normals_a, offsets_a = _planes(a)
    normals_b, offsets_b = _planes(b)
    # A face that both boxes share would count twice: it is kept of a, whatever the rounding, and left out of b.
    faces_b = b[:, _FACES]  # (N, F, 4, 3)
    height = np.abs(np.einsum("nfvc,ngc->nfgv", faces_b, normals_a) - offsets_a[:, None, :, None]).max(axis=3)
    shared = (height < _SAME_M) & (np.einsum("nfc,ngc->nfg", normals_b, normals_a) > 0)
    parts_a = _flux(a[:, _FACES], normals_a, offsets_a, normals_b, offsets_b + 2 * _SAME_M)
    parts_b = _flux(faces_b, normals_b, offsets_b, normals_a, offsets_a)
    return (parts_a.sum(axis=1) + np.where(shared.any(axis=2), 0, parts_b).sum(axis=1)) / 3


def _planes(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outward normals (N, F, 3) and offsets (N, F), with normal . x <= offset inside."""
    faces = corners[:, _FACES]  # (N, F, 4, 3)
    normals = np.cross(faces[:, :, 1] - faces[:, :, 0], faces[:, :, 3] - faces[:, :, 0])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    outwards = faces.mean(axis=2) - corners.mean(axis=1)[:, None]
    normals *= np.sign((normals * outwards).sum(axis=-1, keepdims=True))
    return normals, (normals * faces.mean(axis=2)).sum(axis=-1)


def _flux(
    faces: np.ndarray, normals: np.ndarray, offsets: np.ndarray, cut_normals: np.ndarray, cut_offsets: np.ndarray
) -> np.ndarray:
    """(N, F) area * (normal . point) of the part of each face that lies inside the other box."""
    n = len(faces)
    polygons = faces.reshape(n * 6, 4, 3)
    count = np.full(n * 6, 4)
    for plane in range(6):
        normal, offset = np.repeat(cut_normals[:, plane], 6, axis=0), np.repeat(cut_offsets[:, plane], 6)
        polygons, count = _clip(polygons, count, normal, offset)
    # The area vector of a polygon is half the sum of the cross products of its edges.
    following = _following(polygons, count)
    used = np.arange(polygons.shape[1]) < count[:, None]
    area_vectors = np.where(used[..., None], np.cross(polygons, following), 0).sum(axis=1) / 2  # (N F, 3)
    return np.linalg.norm(area_vectors, axis=1).reshape(n, 6) * offsets


def _clip(
    polygons: np.ndarray, count: np.ndarray, normals: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The parts of polygons (P, V, 3), of which `count` (P,) vertices are used, with normal . x <= offset.

    Source: Sutherland, Hodgman, Reentrant Polygon Clipping, CACM 1974, for all polygons at once.
    """
    slots = polygons.shape[1]
    used = np.arange(slots) < count[:, None]
    height = np.einsum("pvc,pc->pv", polygons, normals) - offsets[:, None]
    following = _following(polygons, count)
    next_height = np.einsum("pvc,pc->pv", following, normals) - offsets[:, None]
    crosses = used & ((height <= 0) != (next_height <= 0))
    share = height / np.where(crosses, height - next_height, 1)
    crossing = polygons + share[..., None] * (following - polygons)
    # Each vertex is followed by the crossing on its edge; those that stay move to the front.
    points = np.stack([polygons, crossing], axis=2).reshape(len(polygons), 2 * slots, 3)
    stays = np.stack([used & (height <= 0), crosses], axis=2).reshape(len(polygons), 2 * slots)
    count = stays.sum(axis=1)
    order = np.argsort(~stays, axis=1, kind="stable")[:, : max(count.max(), 1)]
    return np.take_along_axis(points, order[..., None], axis=1), count


def _following(polygons: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(P, V, 3) for each vertex the next one around the polygon."""
    position = np.arange(polygons.shape[1])
    following = np.where(position + 1 < count[:, None], position + 1, 0)
    return np.take_along_axis(polygons, following[..., None], axis=1)
