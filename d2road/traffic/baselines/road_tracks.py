"""The tracks of a carriageway for some time, a window's or a whole recording's, and what they show in windows.

Letters: V vehicles of windows, C kinds of evidence.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from d2road.traffic.baselines.absence import Absences, find_absences
from d2road.traffic.baselines.driving_states import DrivingStates, compute_driving_states
from d2road.traffic.baselines.evidence_scale import ROAD, EvidenceScale
from d2road.traffic.baselines.forecaster import MotionForecaster, Surprise
from d2road.traffic.baselines.lasting_features import sorted_samples
from d2road.traffic.baselines.lasting_rules import window_density
from d2road.traffic.baselines.track_evidence import EVIDENCE, compute_track_evidence
from d2road.traffic.baselines.vehicle_rarity import WindowVehicles
from d2road.traffic.time_space.traffic_window import TrafficWindow, windows_of_one_time

ABSENT = "absent"  # seconds without a vehicle though it should be there
KINDS = (*EVIDENCE, ABSENT)


@dataclass(frozen=True)
class Place:
    """Where a window is, t0 to t1 in s and s0 to s1 in m, and its density in vehicles per km.

    stretch: m, of it the part that is seen; None: all of it.
    """

    t0: float
    t1: float
    s0: float
    s1: float
    density: float
    stretch: tuple[float, float] | None = None


@dataclass(frozen=True)
class RoadTracks:
    """States of all vehicles of a carriageway, the gaps of their tracks, and the scale of evidence."""

    states: DrivingStates
    absences: Absences
    scale: EvidenceScale = ROAD

    @classmethod
    def of(cls, window: TrafficWindow, scale: EvidenceScale = ROAD, s_end: float = np.inf) -> "RoadTracks":
        """All that a window's table holds while it lasts; s_end: m, where what is seen ends."""
        samples, names = sorted_samples(window)
        return cls(compute_driving_states(samples, names, window.t0, scale, s_end), find_absences(samples), scale)

    def vehicles(
        self, forecaster: MotionForecaster, places: Sequence[Place], surprise: Surprise | None = None
    ) -> tuple[WindowVehicles, np.ndarray]:
        """Evidence KINDS of the vehicles of windows, and the vehicles' numbers in `states.names`: (V,).

        Args:
            places: of windows; those of one time are best side by side.
            surprise: of the states by the forecaster, where it is known already, see `surprises`.
        """
        states = self.states
        if surprise is None:
            surprise = forecaster.surprise(states.values, states.acceleration, states.changes)
        evidence = compute_track_evidence(states, surprise, self.scale)
        window, numbers, values = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)], [np.zeros((0, len(KINDS)))]
        for first, group in _of_one_time(places):
            extents = [(place.s0, place.s1) for place in group]
            found = evidence.windows(group[0].t0, group[0].t1, extents)
            for number, (place, (vehicle, rows)) in enumerate(zip(group, found), first):
                low, high = place.stretch or (place.s0, place.s1)
                gone, seconds = self.absences.longest(place.t0, place.t1, low, high)
                absent = np.zeros(len(states.names))
                np.maximum.at(absent, gone, seconds)
                window.append(np.full(len(vehicle), number))
                numbers.append(vehicle)
                values.append(np.column_stack([rows, absent[vehicle]]))
        density = np.array([place.density for place in places], dtype=float)
        found_vehicles = WindowVehicles(density, np.concatenate(window), np.concatenate(values))
        return found_vehicles, np.concatenate(numbers)


@dataclass(frozen=True)
class DescribedTracks:
    """What N windows show of vehicles before anything is fitted: tracks, each once, with the places of its windows."""

    groups: tuple[tuple[RoadTracks, tuple[Place, ...]], ...]

    def __len__(self) -> int:
        return sum(len(places) for _, places in self.groups)

    @classmethod
    def of(cls, windows: Iterable[TrafficWindow], scale: EvidenceScale = ROAD) -> "DescribedTracks":
        """Of windows, those of one time side by side, which are gone through once and not kept."""
        return cls(
            tuple(
                (
                    RoadTracks.of(group[0], scale, max(w.s1 for w in group)),
                    tuple(Place(w.t0, w.t1, w.s0, w.s1, window_density(w), w.stretch) for w in group),
                )
                for group in windows_of_one_time(windows)
            )
        )

    @classmethod
    def joined(cls, parts: Sequence["DescribedTracks"]) -> "DescribedTracks":
        """One after the other."""
        return cls(tuple(group for part in parts for group in part.groups))

    def part(self, keep: np.ndarray) -> "DescribedTracks":
        """Those windows at which a boolean array (N,) is set."""
        numbers = iter(keep)
        chosen = ((tracks, tuple(p for p, kept in zip(places, numbers) if kept)) for tracks, places in self.groups)
        return DescribedTracks(tuple((tracks, places) for tracks, places in chosen if places))


def surprises(forecaster: MotionForecaster, tracks: Sequence[RoadTracks]) -> list[Surprise]:
    """How the states of each differ from the forecast; asked at once, which takes a fraction of the time."""
    if not tracks:
        return []
    states = [one.states for one in tracks]
    names = ("values", "acceleration", "changes")
    joined = forecaster.surprise(*(np.concatenate([getattr(one, name) for one in states]) for name in names))
    ends = np.cumsum([len(one.acceleration) for one in states])[:-1]
    parts = zip(*(np.split(getattr(joined, one.name), ends) for one in fields(joined)))
    return [Surprise(*part) for part in parts]


def _of_one_time(places: Sequence[Place]) -> Iterator[tuple[int, list[Place]]]:
    """Neighbours that begin and end together, with the number of the first one."""
    first = 0
    for number in range(1, len(places) + 1):
        if number == len(places) or (places[number].t0, places[number].t1) != (places[first].t0, places[first].t1):
            yield first, list(places[first:number])
            first = number
