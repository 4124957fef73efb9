"""Camera site: where a roadside camera stands along a road of trajectories, and the stretch of road in its view.

A road position is (s, lane) as trajectories have it; the camera's own road axis has `along` (m from the foot point in
the axis' heading) and `offset` (m to the left of it). Tracks of a camera have s = direction * along, which rises in the
nominal direction of travel whichever way the camera looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from d2road.traffic.table import Trajectories, codes_in
from d2road.utils.errors import DataError

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.roadside_camera import RoadsideCamera

NEAR_M, FAR_M = 10.0, 80.0  # distances from the foot point at which vehicles are looked for
STEP_M = 0.5
LANE_CHANGE_S = 3.0  # that a vehicle takes from the middle of a lane to that of the next


@dataclass(frozen=True)
class CameraSite:
    """A camera beside (or above) one carriageway of recorded trajectories.

    Args:
        camera: with its road.
        origin_s: m, of the trajectories, at the camera's foot point.
        direction: 1 where traffic drives along the heading of the road axis (away from a camera that looks along it),
            -1 where it comes towards it.
        lanes: offset in m of the middle of each lane of the trajectories, from the road axis.
        near_m, far_m: distances from the foot point between which vehicles are looked for.
    Raises:
        DataError: the camera knows no road, or numbers that make no sense.
    """

    camera: RoadsideCamera
    origin_s: float
    direction: int
    lanes: Mapping[str, float]
    near_m: float = NEAR_M
    far_m: float = FAR_M

    def __post_init__(self) -> None:
        if self.camera.road is None or not len(self.camera.road.borders_m):
            raise DataError("a camera site needs the road of its camera: heading and lane borders (camera.yaml, road)")
        if self.direction not in (1, -1) or not 0 <= self.near_m < self.far_m:
            raise DataError(
                f"direction is {self.direction} and the view {self.near_m:g} to {self.far_m:g} m: expected 1 or -1, "
                "and a near end before the far one"
            )

    @property
    def view(self) -> tuple[float, float]:
        """Lower and upper s (m, of the camera's tracks) of the road that is in its view; see `view_stretch`."""
        return view_stretch(self.camera, self.direction, self.near_m, self.far_m)

    def in_recording(self, s: float) -> float:
        """The s of the recording (m) at an s of the camera's tracks."""
        return self.origin_s + s

    def crop(self, table: Trajectories, margin_m: float = 0.0) -> Trajectories:
        """Rows of the lanes of the site whose vehicle's middle lies in the view, or `margin_m` beside it.

        Returns:
            a table with the camera's s.
        """
        low, high = self.view
        frame = table.frame
        s = frame["s"].to_numpy() - self.origin_s
        middle = s - frame["length"].to_numpy(float) / 2
        keep = (middle >= low - margin_m) & (middle < high + margin_m) & codes_in(frame["lane"], self.lanes)
        kept = frame.assign(s=s, direction=np.int8(self.direction))[keep]
        return Trajectories(kept.reset_index(drop=True)).compact()

    def ground(self, s: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """(N, 2) ground points of places on the camera's road."""
        road = self.camera.road
        assert road is not None, "checked when the site was made"
        return road.to_ground(np.stack([self.direction * s, offset], axis=-1))

    def lane_names(self, offset: np.ndarray) -> np.ndarray:
        """(N,) names of the camera's lanes at offsets; what is beside the outer lanes is theirs."""
        road = self.camera.road
        assert road is not None, "checked when the site was made"
        return np.asarray(road.lane_of(np.clip(offset, *road.borders_m[[0, -1]]))).astype(str)

    def offsets(self, table: Trajectories) -> np.ndarray:
        """(N,) offset of each row from the road axis, m; who changes lanes takes LANE_CHANGE_S for it.

        Args:
            table: one recording, rows sorted by t as it has them.
        """
        frame = table.frame
        names = list(frame["lane"].cat.categories)
        center = np.array([self.lanes.get(name, np.nan) for name in names])[frame["lane"].cat.codes.to_numpy()]
        if not np.isfinite(center).all():
            raise DataError(f"trajectories have lanes {', '.join(names)}; the site knows {', '.join(self.lanes)}")
        vehicle, t = frame["vehicle"].cat.codes.to_numpy(), frame["t"].to_numpy()
        order = np.lexsort((t, vehicle))
        # One search for all: a vehicle's times are far from those of the next one.
        key = t[order] - t.min(initial=0.0) + vehicle[order] * (np.ptp(t) + 2 * LANE_CHANGE_S if len(t) else 0.0)
        low = np.searchsorted(key, key - LANE_CHANGE_S / 2 - 1e-6)
        high = np.searchsorted(key, key + LANE_CHANGE_S / 2 + 1e-6)
        total = np.append(0.0, np.cumsum(center[order]))
        offset = np.empty(len(t))
        offset[order] = (total[high] - total[low]) / (high - low)
        return offset


def view_stretch(
    camera: RoadsideCamera, direction: int | None, near_m: float = NEAR_M, far_m: float = FAR_M
) -> tuple[float, float]:
    """Lower and upper s (m) between which the middle of every lane of a direction is in the image of a camera.

    Args:
        direction: of the lanes, 1 or -1; s is direction times the distance along the road axis. None: of all lanes, and
            s is that distance.
        near_m, far_m: distances from the foot point that the stretch keeps.
    Raises:
        DataError: the road is not in the image.
    """
    road = camera.road
    own = None if road is None else road.directions == direction if direction else np.ones(len(road.directions), bool)
    if road is None or own is None or not own.any():
        which = f"no lane of direction {direction}" if direction else "no lanes"
        raise DataError(f"the camera's road has {which}: give its heading and lane borders")
    along = np.arange(-far_m, far_m + STEP_M / 2, STEP_M)
    middles = (road.borders_m[:-1] + road.borders_m[1:])[own] / 2
    points = road.to_ground(np.stack(np.broadcast_arrays(along[:, None], middles), axis=-1))
    pixels = camera.ground_to_image(points)
    distance = np.hypot(points[..., 0], points[..., 1])
    with np.errstate(invalid="ignore"):
        inside = (pixels >= 0).all(axis=-1) & (pixels[..., 0] < camera.width) & (pixels[..., 1] < camera.height)
    seen = (inside & (distance >= near_m) & (distance <= far_m)).all(axis=1)
    if seen.sum() < 2:
        raise DataError(
            f"no stretch of the road between {near_m:g} and {far_m:g} m lies in the image with all lanes"
            f"{f' of direction {direction}' if direction else ''}: check the road's heading and lane borders in the "
            "calibration"
        )
    ends = np.sort((direction or 1) * along[seen][[0, -1]])
    return float(ends[0]), float(ends[1])
