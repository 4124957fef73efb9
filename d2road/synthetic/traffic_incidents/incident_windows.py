"""Images of a recording: where they are cut out, what they show, and which of their pixels are anomalous.

A window is 25.6 s and 512 m. The mask holds the pixels that the culprit paints while the incident lasts, grown by 3
pixels, from true positions: a lost track is where the vehicle was. The ignore mask holds, grown alike, what all other
pixels owe to the incident: vehicles that are not where they would be without it, the culprit's own afterwards included.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.incident_kinds import SPEEDING_FACTOR, Incident
from d2road.synthetic.traffic_incidents.network import SHOULDER, THREE_LANES
from d2road.synthetic.traffic_incidents.scenarios import Scenario
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer

# Ways to draw a window, and the category of the data set that each of them is.
VIEWS = {
    "overlay": TimeSpaceRenderer(),
    "stacked": TimeSpaceRenderer(lane_layout="stacked"),
}
CATEGORIES = {"overlay": "motorway", "stacked": "motorway_stacked"}
# A road of fewer lanes leaves the upper panels empty.
PANELS = (SHOULDER, *THREE_LANES.lanes)
DURATION_S, STRETCH_M = VIEWS["overlay"].duration, VIEWS["overlay"].stretch
GROW_PX = 3
# Beyond these, a vehicle is not where or not as fast as it would be without the incident.
MOVED_M, CHANGED_MPS = 3.0, 1.5
LEAST_PIXELS = 150  # of the mask of an overlay image, which is grown by 3 px on all sides
TRIES = 40


@dataclass(frozen=True)
class Cut:
    """Where a window begins: t0 in s, s0 in m."""

    t0: float
    s0: float

    @property
    def t1(self) -> float:
        """s, its end."""
        return self.t0 + DURATION_S

    @property
    def s1(self) -> float:
        """m, its end."""
        return self.s0 + STRETCH_M


def good_cuts(rng: np.random.Generator, scenario: Scenario, start: float, count: int) -> list[Cut]:
    """Windows one after the other, each at a place of its own."""
    low, high = scenario.observed
    places = rng.uniform(low, high - STRETCH_M, count)
    return [Cut(round(start + i * DURATION_S, 1), round(float(s0), 1)) for i, s0 in enumerate(places)]


def incident_cut(
    rng: np.random.Generator, table: Trajectories, incident: Incident, observed: tuple[float, float], last: float
) -> Cut:
    """A window that shows the incident: mostly its onset, of a long one perhaps a later part.

    Args:
        table: true positions.
        observed: m. last: s, where the recording ends.
    Raises:
        NotPossibleError: too little of the culprit is seen.
    """
    frame = culprit_rows(table, incident)
    t, s = frame["t"].to_numpy(), frame["s"].to_numpy()
    latest = max(incident.onset - 3.0, 0.5 * (incident.onset + incident.end) - 0.5 * DURATION_S)
    best, most = None, LEAST_PIXELS - 1
    for _ in range(TRIES):
        t0 = round(float(min(rng.uniform(incident.onset - 12.0, latest), last - DURATION_S)), 1)
        seen = (t >= t0) & (t < t0 + DURATION_S)
        place = rng.uniform(0.3, 0.7)
        if not seen.any():
            continue
        middle = 0.5 * (s[seen].min() + s[seen].max())
        cut = Cut(t0, round(float(np.clip(middle - place * STRETCH_M, observed[0], observed[1] - STRETCH_M)), 1))
        pixels = int(culprit_mask(VIEWS["overlay"], table, incident, cut).sum())
        if pixels >= 3 * LEAST_PIXELS:
            return cut
        if pixels > most:
            best, most = cut, pixels
    if best is None:
        raise NotPossibleError(f"{incident.vehicle} paints fewer than {LEAST_PIXELS} pixels")
    return best


def culprit_rows(table: Trajectories, incident: Incident) -> pd.DataFrame:
    """The culprit's rows during the incident."""
    frame = table.select(vehicles=[incident.vehicle]).frame
    t = frame["t"].to_numpy()
    return frame[(t >= incident.onset - 0.05) & (t <= incident.end + 0.05)]


