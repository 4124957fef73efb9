"""Rules and a learned forecast together: how rare, in all it does, the rarest vehicle of a window is in good traffic.

The rules see states that good traffic does not have. The forecast sees what good drivers would do there: a vehicle that
crawls on a free road, does not give way to a gap that is too short, or changes lanes where nobody would, differs from
it for seconds, in a state that is nothing unusual by itself.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.baselines.forecaster import MotionForecaster
from d2road.traffic.baselines.lasting_rules import WORDS, window_density
from d2road.traffic.baselines.road_tracks import ABSENT, KINDS, Place, RoadTracks
from d2road.traffic.baselines.track_evidence import PLAIN
from d2road.traffic.baselines.vehicle_rarity import USUAL, VehicleRarity, WindowVehicles, sum_beyond_usual
from d2road.traffic.time_space.traffic_window import TrafficWindow

RULES = (*PLAIN, ABSENT)
LEARNED = ("above", "below", "unlikely")
IDM = ("idm_above", "idm_below")
FUSED = (*RULES, *LEARNED)
FORECAST_WORDS = {
    "above": "does not slow down where others would",
    "below": "is slow where others would accelerate",
    "unlikely": "drives as nobody would here",
    ABSENT: WORDS["missing"],
}


def columns_of(kinds: Sequence[str]) -> list[int]:
    """Places of kinds of evidence in KINDS."""
    return [KINDS.index(kind) for kind in kinds]


class TrackSurprise:
    """Rarities of one vehicle's kinds of evidence, by rules and against a learned forecast, added; from good traffic.

    A window scores as its highest vehicle. Evidence lasts for seconds (`track_evidence`), is compared with that of
    good windows of nearest density, and counts from where its tail begins (`vehicle_rarity`).

    Args:
        seed: of the forecaster.
        kinds: of evidence that is added.
    Raises:
        ImportError: scikit-learn is not installed; the extra `traffic` has it.
    """

    def __init__(self, seed: int = 0, kinds: Sequence[str] = FUSED):
        self.forecaster = MotionForecaster(seed)
        self.kinds = tuple(kinds)
        self.rarity: VehicleRarity | None = None

    def fit(self, windows: Iterable[TrafficWindow]) -> "TrackSurprise":
        """Fit on good windows, those of one time side by side.

        Raises:
            DataError: too few of them, or of seconds of driving.
        """
        parts = list(_tracks_of(windows))
        self.fit_tracks([tracks for tracks, _ in parts], [places for _, places in parts])
        return self

    def fit_tracks(self, tracks: Sequence[RoadTracks], places: Sequence[Sequence[Place]]) -> WindowVehicles:
        """Fit on good tracks and the places of their windows; returns the vehicles of these.

        Raises:
            DataError: as `fit`.
        """
        states = [one.states for one in tracks]
        self.forecaster.fit(
            np.concatenate([one.values[one.known] for one in states]) if states else np.zeros((0, 0)),
            np.concatenate([one.acceleration[one.known] for one in states]) if states else np.zeros(0),
            np.concatenate([one.changes[one.known] for one in states]) if states else np.zeros(0, dtype=bool),
        )
        good = WindowVehicles.joined([one.vehicles(self.forecaster, at)[0] for one, at in zip(tracks, places)])
        self.rarity = VehicleRarity(good)
        return good

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,), see the class; 0 for an empty road."""
        rarity = require_fit(self, self.rarity)
        found = [np.zeros(0)]
        for tracks, places in _tracks_of(windows):
            vehicles, _ = tracks.vehicles(self.forecaster, places)
            chosen = rarity.by_kind(vehicles)[:, columns_of(self.kinds)]
            found.append(vehicles.highest(sum_beyond_usual(chosen)))
        return np.concatenate(found)

    def explain(self, window: TrafficWindow) -> Explanation | None:
        """The vehicle that speaks for a window, and its rarest kind of evidence; None for an empty road."""
        rarity = require_fit(self, self.rarity)
        tracks, places = next(_tracks_of([window]))
        vehicles, numbers = tracks.vehicles(self.forecaster, places)
        if not len(numbers):
            return None
        columns = columns_of(self.kinds)
        by_kind = rarity.by_kind(vehicles)[:, columns]
        row = int(sum_beyond_usual(by_kind).argmax())
        best = int(by_kind[row].argmax())
        words = [
            {**WORDS, **FORECAST_WORDS}[self.kinds[i]] for i in np.argsort(-by_kind[row]) if by_kind[row, i] > USUAL
        ]
        states = tracks.states
        seen = np.flatnonzero(states.seconds.vehicle == numbers[row])
        middle = seen[len(seen) // 2]
        return Explanation(
            self.kinds[best], " and ".join(words[:2]) or {**WORDS, **FORECAST_WORDS}[self.kinds[best]],
            str(states.names[numbers[row]]), float(vehicles.values[row, columns[best]]),
            states.t0 + float(states.seconds.second[middle]) + 0.5, float(states.seconds.s[middle]),
        )  # fmt: skip


def _tracks_of(windows: Iterable[TrafficWindow]) -> Iterator[tuple[RoadTracks, list[Place]]]:
    """The tracks of windows of one time, once, and the windows' places."""
    group: list[TrafficWindow] = []

    def described() -> tuple[RoadTracks, list[Place]]:
        return RoadTracks.of(group[0]), [Place(w.t0, w.t1, w.s0, w.s1, window_density(w)) for w in group]

    for window in windows:
        if group and _time_of(window) != _time_of(group[0]):
            yield described()
            group = []
        group.append(window)
    if group:
        yield described()


def _time_of(window: TrafficWindow) -> tuple[str, float, float, int]:
    return window.recording, window.t0, window.t1, window.direction
