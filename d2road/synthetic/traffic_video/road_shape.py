"""Roads that are not quite plane: a crown, or a change of grade, as heights over the plane that fits them best.

The ground frame of a clip has z = 0 in the plane that fits the road that the camera sees best (least squares), so the
plane of the camera's calibration is that one, and the height here is what it leaves.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from d2road.synthetic.roadside.street_traffic import Street

SURFACES = ("plane", "slope", "crown")
GRADE = 0.02
ROUND_M = 0.4  # of the crown's ridge
CURVE_M = 30.0  # of the vertical curve between two grades
FITTED_M = (8.0, 80.0)  # along the road


@dataclass(frozen=True)
class RoadShape:
    """Heights of a road.

    kind: of SURFACES; at_s: m, where the grade changes; sense: +1 uphill beyond it, -1 downhill; plane: what a, b, c of
    z = a s + b t + c are taken off.
    """

    street: Street
    kind: str = "plane"
    at_s: float = 40.0
    sense: float = 1.0
    plane: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def height(self, xy: npt.ArrayLike) -> np.ndarray:
        """(...,) m above the plane z = 0 at places (..., 2) of the ground frame."""
        xy = np.asarray(xy, dtype=np.float64)
        return self.height_at(*self.street_coordinates(xy))

    def height_at(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(...,) m above the plane z = 0 at places of the street."""
        if self.kind == "plane":
            return np.zeros_like(s)
        return self._own_height(s, t) - (self.plane[0] * s + self.plane[1] * t + self.plane[2])

    def street_coordinates(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """s and t of places (..., 2), the inverse of `Street.to_world`."""
        c, n = np.cos(self.street.yaw_rad), np.sin(self.street.yaw_rad)
        return n * xy[..., 0] + c * xy[..., 1], c * xy[..., 0] - n * xy[..., 1] + self.street.camera_t

    def _own_height(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        if self.kind == "crown":
            # It falls to the edges of the road; what is beside it is level.
            half = self.street.half_width
            return GRADE * (half - np.hypot(np.clip(np.abs(t), 0, half), ROUND_M))
        # The grade changes linearly over the curve.
        x = np.clip(s - self.at_s + CURVE_M / 2, 0, None)
        inside = x**2 / (2 * CURVE_M)
        return self.sense * GRADE * np.where(x < CURVE_M, inside, x - CURVE_M / 2)

    def axes(self, xy: np.ndarray, heading: float, reach_m: float = 1.0) -> np.ndarray:
        """(3, 3) rotation whose columns point ahead, left and up for a vehicle that stands at (2,) `xy`.

        It rests on the heights `reach_m` before, behind and beside that place.
        """
        ahead = np.array([np.cos(heading), np.sin(heading)])
        left = np.array([-ahead[1], ahead[0]])
        ends = self.height(xy + np.array([ahead, -ahead, left, -left]) * reach_m)
        forward = np.append(ahead, (ends[0] - ends[1]) / (2 * reach_m))
        aside = np.append(left, (ends[2] - ends[3]) / (2 * reach_m))
        forward /= np.linalg.norm(forward)
        up = np.cross(forward, aside)
        up /= np.linalg.norm(up)
        return np.stack([forward, np.cross(up, forward), up], axis=1)

    def deviation(self) -> dict[str, float]:
        """How far the road that was fitted lies from the plane z = 0: largest and root mean square, m."""
        s, t = _fitted_places(self.street)
        left = self.height(self.street.to_world(s, t))
        return {"largest_m": float(np.abs(left).max()), "rms_m": float(np.sqrt(np.mean(left**2)))}


def sample_shape(rng: np.random.Generator, street: Street, kind: str) -> RoadShape:
    """A road of a kind of SURFACES with its best plane taken off."""
    at_s, sense = float(rng.uniform(25.0, 55.0)), float(rng.choice([-1.0, 1.0]))
    if kind == "plane":
        return RoadShape(street)
    raw = RoadShape(street, kind, at_s, sense)
    s, t = _fitted_places(street)
    columns = np.stack([s, t, np.ones_like(s)], axis=1)
    plane = np.linalg.lstsq(columns, raw.height(street.to_world(s, t)), rcond=None)[0]
    return RoadShape(street, kind, at_s, sense, plane)


def _fitted_places(street: Street) -> tuple[np.ndarray, np.ndarray]:
    s, t = np.meshgrid(np.linspace(*FITTED_M, 73), np.linspace(-1, 1, 33) * street.half_width)
    return s.ravel(), t.ravel()
