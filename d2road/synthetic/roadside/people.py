"""Meshes of pedestrians and cyclists (object frame: x forward, y left, z up)."""

import numpy as np
import numpy.typing as npt

from d2road.synthetic.roadside.meshes import Mesh, add_loft, add_tube, ellipse_ring

SKINS = np.array([(0.45, 0.56, 0.74), (0.36, 0.48, 0.68), (0.22, 0.32, 0.48), (0.14, 0.2, 0.3)])
HAIRS = np.array([(0.05, 0.05, 0.06), (0.1, 0.14, 0.2), (0.3, 0.45, 0.55), (0.5, 0.5, 0.5)])
TROUSERS = np.array([(0.3, 0.18, 0.12), (0.08, 0.08, 0.09), (0.28, 0.32, 0.36), (0.35, 0.4, 0.45)])
TYRE = (0.05, 0.05, 0.05)


def build_pedestrian(
    length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator
) -> Mesh:
    """A walking person whose jacket has the named colour; length is the stride."""
    mesh = Mesh()
    skin, hair, trousers = SKINS[rng.integers(4)], HAIRS[rng.integers(4)], TROUSERS[rng.integers(4)]
    hip, neck, stride = 0.5 * height, 0.83 * height, 0.42 * length
    side = rng.choice([-1, 1])
    for sign in (1, -1):
        forward = side * sign * stride
        foot = np.array([forward, sign * 0.09, 0.05])
        knee = np.array([0.6 * forward + 0.04, sign * 0.09, 0.28 * height])
        add_tube(mesh, (0, sign * 0.09, hip), knee, (0.09, 0.07), trousers)
        add_tube(mesh, knee, foot, (0.07, 0.05), trousers)
        add_tube(mesh, foot - (0.07, 0, 0.01), foot + (0.12, 0, -0.01), (0.045, 0.04), (0.05, 0.05, 0.06))
        hand = np.array([-0.8 * forward, sign * 0.24, 0.47 * height])
        elbow = np.array([-0.35 * forward, sign * 0.25, 0.62 * height])
        add_tube(mesh, (0, sign * 0.2, 0.8 * height), elbow, (0.06, 0.05), color)
        add_tube(mesh, elbow, hand, (0.05, 0.04), np.asarray(color) * 0.9)
    torso = [
        ellipse_ring((0, 0, 0.47 * height), (0.13, 0.18)),
        ellipse_ring((0, 0, 0.62 * height), (0.12, 0.17)),
        ellipse_ring((0, 0, 0.78 * height), (0.14, 0.22)),
        ellipse_ring((0, 0, neck), (0.06, 0.08)),
    ]
    add_loft(mesh, torso, color)
    if rng.random() < 0.3:  # a backpack
        bag = [ellipse_ring((-0.19, 0, z), (0.1, 0.15), 6) for z in (0.56 * height, 0.78 * height)]
        add_loft(mesh, bag, rng.uniform(0.05, 0.5, 3))
    _add_head(mesh, (0.01, 0, neck), height - neck, skin, hair)
    mesh.fit_to_box(length, width, height)
    return mesh


