"""Meshes of cars, vans, trucks and buses (object frame: x forward, y left, z up)."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from d2road.synthetic.roadside.meshes import Mesh, add_loft, add_wheel, octagon_ring, rectangle_ring
from d2road.synthetic.roadside.textures import CARGO, GRIME

GLASS = (0.16, 0.14, 0.12)
DARK = (0.06, 0.06, 0.06)
RIM = (0.55, 0.55, 0.55)
HEADLIGHT = (0.85, 0.92, 0.95)
TAIL_LIGHT = (0.08, 0.06, 0.62)
PLATE = (0.55, 0.32, 0.12)


def build_car(
    length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator
) -> Mesh:  # fmt: skip
    """Saloon, hatchback, estate or off-roader: a body with bonnet below a narrower glazed cabin."""
    mesh = Mesh()
    a, b = length / 2, width / 2
    style = rng.choice(["saloon", "hatchback", "estate"], p=[0.45, 0.35, 0.2])
    rear_base = {"saloon": -0.36, "hatchback": -0.49, "estate": -0.49}[style] * length
    rear_roof = {"saloon": -0.22, "hatchback": -0.34, "estate": -0.45}[style] * length
    belt = 0.6 * height
    cut = 0.16 * width
    rings = [
        octagon_ring((-a * 0.97, a * 0.97), b * 0.92, 0.13 * height, cut),
        octagon_ring((-a, a), b, 0.34 * height, cut),
        octagon_ring((-a * 0.98, a * 0.96), b * 0.95, (belt, 0.9 * belt), cut * 1.2),
    ]
    low, high = add_loft(mesh, rings, color, gloss=0.25, texture=GRIME)
    _add_car_ends(mesh, low, high)
    base = rectangle_ring((rear_base, 0.24 * length), b * 0.9, (belt * 0.99, 0.93 * belt))
    roof = rectangle_ring((rear_roof, 0.06 * length), b * 0.7, height)
    (cabin,) = add_loft(mesh, [base, roof], color, caps=(False, True), gloss=0.3)
    for side, pillars in ((cabin[0], (0.08, 0.5, 0.54, 0.93)), (cabin[2], (0.07, 0.46, 0.5, 0.92))):
        mesh.add_decal(side, pillars[:2], (0.12, 0.9), GLASS, gloss=0.5)
        mesh.add_decal(side, pillars[2:], (0.12, 0.9), GLASS, gloss=0.5)
    mesh.add_decal(cabin[1], (0.07, 0.93), (0.06, 0.94), GLASS, gloss=0.7)
    mesh.add_decal(cabin[3], (0.1, 0.9), (0.15, 0.9), GLASS, gloss=0.5)
    radius = 0.215 * height
    for x in (-0.3 * length, 0.31 * length):
        add_wheel(mesh, x, b * 0.985, radius, 1, RIM)
        add_wheel(mesh, x, -b * 0.985, radius, -1, RIM)
    mesh.fit_to_box(length, width, height)
    return mesh


def _add_car_ends(mesh: Mesh, low: list[int], high: list[int]) -> None:
    """Lights, plates and sills; octagon sides: 0 right, 1 corner, 2 front, 3 corner, 4 left, 5 corner, 6 rear."""
    mesh.add_decal(high[2], (0.2, 0.8), (0.05, 0.5), DARK)
    mesh.add_decal(low[2], (0.32, 0.68), (0.45, 0.85), PLATE)
    mesh.add_decal(low[6], (0.32, 0.68), (0.5, 0.95), PLATE)
    for face in (high[1], high[3]):
        mesh.add_decal(face, (0.1, 0.9), (0.15, 0.75), HEADLIGHT)
    for face in (high[5], high[7]):
        mesh.add_decal(face, (0.1, 0.9), (0.3, 0.9), TAIL_LIGHT)
    mesh.add_decal(high[6], (0.0, 0.22), (0.3, 0.85), TAIL_LIGHT)
    mesh.add_decal(high[6], (0.78, 1.0), (0.3, 0.85), TAIL_LIGHT)
    for face in (low[0], low[4]):
        mesh.add_decal(face, (0.0, 1.0), (0.0, 0.3), DARK)


def build_van(length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator) -> Mesh:
    """A panel van or minibus: one tall body with a short bonnet."""
    mesh = Mesh()
    a, b = length / 2, width / 2
    bonnet = a - 0.16 * length
    lower = [
        rectangle_ring((-a, a), b * 0.97, 0.12 * height),
        rectangle_ring((-a, a), b, 0.42 * height),
    ]
    (low,) = add_loft(mesh, lower, color, gloss=0.2, texture=GRIME)
    upper = [
        rectangle_ring((-a, a * 0.99), b, 0.42 * height),
        rectangle_ring((-a, bonnet + 0.05 * length), b * 0.98, 0.52 * height),
        rectangle_ring((-a * 0.98, bonnet - 0.1 * length), b * 0.88, height),
    ]
    add_upper = add_loft(mesh, upper, color, caps=(False, True), gloss=0.2)[1]
    mesh.add_decal(add_upper[1], (0.06, 0.94), (0.05, 0.75), GLASS, gloss=0.7)
    mesh.add_decal(add_upper[0], (0.72, 0.95), (0.12, 0.62), GLASS, gloss=0.5)
    mesh.add_decal(add_upper[2], (0.05, 0.28), (0.12, 0.62), GLASS, gloss=0.5)
    if rng.random() < 0.5:  # a minibus has windows all along
        mesh.add_decal(add_upper[0], (0.06, 0.68), (0.15, 0.6), GLASS, gloss=0.4)
        mesh.add_decal(add_upper[2], (0.32, 0.94), (0.15, 0.6), GLASS, gloss=0.4)
    mesh.add_decal(add_upper[3], (0.1, 0.48), (0.2, 0.65), GLASS, gloss=0.4)
    mesh.add_decal(add_upper[3], (0.52, 0.9), (0.2, 0.65), GLASS, gloss=0.4)
    for u in ((0.04, 0.2), (0.8, 0.96)):
        mesh.add_decal(low[1], u, (0.6, 0.95), HEADLIGHT)
        mesh.add_decal(low[3], u, (0.5, 1.0), TAIL_LIGHT)
    mesh.add_decal(low[1], (0.0, 1.0), (0.0, 0.35), DARK)
    mesh.add_decal(low[3], (0.35, 0.65), (0.3, 0.6), PLATE)
    for x in (-0.28 * length, 0.3 * length):
        add_wheel(mesh, x, b * 0.99, 0.155 * height, 1, RIM)
        add_wheel(mesh, x, -b * 0.99, 0.155 * height, -1, RIM)
    mesh.fit_to_box(length, width, height)
    return mesh


def build_truck(length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator) -> Mesh:
    """A lorry: cab in the named colour, cargo box of its own colour, or an open tipper body."""
    mesh = Mesh()
    a, b = length / 2, width / 2
    cab_length = min(2.1, 0.28 * length)
    cab_height = min(height, 2.7) * rng.uniform(0.85, 0.97)
    front = a - cab_length
    floor = 0.9
    rings = [
        rectangle_ring((front, a), b * 0.95, 0.4),
        rectangle_ring((front, a), b * 0.95, 0.55 * cab_height),
        rectangle_ring((front + 0.05, a - 0.25), b * 0.88, cab_height),
    ]
    low, high = add_loft(mesh, rings, color, gloss=0.2)
    mesh.add_decal(high[1], (0.06, 0.94), (0.05, 0.8), GLASS, gloss=0.6)
    mesh.add_decal(high[0], (0.3, 0.92), (0.05, 0.7), GLASS, gloss=0.4)
    mesh.add_decal(high[2], (0.08, 0.7), (0.05, 0.7), GLASS, gloss=0.4)
    mesh.add_decal(low[1], (0.15, 0.85), (0.35, 0.7), DARK)
    for u in ((0.03, 0.2), (0.8, 0.97)):
        mesh.add_decal(low[1], u, (0.05, 0.3), HEADLIGHT)
    chassis = [rectangle_ring((-a * 0.99, front), b * 0.5, z) for z in (0.5, floor)]
    add_loft(mesh, chassis, DARK)
    tipper = rng.random() < 0.3
    top = height * (0.75 if tipper else 1.0)
    if tipper:
        cargo_color = np.asarray(color) * rng.uniform(0.6, 0.9)
        # A tipper's body ends below the cab's guard, which then gives the vehicle its height.
        add_loft(mesh, [rectangle_ring((front, front + 0.3), b * 0.9, z) for z in (cab_height * 0.8, height)], color)
    else:
        cargo_color = np.array([(0.75, 0.76, 0.76), (0.62, 0.6, 0.58), (0.5, 0.3, 0.16), (0.25, 0.3, 0.6)])[
            rng.choice(4, p=[0.45, 0.25, 0.15, 0.15])
        ]
    box = [rectangle_ring((-a, front - 0.12), b, z) for z in (floor, top)]
    (cargo,) = add_loft(mesh, box, cargo_color, texture=CARGO)
    mesh.add_decal(cargo[3], (0.49, 0.51), (0.02, 0.98), DARK)
    if not tipper and rng.random() < 0.6:
        stripe = rng.uniform(0.1, 0.7, 3)
        mesh.add_decal(cargo[0], (0.1, 0.9), (0.4, 0.65), stripe)
        mesh.add_decal(cargo[2], (0.1, 0.9), (0.4, 0.65), stripe)
    tail = add_loft(mesh, [rectangle_ring((-a, -a + 0.1), b * 0.98, z) for z in (0.55, 0.8)], DARK)[0]
    for u in ((0.02, 0.15), (0.85, 0.98)):
        mesh.add_decal(tail[3], u, (0.1, 0.9), TAIL_LIGHT)
    axles = [front + cab_length * 0.45, -a + 0.22 * length]
    axles += [axles[1] + 1.15] if length > 8 else []
    for x in axles:
        add_wheel(mesh, x, b * 0.97, 0.48, 1, RIM)
        add_wheel(mesh, x, -b * 0.97, 0.48, -1, RIM)
    mesh.fit_to_box(length, width, height)
    return mesh


def build_bus(length: float, width: float, height: float, color: npt.ArrayLike, rng: np.random.Generator) -> Mesh:
    """A city bus: window band all round, doors on its right side, a lit destination sign."""
    mesh = Mesh()
    a, b = length / 2, width / 2
    rings = [
        rectangle_ring((-a, a), b * 0.98, 0.3),
        rectangle_ring((-a, a), b, 0.32 * height),
        rectangle_ring((-a, a * 0.99), b * 0.97, 0.93 * height),
        rectangle_ring((-a * 0.98, a * 0.96), b * 0.86, height),
    ]
    skirt, body, _ = add_loft(mesh, rings, color, gloss=0.2, texture=GRIME)
    panes = int(length / 1.5)
    edges = np.linspace(0.03, 0.97, panes + 1)
    for left, right in pairwise(edges):
        for side in (body[0], body[2]):
            mesh.add_decal(side, (left + 0.005, right - 0.005), (0.3, 0.85), GLASS, gloss=0.4)
    for u in ((0.14, 0.22), (0.55, 0.64)):  # doors
        mesh.add_decal(body[0], (1 - u[1], 1 - u[0]), (0.0, 0.85), (0.2, 0.19, 0.18), gloss=0.3)
    mesh.add_decal(body[1], (0.05, 0.95), (0.12, 0.78), GLASS, gloss=0.6)
    mesh.add_decal(body[1], (0.2, 0.8), (0.82, 0.97), (0.1, 0.6, 0.85))
    mesh.add_decal(body[3], (0.12, 0.88), (0.4, 0.82), GLASS, gloss=0.4)
    trim = np.array([(0.75, 0.75, 0.75), (0.2, 0.2, 0.2), (0.2, 0.4, 0.75)])[rng.integers(3)]
    for side in (skirt[0], skirt[2]):
        mesh.add_decal(side, (0.0, 1.0), (0.4, 0.75), trim)
    for u in ((0.03, 0.18), (0.82, 0.97)):
        mesh.add_decal(skirt[1], u, (0.5, 0.9), HEADLIGHT)
        mesh.add_decal(skirt[3], u, (0.3, 0.95), TAIL_LIGHT)
    add_loft(mesh, [rectangle_ring((-0.3 * a, 0.3 * a), b * 0.5, z) for z in (height, height + 0.12)], (0.6, 0.6, 0.6))
    for x in (-0.27 * length, 0.27 * length):
        add_wheel(mesh, x, b, 0.46, 1, RIM)
        add_wheel(mesh, x, -b, 0.46, -1, RIM)
    mesh.fit_to_box(length, width, height)
    return mesh
