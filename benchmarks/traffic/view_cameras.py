"""Roadside cameras of the benchmark of the view: drawn at random, each beside a carriageway that it sees for 60 m."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.synthetic.traffic_incidents.network import LANE_WIDTH_M, Road
from d2road.traffic.seeing.camera_site import FAR_M, CameraSite
from d2road.utils.errors import DataError

WIDTH, HEIGHT = 960, 540
NEAR_M = 20.0
AIM_M = 35.0
STEP_M = 5.0  # between places at which a camera may stand
LEAST_VIEW_S = 2.0
DRAWS = 100


@dataclass(frozen=True)
class InView:
    """A culprit in the view of a camera: from when to when (s), and between which s (m, of the camera's tracks)."""

    start: float
    end: float
    s_low: float
    s_high: float


def sample_camera(rng: np.random.Generator, road: Road, origin_s: float = 0.0) -> CameraSite:
    """A camera on a pole of 5 to 10 m beside a road, that looks with the traffic or against it."""
    for _ in range(DRAWS):
        site = _draw(rng, road, origin_s)
        try:
            low, high = site.view
        except DataError:
            continue
        if high - low > 0.9 * (FAR_M - NEAR_M):
            return site
    raise RuntimeError(f"{DRAWS} cameras were drawn, none sees the road from {NEAR_M:g} to {FAR_M:g} m")


def _draw(rng: np.random.Generator, road: Road, origin_s: float) -> CameraSite:
    direction = int(rng.choice((1, -1)))
    count = len(road.lanes)
    # Lanes are numbered from the right of the traffic; offsets grow to the left of the axis, which leaves the camera.
    first = rng.uniform(2.0, 6.0) * rng.choice((1, -1))
    borders = first + LANE_WIDTH_M * np.arange(count + 1) * np.sign(first)
    middles = (borders[:-1] + borders[1:]) / 2
    across = np.sort(middles)[::direction]  # rightmost lane of the traffic first
    focal, height = rng.uniform(1000, 1400), rng.uniform(5, 10)
    pitch = np.arctan(height / rng.uniform(15, 19)) - np.arctan(HEIGHT / 2 / focal)
    heading = np.pi / 2 - np.arctan2(middles.mean(), AIM_M) + np.deg2rad(rng.normal(0, 1.5))
    K = np.array([[focal, 0.0, WIDTH / 2], [0.0, focal, HEIGHT / 2], [0.0, 0.0, 1.0]])
    axis = RoadAxis(float(heading), np.sort(borders), np.full(count, direction))
    plane = plane_from_angles(float(pitch), np.deg2rad(rng.normal(0, 0.9)), float(height))
    camera = RoadsideCamera(WIDTH, HEIGHT, K, plane, road=axis)
    return CameraSite(camera, origin_s, direction, dict(zip(road.lanes, across)), NEAR_M, FAR_M)


def place_in_stretch(rng: np.random.Generator, site: CameraSite, low: float, high: float) -> float:
    """An `origin_s` (m) that puts the view of a site somewhere into a stretch of the recording."""
    view = site.view
    return float(rng.uniform(low, high - (view[1] - view[0])) - view[0])


def stay_in_view(t: np.ndarray, s: np.ndarray, origin_s: float, view: tuple[float, float]) -> InView | None:
    """When and where a culprit's rows (t s, s m of its middle in the recording) are in the view, if they are."""
    place = s - origin_s
    inside = (place >= view[0]) & (place < view[1])
    if not inside.any():
        return None
    return InView(
        float(t[inside].min()), float(t[inside].max()), float(place[inside].min()), float(place[inside].max())
    )


def place_at_culprit(
    rng: np.random.Generator, site: CameraSite, t: np.ndarray, s: np.ndarray, observed: Sequence[float]
) -> tuple[float, InView] | None:
    """An `origin_s` from which the culprit is at least LEAST_VIEW_S in view, all such places alike; None without."""
    low, high = site.view
    places = np.arange(observed[0] - low, observed[1] - high, STEP_M) + rng.uniform(0, STEP_M)
    stays = [(float(origin), stay_in_view(t, s, origin, (low, high))) for origin in places]
    good = [(origin, stay) for origin, stay in stays if stay is not None and stay.end - stay.start >= LEAST_VIEW_S]
    return good[int(rng.integers(len(good)))] if good else None