def build_cyclist(
    length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator
) -> Mesh:  # fmt: skip
    """A bicycle and its rider, who wears the named colour and sometimes a helmet."""
    mesh = Mesh()
    skin, trousers = SKINS[rng.integers(4)], TROUSERS[rng.integers(4)]
    frame = rng.uniform(0.05, 0.6, 3)
    radius = 0.335
    rear, front = -length / 2 + radius, length / 2 - radius
    _add_bicycle(mesh, rear, front, radius, frame, width)
    seat, shoulder = np.array([rear + 0.22, 0, 0.92]), np.array([rear + 0.52, 0, 1.38])
    across = np.array([0.0, 1.0, 0.0])
    for sign, pedal in ((1, (0.1, -0.12)), (-1, (-0.12, 0.1))):
        foot = np.array([rear + 0.48 + pedal[0], sign * 0.12, 0.3 + pedal[1]])
        knee = np.array([rear + 0.62 + pedal[0] * 0.5, sign * 0.12, 0.72 + pedal[1] * 0.5])
        add_tube(mesh, seat + sign * 0.1 * across, knee, (0.09, 0.07), trousers)
        add_tube(mesh, knee, foot, (0.065, 0.045), trousers)
        add_tube(mesh, foot - (0.08, 0, 0), foot + (0.13, 0, -0.02), (0.04, 0.035), (0.1, 0.1, 0.1))
        grip = np.array([front - 0.2, sign * 0.24, 1.02])
        add_tube(mesh, shoulder + sign * 0.18 * across, grip, (0.055, 0.035), color)
    axis = shoulder - seat
    rings = [
        ellipse_ring(seat, (0.13, 0.17)),
        ellipse_ring(seat + 0.5 * axis, (0.13, 0.17)),
        ellipse_ring(shoulder, (0.13, 0.21)),
        ellipse_ring(shoulder + (0.07, 0, 0.1), (0.06, 0.08)),
    ]
    add_loft(mesh, rings, color)
    helmet = rng.uniform(0.1, 0.9, 3) if rng.random() < 0.5 else HAIRS[rng.integers(4)]
    _add_head(mesh, shoulder + (0.1, 0, 0.08), height - shoulder[2] - 0.08, skin, helmet)
    mesh.fit_to_box(length, width, height)
    return mesh


def _add_bicycle(
    mesh: Mesh, rear: float, front: float, radius: float, color: npt.ArrayLike, width: float
) -> None:  # fmt: skip
    for x in (rear, front):
        _add_hoop(mesh, x, radius)
    crank, head = (rear + 0.45, 0, 0.3), (front - 0.18, 0, 0.88)
    saddle, bar = (rear + 0.22, 0, 0.88), (front - 0.22, 0, 1.02)
    for start, end in (
        ((rear, 0, radius), crank), ((rear, 0, radius), saddle), (crank, saddle), (crank, head), (saddle, head),
        ((front, 0, radius), head), (head, bar),
    ):  # fmt: skip
        add_tube(mesh, start, end, (0.025, 0.025), color, sides=4)
    add_tube(mesh, (bar[0], -width / 2, bar[2]), (bar[0], width / 2, bar[2]), (0.02, 0.02), (0.1, 0.1, 0.1), sides=4)


def _add_hoop(mesh: Mesh, x: float, radius: float, count: int = 12) -> None:
    """A wheel that one can see through: a ring with the square section of its tyre."""
    angle = 2 * np.pi * np.arange(count + 1) / count
    outer = np.stack([x + radius * np.cos(angle), np.zeros(count + 1), radius + radius * np.sin(angle)], axis=1)
    inner = np.array([x, 0, radius]) + 0.86 * (outer - [x, 0, radius])
    half = np.array([0.0, 0.022, 0.0])
    for i in range(count):
        a, b, c, d = outer[i], outer[i + 1], inner[i + 1], inner[i]
        mesh.add_face(np.array([a, b, c, d]) - half, TYRE)
        mesh.add_face(np.array([d, c, b, a]) + half, TYRE)
        mesh.add_face(np.array([a - half, a + half, b + half, b - half]), TYRE)
        mesh.add_face(np.array([d + half, d - half, c - half, c + half]), TYRE)


def _add_head(
    mesh: Mesh, base: npt.ArrayLike, height: float, skin: npt.ArrayLike, hair: npt.ArrayLike
) -> None:  # fmt: skip
    base = np.asarray(base, dtype=np.float64)
    levels = [(0.0, 0.06), (0.35, 0.085), (0.65, 0.1)]
    face = [ellipse_ring(base + (0, 0, level * height), (r, r * 0.85)) for level, r in levels]
    add_loft(mesh, face, skin)
    crown = [ellipse_ring(base + (0, 0, level * height), (r, r * 0.88)) for level, r in ((0.6, 0.108), (0.9, 0.08))]
    add_loft(mesh, [*crown, ellipse_ring(base + (0, 0, height), (0.03, 0.03))], hair)
