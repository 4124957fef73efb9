"""Polygon meshes and the primitives that objects are made of.

Object frame: x forward, y left, z up, origin at the centre of the bottom face, metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MAX_CORNERS = 12
Span = tuple[float, float]


class Mesh:
    """A growing list of flat convex faces, counter-clockwise seen from outside.

    A decal is a face that lies on another one (its parent) and is painted only where the parent is seen.
    """

    def __init__(self) -> None:
        self.corners: list[np.ndarray] = []  # (K, 3) of each face
        self.colors: list[np.ndarray] = []
        self.parents: list[int] = []
        self.textures: list[int] = []
        self.gloss: list[float] = []

    def add_face(
        self,
        corners: np.ndarray,
        color: npt.ArrayLike,
        parent: int = -1,
        texture: int = -1,
        gloss: float = 0.0,
    ) -> int:
        """Add one face: (K, 3) corners, K <= 12; `texture` indexes `textures.bank()`. Returns its number."""
        self.corners.append(corners)
        self.colors.append(np.asarray(color, dtype=np.float64))
        self.parents.append(parent)
        self.textures.append(texture)
        self.gloss.append(gloss)
        return len(self.corners) - 1

    def add_decal(self, parent: int, u: Span, v: Span, color: npt.ArrayLike, gloss: float = 0.0) -> int:
        """Paint the part u x v (fractions along the parent's first and last edge) of a four-cornered face."""
        a, b, c, d = self.corners[parent]

        def at(s: float, t: float) -> np.ndarray:
            return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)

        corners = [at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])]
        return self.add_face(np.array(corners), color, parent, gloss=gloss)

    def fit_to_box(self, length: float, width: float, height: float) -> None:
        """Stretch the mesh slightly so that it touches all six faces of its box."""
        vertices = np.concatenate(self.corners)
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        size = np.array([length, width, height])
        fitted = ((vertices - low) / (high - low) - np.array([0.5, 0.5, 0.0])) * size
        self.corners = np.split(fitted, np.cumsum([len(face) for face in self.corners])[:-1])

    def freeze(self) -> "SolidMesh":
        """The finished mesh as arrays."""
        counts = np.array([len(face) for face in self.corners])
        # Faces share no vertices; a row counts up to its face's last corner and stays there.
        faces = (np.cumsum(counts) - counts)[:, None] + np.minimum(np.arange(MAX_CORNERS), counts[:, None] - 1)
        return SolidMesh(
            vertices=np.concatenate(self.corners).astype(np.float64),
            faces=faces,
            counts=counts.tolist(),
            colors=np.array(self.colors),
            gloss=np.array(self.gloss),
            parents=self.parents,
            textures=self.textures,
        )


