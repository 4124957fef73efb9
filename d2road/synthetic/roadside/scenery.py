"""Things beside the street that are not labelled: buildings, trees, bushes, lamp posts, signs, bins."""

from dataclasses import dataclass

import numpy as np

from d2road.synthetic.roadside.meshes import Mesh, SolidMesh, add_loft, add_tube, ellipse_ring, rectangle_ring
from d2road.synthetic.roadside.street_traffic import Street
from d2road.synthetic.roadside.textures import FACADE, FACADE_WIDE, LEAVES


@dataclass(frozen=True)
class Prop:
    """An unlabelled thing: mesh, place (2,), heading and convex footprint (K, 2), world frame."""

    mesh: SolidMesh
    position: np.ndarray
    heading: float
    footprint: np.ndarray


def sample_props(rng: np.random.Generator, street: Street) -> list[Prop]:
    """Line both sides of the street; junctions stay open."""
    props: list[Prop] = []
    for side in (-1, 1):
        verge = street.half_width + street.pavement
        _add_buildings(props, rng, street, side * (verge + rng.uniform(7, 22)))
        wooded = rng.random() < 0.75
        for s in np.arange(rng.uniform(18, 30), 130, rng.uniform(9, 22)):
            if wooded and rng.random() < 0.55 and _is_free(street, s, 4):
                _add(props, street, _tree(rng), s, side * (verge + rng.uniform(3.6, 7.0)), 2.0)
        for s in np.arange(rng.uniform(12, 30), 120, rng.uniform(22, 34)):
            if rng.random() < 0.6 and _is_free(street, s, 1):
                _add(props, street, _lamp(rng, side), s, side * (verge + 0.4 if street.pavement else verge + 3.0), 0.25)
        for _ in range(int(rng.integers(0, 5))):
            s = rng.uniform(10, 85)
            if _is_free(street, s, 2):
                mesh = [_bin, _bush, _sign][int(rng.integers(3))](rng)
                _add(props, street, mesh, s, side * (verge + rng.uniform(2.8, 6.0)), 0.8)
    return props


def _is_free(street: Street, s: float, margin: float) -> bool:
    return street.crossing_s is None or abs(s - street.crossing_s) > street.crossing_half + margin


def _add(props: list[Prop], street: Street, mesh: Mesh, s: float, t: float, radius: float) -> None:
    position = street.to_world(s, t)
    # Nothing that stands right at the pole: it would hide half of the image.
    if np.hypot(*position) < 8 or position[1] < 5:
        return
    angle = np.pi / 4 + np.pi / 2 * np.arange(4)
    footprint = position + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    props.append(Prop(mesh.freeze(), position, street.heading(0.0), footprint))


def _add_buildings(props: list[Prop], rng: np.random.Generator, street: Street, t: float) -> None:
    s = rng.uniform(10, 40)
    while s < 190:
        length, depth, height = rng.uniform(10, 34), rng.uniform(8, 16), rng.uniform(4, 18)
        middle = s + length / 2
        center_t = t + np.sign(t) * depth / 2
        blocked = (
            street.crossing_s is not None and abs(middle - street.crossing_s) < length / 2 + street.crossing_half + 4
        )
        position = street.to_world(middle, center_t)
        corners = street.to_world(
            middle + np.array([1, -1, -1, 1]) * length / 2, center_t + np.array([1, 1, -1, -1]) * depth / 2
        )
        if rng.random() < 0.75 and not blocked and corners[:, 1].min() > 12:
            color = np.array([0.5, 0.55, 0.6]) * rng.uniform(0.6, 1.35) + rng.normal(0, 0.06, 3)
            texture = FACADE if rng.random() < 0.6 else FACADE_WIDE
            mesh = Mesh()
            rings = [rectangle_ring((-length / 2, length / 2), depth / 2, z) for z in (0.0, height)]
            add_loft(mesh, rings, np.clip(color, 0.1, 0.9), texture=texture)
            props.append(Prop(mesh.freeze(), position, street.heading(0.0), corners))
        s += length + rng.uniform(1, 25)


def _blob(
    mesh: Mesh, rng: np.random.Generator, center: tuple[float, float, float], radius: float, color: np.ndarray
) -> None:
    levels = [(-0.95, 0.3), (-0.55, 0.85), (0.05, 1.0), (0.6, 0.78), (0.97, 0.25)]
    rings = []
    for z, r in levels:
        ring = ellipse_ring((center[0], center[1], center[2] + z * radius), (r * radius, r * radius), 7)
        rings.append(ring + rng.normal(0, 0.1 * radius, ring.shape) * [1, 1, 0.5])
    add_loft(mesh, rings, color, texture=LEAVES)


def _leaf_color(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.08, 0.26, 0.16]) * rng.uniform(0.7, 1.3) + rng.normal(0, 0.02, 3)


def _tree(rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    trunk = rng.uniform(1.6, 2.6)
    add_tube(mesh, (0, 0, 0), (0, 0, trunk + 2.2), (0.18, 0.1), (0.12, 0.17, 0.22))
    color = _leaf_color(rng)
    for _ in range(int(rng.integers(2, 4))):
        center = (rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), trunk + rng.uniform(1.0, 2.6))
        _blob(mesh, rng, center, rng.uniform(0.9, 1.35), color * rng.uniform(0.85, 1.15))
    return mesh


def _bush(rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    radius = rng.uniform(0.4, 0.75)
    _blob(mesh, rng, (0, 0, 0.8 * radius), radius, _leaf_color(rng))
    return mesh


def _lamp(rng: np.random.Generator, side: int) -> Mesh:
    mesh = Mesh()
    height = rng.uniform(6, 9)
    grey = np.full(3, rng.uniform(0.25, 0.6))
    add_tube(mesh, (0, 0, 0), (0, 0, height), (0.09, 0.06), grey, sides=6)
    # Streets lie to the left of their right side.
    add_tube(mesh, (0, 0, height), (0, side * 1.4, height + 0.2), (0.05, 0.05), grey)
    add_loft(mesh, [rectangle_ring((-0.12, 0.12), 0.1, z) + [0, side * 1.5, 0] for z in (height, height + 0.15)], grey)
    return mesh


def _sign(rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    add_tube(mesh, (0, 0, 0), (0, 0, 2.4), (0.04, 0.04), (0.5, 0.5, 0.5))
    color = [(0.6, 0.25, 0.1), (0.1, 0.1, 0.6), (0.1, 0.6, 0.75)][int(rng.integers(3))]
    plates = add_loft(mesh, [rectangle_ring((-0.03, 0.03), 0.35, z) for z in (1.75, 2.5)], color)
    mesh.add_decal(plates[0][3], (0.15, 0.85), (0.15, 0.85), (0.8, 0.8, 0.8))
    return mesh


def _bin(rng: np.random.Generator) -> Mesh:
    mesh = Mesh()
    color = [(0.15, 0.3, 0.12), (0.25, 0.25, 0.25), (0.1, 0.3, 0.55)][int(rng.integers(3))]
    size = rng.uniform(0.3, 0.6)
    add_loft(mesh, [rectangle_ring((-size, size), 0.35, z) for z in (0.0, rng.uniform(0.9, 1.3))], color)
    return mesh
