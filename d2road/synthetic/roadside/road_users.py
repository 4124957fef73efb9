"""What each class of road user looks like: mesh builder, sizes, colours, frequency."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from d2road.synthetic.roadside.meshes import Mesh, SolidMesh
from d2road.synthetic.roadside.people import build_cyclist, build_pedestrian
from d2road.synthetic.roadside.vehicles import build_bus, build_car, build_truck, build_van

# B, G, R
COLORS = {
    "white": (0.86, 0.86, 0.85),
    "black": (0.07, 0.065, 0.06),
    "silver": (0.62, 0.61, 0.6),
    "grey": (0.32, 0.31, 0.3),
    "red": (0.1, 0.08, 0.62),
    "blue": (0.55, 0.24, 0.1),
    "green": (0.2, 0.38, 0.12),
    "yellow": (0.1, 0.68, 0.86),
    "orange": (0.08, 0.38, 0.85),
    "brown": (0.12, 0.2, 0.33),
}
_CAR_COLORS = {
    "white": 22, "black": 18, "silver": 13, "grey": 14, "red": 10, "blue": 11, "green": 4, "yellow": 3, "orange": 2,
    "brown": 3,
}  # fmt: skip
_WORK_COLORS = {"white": 45, "silver": 10, "grey": 8, "red": 10, "blue": 14, "yellow": 6, "green": 4, "orange": 3}
_BUS_COLORS = {"white": 20, "red": 22, "blue": 20, "green": 16, "yellow": 12, "orange": 10}
_CLOTHES = {
    "white": 13,
    "black": 18,
    "grey": 12,
    "red": 14,
    "blue": 17,
    "green": 9,
    "yellow": 8,
    "orange": 5,
    "brown": 4,
}


@dataclass(frozen=True)
class RoadUser:
    """Mesh builder, mean and deviation of height, width, length (m), colour weights and share of all objects."""

    build: Callable[..., Mesh]
    mean_hwl: tuple[float, float, float]
    deviation_hwl: tuple[float, float, float]
    colors: dict[str, int]
    share: float

    def sample_hwl(self, rng: np.random.Generator) -> np.ndarray:
        """(3,) height, width, length in whole tenths of a millimetre, as the label files hold them."""
        normal = np.clip(rng.normal(size=3), -1.8, 1.8)
        return np.round(np.array(self.mean_hwl) + normal * np.array(self.deviation_hwl), 4)

    def sample_color(self, rng: np.random.Generator) -> str:
        """A colour name."""
        weights = np.array(list(self.colors.values()), dtype=np.float64)
        return str(rng.choice(list(self.colors), p=weights / weights.sum()))


CLASSES = {
    "car": RoadUser(build_car, (1.52, 1.82, 4.5), (0.09, 0.07, 0.28), _CAR_COLORS, 0.40),
    "van": RoadUser(build_van, (2.2, 2.0, 5.3), (0.18, 0.07, 0.4), _WORK_COLORS, 0.13),
    "truck": RoadUser(build_truck, (3.2, 2.42, 8.2), (0.25, 0.08, 1.3), _WORK_COLORS, 0.12),
    "bus": RoadUser(build_bus, (3.15, 2.52, 11.0), (0.1, 0.04, 0.9), _BUS_COLORS, 0.09),
    "cyclist": RoadUser(build_cyclist, (1.74, 0.62, 1.76), (0.06, 0.04, 0.05), _CLOTHES, 0.13),
    "pedestrian": RoadUser(build_pedestrian, (1.7, 0.56, 0.6), (0.09, 0.04, 0.14), _CLOTHES, 0.15),
}


def sample_kind(rng: np.random.Generator) -> str:
    """A class name, by share."""
    shares = np.array([c.share for c in CLASSES.values()])
    return str(rng.choice(list(CLASSES), p=shares / shares.sum()))


def build_mesh(kind: str, color_name: str, hwl: np.ndarray, seed: int) -> SolidMesh:
    """The mesh of one road user; `seed` fixes its details."""
    rng = np.random.default_rng(seed)
    color = np.clip(np.array(COLORS[color_name]) * rng.uniform(0.88, 1.12) + rng.normal(0, 0.015, 3), 0.02, 0.95)
    height, width, length = hwl
    return CLASSES[kind].build(float(length), float(width), float(height), color, rng).freeze()