def visible_incident(table: Trajectories, incident: Incident, scenario: Scenario) -> Incident:
    """The incident with the instants at which it can be seen: the culprit is on what is observed, and is one.

    Speeding counts above SPEEDING_FACTOR of the limit, tailgating from a time gap that is near the one aimed at.

    Raises:
        NotPossibleError: it cannot be seen for 2 s; or it came to nothing, for instance because the way was not free.
    """
    rows = culprit_rows(table, incident)
    if incident.kind == "speeding":
        rows = rows[rows["speed"] > SPEEDING_FACTOR * scenario.limit]
    elif incident.kind == "tailgating":
        close = time_gaps(table, incident.vehicle).reindex(rows["t"].round(1)).to_numpy() < 1.5 * incident.level + 0.1
        rows = rows[close]
    elif incident.kind == "lane_changes":
        lanes = rows["lane"].astype(str).to_numpy()
        if (lanes[1:] != lanes[:-1]).sum() < max(3, incident.level / 2):
            raise NotPossibleError("there was no room to change lanes")
    if len(rows) < 20:
        raise NotPossibleError(f"{incident.vehicle} is seen for less than 2 s")
    onset, end = (round(float(t), 1) for t in (rows["t"].min(), rows["t"].max()))
    return Incident(incident.kind, incident.severity, incident.vehicle, onset, end, incident.level)


def time_gaps(table: Trajectories, vehicle: str) -> pd.Series:
    """Seconds from a vehicle's front to the rear of the next one ahead in its lane, by instant; none alone."""
    frame = table.frame
    own = frame[(frame["vehicle"] == vehicle).to_numpy()].assign(t=lambda f: f["t"].round(1))
    others = frame[(frame["vehicle"] != vehicle).to_numpy()].assign(t=lambda f: f["t"].round(1))
    pairs = own.merge(others, on="t", suffixes=("", "_other"))
    pairs = pairs[(pairs["lane"].astype(str) == pairs["lane_other"].astype(str)) & (pairs["s_other"] > pairs["s"])]
    gap = (pairs["s_other"] - pairs["length_other"] - pairs["s"]) / pairs["speed"].clip(lower=0.1)
    return gap.groupby(pairs["t"]).min()


def affected(table: Trajectories, without: Trajectories, onset: float) -> Trajectories:
    """The rows from the onset on that would be elsewhere or faster without the incident."""
    frame = table.frame
    key = ["vehicle", "t"]
    ours = frame[key].assign(vehicle=frame["vehicle"].astype(str), t=frame["t"].round(1))
    theirs = without.frame[[*key, "s", "speed"]]
    theirs = theirs.assign(vehicle=theirs["vehicle"].astype(str), t=theirs["t"].round(1))
    # A left join keeps the order of the rows; who is not there at that instant has NaN, which is no small difference.
    twin = ours.merge(theirs, on=key, how="left")
    moved = ~(np.abs(frame["s"].to_numpy() - twin["s"].to_numpy()) <= MOVED_M)
    moved |= ~(np.abs(frame["speed"].to_numpy() - twin["speed"].to_numpy()) <= CHANGED_MPS)
    return table.where(moved & (frame["t"].to_numpy() >= onset))


def render(view: TimeSpaceRenderer, seen: Trajectories, cut: Cut) -> np.ndarray:
    """The image of a window, (H, W, 3) uint8."""
    return view.render(seen, cut.t0, cut.s0, lanes=_lanes(view))


def culprit_mask(view: TimeSpaceRenderer, table: Trajectories, incident: Incident, cut: Cut) -> np.ndarray:
    """The anomalous pixels of a window, (H, W) bool; table: true positions."""
    interval = (incident.onset, incident.end)
    return view.mask(table, cut.t0, cut.s0, [incident.vehicle], interval, lanes=_lanes(view), dilate=GROW_PX)


def ignore_mask(view: TimeSpaceRenderer, moved: Trajectories, mask: np.ndarray, cut: Cut) -> np.ndarray:
    """The pixels of a window that count neither way, (H, W) bool; moved: as `affected` returns it."""
    near = moved.between(cut.t0 - 1.0, cut.t1 + 1.0)
    if not len(near):
        return np.zeros_like(mask)
    return view.mask(near, cut.t0, cut.s0, near.vehicles, lanes=_lanes(view), dilate=GROW_PX) & ~mask


def density_and_speed(table: Trajectories, cut: Cut, lanes: int = len(THREE_LANES.lanes)) -> tuple[float, float]:
    """Vehicles per km and lane of a window, and their mean speed in m/s (NaN without any); table: true positions."""
    frame = table.between(cut.t0, cut.t1).frame
    s = frame["s"].to_numpy()
    inside = (s >= cut.s0) & (s < cut.s1) & (frame["lane"] != SHOULDER).to_numpy()
    instants = VIEWS["overlay"].size[1]
    per_km = inside.sum() / instants / (STRETCH_M / 1000) / lanes
    speed = float(frame["speed"].to_numpy()[inside].mean()) if inside.any() else float("nan")
    return float(per_km), speed


def _lanes(view: TimeSpaceRenderer) -> tuple[str, ...] | None:
    return PANELS if view.lane_layout == "stacked" else None