@dataclass(frozen=True)
class SolidMesh:
    """A finished mesh: vertices (V, 3), faces (F, 12) as vertex numbers of which the first `counts` are real and the
    last one repeats, colours (F, 3), gloss (F,), parents and textures per face."""

    vertices: np.ndarray
    faces: np.ndarray
    counts: list[int]
    colors: np.ndarray
    gloss: np.ndarray
    parents: list[int]
    textures: list[int]

    def stand_at(self, position: np.ndarray, heading: float) -> np.ndarray:
        """(V, 3) world vertices of the mesh placed at (2,) `position` with its x axis along `heading`."""
        c, s = np.cos(heading), np.sin(heading)
        turned = self.vertices @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return turned + np.array([position[0], position[1], 0.0])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) vector product; for many small arrays three times as fast as numpy's general one."""
    product = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        product[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return product


def add_loft(
    mesh: Mesh,
    rings: Sequence[np.ndarray],
    color: npt.ArrayLike,
    caps: tuple[bool, bool] = (True, True),
    gloss: float = 0.0,
    texture: int = -1,
) -> list[list[int]]:
    """Join rings of (K, 3) points, counter-clockwise seen from the far end, each above the one before.

    Returns:
        The numbers of the side faces, [ring interval][side]; a side's first edge lies on the lower ring.
    """
    sides = []
    for low, high in pairwise(rings):
        row = []
        for i in range(len(low)):
            j = (i + 1) % len(low)
            row.append(mesh.add_face(np.array([low[i], low[j], high[j], high[i]]), color, -1, texture, gloss))
        sides.append(row)
    if caps[0]:
        mesh.add_face(np.asarray(rings[0])[::-1], np.asarray(color) * 0.5)
    if caps[1]:
        mesh.add_face(np.asarray(rings[-1]), color, gloss=gloss)
    return sides


def rectangle_ring(x: tuple[float, float], y: float, z: float | tuple[float, float]) -> np.ndarray:
    """(4, 3): sides run right (-y), front, left, rear; `z` may differ between rear and front."""
    z0, z1 = z if isinstance(z, tuple) else (z, z)
    return np.array([[x[0], -y, z0], [x[1], -y, z1], [x[1], y, z1], [x[0], y, z0]])


def octagon_ring(x: tuple[float, float], y: float, z: float | tuple[float, float], cut: float) -> np.ndarray:
    """(8, 3) rectangle without its corners (`cut` metres); sides: right, corner, front, corner, left, corner, rear."""
    z0, z1 = z if isinstance(z, tuple) else (z, z)
    plan = [
        (x[0] + cut, -y), (x[1] - cut, -y), (x[1], -y + cut), (x[1], y - cut),
        (x[1] - cut, y), (x[0] + cut, y), (x[0], y - cut), (x[0], -y + cut),
    ]  # fmt: skip
    slope = (z1 - z0) / (x[1] - x[0])
    return np.array([[px, py, z0 + slope * (px - x[0])] for px, py in plan])


def ellipse_ring(center: npt.ArrayLike, radii: tuple[float, float], count: int = 8) -> np.ndarray:
    """(count, 3) level ellipse around `center` with radii along x and y."""
    angle = 2 * np.pi * (np.arange(count) + 0.5) / count
    ring = np.stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle), np.zeros(count)], axis=1)
    return ring + np.asarray(center, dtype=np.float64)


def add_tube(
    mesh: Mesh, start: npt.ArrayLike, end: npt.ArrayLike, radii: tuple[float, float], color: npt.ArrayLike,
    sides: int = 5,
) -> None:  # fmt: skip
    """A limb or a pipe from `start` to `end` with a radius at each end."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (end - start) / np.linalg.norm(end - start)
    across = cross(axis, np.array([0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0]))
    across /= np.linalg.norm(across)
    other = cross(axis, across)
    angle = 2 * np.pi * np.arange(sides) / sides
    circle = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * other
    add_loft(mesh, [start + radii[0] * circle, end + radii[1] * circle], color)


def add_wheel(mesh: Mesh, x: float, y: float, radius: float, outward: int, rim: npt.ArrayLike) -> None:
    """A tyre that stands on the ground at x, its outer disc at y facing `outward` (+1 left, -1 right)."""
    angle = 2 * np.pi * np.arange(MAX_CORNERS) / MAX_CORNERS * -outward
    circle = np.stack([np.cos(angle), np.zeros(MAX_CORNERS), np.sin(angle)], axis=1)
    center = np.array([x, y, radius])
    disc = mesh.add_face(center + radius * circle, (0.035, 0.035, 0.035))
    mesh.add_face(center + 0.62 * radius * circle, rim, parent=disc)
    mesh.add_face(center + 0.18 * radius * circle, np.asarray(rim) * 0.5, parent=disc)
    # The tread: only the front and rear quarters can be seen from a pole.
    inner = center - np.array([0.0, outward * 0.22, 0.0])
    for i in range(MAX_CORNERS):
        j = (i + 1) % MAX_CORNERS
        quad = [center + radius * circle[i], inner + radius * circle[i], inner + radius * circle[j]]
        mesh.add_face(np.array([*quad, center + radius * circle[j]]), (0.05, 0.05, 0.05))
