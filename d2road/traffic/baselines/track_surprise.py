"""Rules and a learned forecast together: how rare, in all it does, the rarest vehicle of a window is in good traffic.

The rules see states that good traffic does not have. The forecast sees what good drivers would do there: a vehicle that
crawls on a free road, does not give way to a gap that is too short, or changes lanes where nobody would, differs from
it for seconds, in a state that is nothing unusual by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from d2road.traffic.baselines.baseline import digest_of, require_fit
from d2road.traffic.baselines.driving_states import STATE_FEATURES
from d2road.traffic.baselines.evidence_scale import CAMERA, ROAD
from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.baselines.forecaster import MotionForecaster
from d2road.traffic.baselines.lasting_rules import WORDS
from d2road.traffic.baselines.road_tracks import ABSENT, KINDS, DescribedTracks, Place, RoadTracks, surprises
from d2road.traffic.baselines.track_evidence import PLAIN
from d2road.traffic.baselines.vehicle_rarity import USUAL, VehicleRarity, WindowVehicles, sum_beyond_usual
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_list, as_object, field

VERSION = 1
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
    """

    scale = ROAD  # of evidence

    def __init__(self, seed: int = 0, kinds: Sequence[str] = FUSED):
        self.forecaster = MotionForecaster(seed)
        self.kinds = tuple(kinds)
        self.rarity: VehicleRarity | None = None

    @classmethod
    def describe(cls, windows: Iterable[TrafficWindow]) -> DescribedTracks:
        """What windows, those of one time side by side, show, for `fit_described` and `scores_described`."""
        return DescribedTracks.of(windows, cls.scale)

    def fit(self, windows: Iterable[TrafficWindow]) -> "TrackSurprise":
        """Fit on good windows, those of one time side by side.

        Raises:
            ConfigError: scikit-learn is not installed; the extra `traffic` has it.
            DataError: too few of them, or of seconds of driving.
        """
        return self.fit_described(self.describe(windows))

    def fit_described(self, good: DescribedTracks) -> "TrackSurprise":
        """Fit on what `describe` says of good windows; raises as `fit`."""
        self.fit_tracks([tracks for tracks, _ in good.groups], [places for _, places in good.groups])
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
        known = surprises(self.forecaster, tracks)
        good = WindowVehicles.joined(
            [one.vehicles(self.forecaster, at, of)[0] for one, at, of in zip(tracks, places, known)]
        )
        self.rarity = VehicleRarity(good)
        return good

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,), see the class; 0 for an empty road."""
        return self.scores_described(self.describe(windows))

    def scores_described(self, windows: DescribedTracks) -> np.ndarray:
        """(N,), from what `describe` says of the windows."""
        rarity = require_fit(self, self.rarity)
        found = [np.zeros(0)]
        known = surprises(self.forecaster, [tracks for tracks, _ in windows.groups])
        for (tracks, places), surprise in zip(windows.groups, known):
            vehicles, _ = tracks.vehicles(self.forecaster, places, surprise)
            chosen = rarity.by_kind(vehicles)[:, columns_of(self.kinds)]
            found.append(vehicles.highest(sum_beyond_usual(chosen)))
        return np.concatenate(found)

    def explain(self, window: TrafficWindow) -> Explanation | None:
        """The vehicle that speaks for a window, and its rarest kind of evidence; None for an empty road."""
        rarity = require_fit(self, self.rarity)
        ((tracks, places),) = self.describe([window]).groups
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

    def vehicle_scores(self, window: TrafficWindow) -> dict[str, float]:
        """Score of each vehicle of a window, by name; the window's is the highest."""
        rarity = require_fit(self, self.rarity)
        ((tracks, places),) = self.describe([window]).groups
        vehicles, numbers = tracks.vehicles(self.forecaster, places)
        scores = sum_beyond_usual(rarity.by_kind(vehicles)[:, columns_of(self.kinds)])
        return {str(tracks.states.names[number]): float(score) for number, score in zip(numbers, scores)}

    def to_json(self) -> dict[str, Any]:
        """What was fitted, for `from_json`."""
        rarity = require_fit(self, self.rarity)
        return {
            "version": VERSION,
            "features": list(STATE_FEATURES),
            "kinds": list(KINDS),
            "added": list(self.kinds),
            **({} if self.scale == ROAD else {"scale": asdict(self.scale)}),  # files of earlier versions have none
            "forecast": self.forecaster.to_json(),
            "rarity": rarity.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "TrackSurprise":
        """Rules and forecast that `to_json` wrote; scikit-learn is not asked for.

        Args:
            source: where they stand, for messages.
        Raises:
            DataError: they are not such rules, or of another version.
        """
        version = field(values, "version", as_integer, source)
        names = [field(values, name, as_list, source) for name in ("features", "kinds")]
        if version != VERSION or names != [list(STATE_FEATURES), list(KINDS)]:
            raise DataError(
                f"{source} are rules with a forecast of version {version} for {len(names[0])} features and "
                f"{len(names[1])} kinds of evidence, expected version {VERSION} for those of this program: fit and "
                "calibrate them anew"
            )
        theirs = field(values, "scale", as_object, source) if "scale" in values else asdict(ROAD)
        if theirs != asdict(cls.scale):
            raise DataError(f"{source} are of the scale {theirs}, expected {asdict(cls.scale)}: fit and calibrate anew")
        added = field(values, "added", as_list, source)
        unknown = [name for name in added if name not in KINDS]
        if unknown or not added:
            raise DataError(f"{source}: 'added' has {unknown or 'nothing'}, expected some of {', '.join(KINDS)}")
        surprise = cls(kinds=added)
        forecast, rarity = (field(values, name, as_object, source) for name in ("forecast", "rarity"))
        surprise.forecaster = MotionForecaster.from_json(forecast, f"{source}: 'forecast'")
        surprise.rarity = VehicleRarity.from_json(rarity, len(KINDS), f"{source}: 'rarity'")
        return surprise

    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell what was fitted apart."""
        return digest_of(self.to_json())


class CameraSurprise(TrackSurprise):
    """Rules and forecast at the scale of a roadside camera: some seconds of each vehicle, tens of metres of road."""

    scale = CAMERA
