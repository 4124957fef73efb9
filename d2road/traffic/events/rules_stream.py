"""Rules as what scores a stream: fitted on good traffic, with a threshold from a part that they have not seen."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.traffic.baselines.baseline import Described, StreamBaseline
from d2road.traffic.baselines.lasting_rules import LastingRules
from d2road.traffic.baselines.track_surprise import CameraSurprise, TrackSurprise
from d2road.traffic.events.alarms import LEAST_HOURS, WINDOW_COLUMNS, alarm_threshold, covered_hours
from d2road.traffic.events.stop_request import StopRequest
from d2road.traffic.events.stream_options import (
    RULES,
    RULES_CAMERA,
    RULES_FORECAST,
    StreamOptions,
    read_calibration,
)
from d2road.traffic.events.stream_session import StreamModel
from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.growing_file import StoppedError
from d2road.traffic.time_space.traffic_window import TrafficWindow, windows_of_one_time
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.values import as_object

# Each is fitted, kept, read, explained and watched in one way.
STREAM_BASELINES: dict[str, type[StreamBaseline]] = {
    RULES: LastingRules,
    RULES_FORECAST: TrackSurprise,
    RULES_CAMERA: CameraSurprise,
}
FIT_SHARE = 0.6  # of the good windows, the first ones, where the rest has to give the threshold
LEAST_WINDOWS = 20  # that a threshold is extrapolated from
# Of those windows, the share that a tail is fitted to.
TAIL = 0.1
PLACE_COLUMNS = (*WINDOW_COLUMNS[:-1], "direction")
PRINT_S = 10.0
ENDS_UNKNOWN = (
    "nothing says where the road ends, so it is taken to end where no vehicle is seen further on while a window lasts: "
    'a track that is lost ahead of or behind all others is not found. TIME_SPACE.S_RANGE "(FIRST, LAST)" gives the '
    "ends in metres"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GoodTraffic:
    """Windows of good traffic in the order of the stream: their places (PLACE_COLUMNS), and described."""

    places: pd.DataFrame
    described: Described

    @property
    def hours(self) -> float:
        """By the clock, as a stream counts them: once for both carriageways."""
        return covered_hours(self.places.drop(columns="direction")) if len(self.places) else 0.0

    def split(self, share: float = FIT_SHARE) -> tuple["GoodTraffic", "GoodTraffic"]:
        """The windows before and after an instant, each whole on its side; those that lie across it are left out."""
        count = round(share * len(self.places))
        if not 0 < count < len(self.places):
            return self, self.part(np.zeros(len(self.places), dtype=bool))
        border = self.places.iloc[count]
        order = pd.factorize(self.places["recording"])[0]
        here = order == order[count]
        t0, t1 = (self.places[name].to_numpy(float) for name in ("t0", "t1"))
        before = (order < order[count]) | (here & (t1 <= border["t0"]))
        after = (order > order[count]) | (here & (t0 >= border["t0"]))
        return self.part(before), self.part(after)

    def part(self, keep: np.ndarray) -> "GoodTraffic":
        """Those at which a boolean array is set."""
        return GoodTraffic(self.places[keep].reset_index(drop=True), self.described.part(keep))


def load_rules(options: StreamOptions, grid: WindowGrid, stop: StopRequest | None = None) -> StreamModel:
    """Rules of a calibration, or fitted on good traffic, as what scores a stream.

    Args:
        options: with a method of STREAM_BASELINES. grid: of the windows, of the good traffic too.
        stop: asked while it reads.
    Raises:
        FileNotFoundError, ConfigError, DataError: the grid, the good traffic or the calibration cannot be used.
        StoppedError: `stop` asks for the end.
    """
    if grid.renderer.lane_layout == "per_lane":
        raise ConfigError("rules look at all lanes together: set TIME_SPACE.LANE_LAYOUT to overlay or stacked")
    baseline = STREAM_BASELINES[options.method]
    if grid.s_range is None:
        logger.warning(ENDS_UNKNOWN)
    if options.calibration is not None:
        return stream_model(read_rules(options.calibration, options.method), grid)
    good = read_good(options.good, grid, stop, baseline)
    needs_threshold = options.calibrate is None and options.threshold is None
    fit, held_out = good.split() if needs_threshold else (good, None)
    rules = baseline().fit_described(fit.described)
    print(f"rules fitted on {len(fit.places)} windows, {fit.hours:.2f} h of good traffic", flush=True)
    if held_out is None:  # the threshold comes from elsewhere
        return stream_model(rules, grid)
    threshold, note = threshold_of(rules, held_out, options.rate)
    return stream_model(rules, grid, threshold, note)


def read_rules(path: Path, method: str) -> StreamBaseline:
    """The rules of a calibration.

    Raises:
        FileNotFoundError, ConfigError: it is none of this method, or what it holds is damaged.
    """

    def check(value: Any, source: str) -> StreamBaseline:
        return STREAM_BASELINES[method].from_json(as_object(value, source), source)

    return read_calibration(path, method, "rules", check)


def stream_model(
    rules: StreamBaseline, grid: WindowGrid, threshold: float | None = None, note: str = ""
) -> StreamModel:
    """Fitted rules as what scores a stream."""

    def score(windows: Sequence[TrafficWindow]) -> list[tuple[float, None]]:
        return [(float(one), None) for one in rules.scores(windows)]

    return StreamModel(
        grid, score, threshold, note, images=False, explain=rules.explain,
        vehicle_scores=rules.vehicle_scores if isinstance(rules, TrackSurprise) else None, digest=rules.digest(),
        fitted={"rules": rules.to_json()},
    )  # fmt: skip


def read_good(
    specs: Sequence[str],
    grid: WindowGrid,
    stop: StopRequest | None = None,
    baseline: type[StreamBaseline] = LastingRules,
) -> GoodTraffic:
    """Good traffic as windows that a baseline describes; of what a window holds no more is kept.

    Raises:
        StoppedError: `stop` asks for the end.
        FileNotFoundError, ConfigError, DataError: a source cannot be read, or no window has a vehicle.
    """
    rows: list[tuple] = []
    parts: list[Described] = []
    for number, spec in enumerate(specs, 1):
        for windows in windows_of_one_time(_windows_of(spec, grid)):
            if stop:
                raise StoppedError
            parts.append(baseline.describe(windows))
            # Recordings of two files may have one name.
            rows += [(f"{number}/{w.recording}", w.t0, w.t1, w.s0, w.s1, w.direction) for w in windows]
    if not rows:
        raise DataError(
            f"--good {', '.join(specs)}: no window holds a vehicle; check TIME_SPACE.S_RANGE, DIRECTION and LANES"
        )
    return GoodTraffic(pd.DataFrame(rows, columns=list(PLACE_COLUMNS)), type(parts[0]).joined(parts))


def _windows_of(spec: str, grid: WindowGrid) -> Iterator[TrafficWindow]:
    start = last = time.monotonic()
    source = open_trajectories(spec)
    for count, window in enumerate(grid.over(source.chunks()), 1):
        yield TrafficWindow.unrendered(window, grid.renderer)
        if time.monotonic() - last >= PRINT_S:
            last = time.monotonic()
            print(f"{spec}: {count} windows of good traffic, {count / (last - start):.0f}/s", flush=True)


def threshold_of(rules: StreamBaseline, held_out: GoodTraffic, rate: float) -> tuple[float, str]:
    """The threshold for a rate of false alarms an hour, from good traffic that the rules were not fitted on.

    From LEAST_HOURS on it is counted (`alarm_threshold`); from less it is extrapolated: the scores above the highest
    TAIL are taken to fall exponentially, and every window above the threshold to be an alarm of its own.

    Returns:
        the threshold; what it is, in words with its place in braces.
    Raises:
        DataError: fewer than LEAST_WINDOWS windows.
    """
    count, hours = len(held_out.places), held_out.hours
    if count < LEAST_WINDOWS:
        raise DataError(
            f"after fitting, {count} windows of good traffic are left for a threshold, expected {LEAST_WINDOWS} or "
            "more: give more of it, or a --threshold"
        )
    scores = rules.scores_described(held_out.described)
    if hours >= LEAST_HOURS:
        threshold, alarms = alarm_threshold(held_out.places.assign(score=scores), hours, rate)
        return threshold, f"threshold {{:.4g}}: {alarms} alarm(s) in {hours:.2f} h of good traffic that was held out"
    start = float(np.quantile(scores, 1 - TAIL))
    above = scores[scores > start] - start
    length = float(above.mean()) if len(above) else 0.0
    threshold = start + length * math.log(max(TAIL * count / hours / rate, 1.0))
    return threshold, (
        f"threshold {{:.4g}}: extrapolated from {hours:.2f} h of good traffic to {rate:g} false alarm(s) an hour, a "
        f"first guess; --calibrate counts them on {LEAST_HOURS:g} h or more"
    )
