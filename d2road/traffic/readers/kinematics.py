"""Speeds and accelerations from positions, smoothing: of chunks, as if of the whole."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from d2road.traffic.continuity import are_steps, are_steps_of_positions, is_reachable
from d2road.traffic.readers.ordering import join

POLYNOMIAL = 2
STANDING = 0.1  # m/s; a change of s says nothing of the way that a slower vehicle faces
LIKE_SPEED = 0.2  # of the speed; a change of s that differs less is the vehicle's motion
# So many instants around a chunk at least: in files of a few rows a minute the margin alone holds none.
INSTANTS = 3


def with_neighbours(
    chunks: Iterable[pd.DataFrame], function: Callable[[pd.DataFrame], pd.DataFrame], margin: float
) -> Iterator[pd.DataFrame]:
    """Apply a function to chunks that come in order of time, each with the rows `margin` seconds around it.

    Args:
        chunks: frames with "t" sorted.
        function: returns its frame, same rows and order, with other values.
        margin: seconds that a value can depend on.
    """
    before = here = None
    for after in chunks:
        if here is not None:
            yield _apply(function, before, here, after, margin)
            # Chunks shorter than the margin: keep as much of the past as is needed.
            before = _recent(before, here, margin)
        here = after
    if here is not None:
        yield _apply(function, before, here, None, margin)


def _apply(
    function: Callable[[pd.DataFrame], pd.DataFrame],
    before: pd.DataFrame | None,
    here: pd.DataFrame,
    after: pd.DataFrame | None,
    margin: float,
) -> pd.DataFrame:
    t = here["t"].to_numpy()
    parts, lead = [], 0
    if before is not None:
        past = _last(before, t[0] - margin)
        parts, lead = [past], len(past)
    parts.append(here)
    if after is not None:
        parts.append(_first(after, t[-1] + margin))
    done = function(join([part for part in parts if len(part)]))
    return done.iloc[lead : lead + len(here)]


def _recent(before: pd.DataFrame | None, here: pd.DataFrame, margin: float) -> pd.DataFrame:
    start = here["t"].to_numpy()[-1] - margin
    if before is None or (here["t"].to_numpy()[0] <= start and here["t"].nunique() >= INSTANTS):
        return here
    return join([_last(before, start), here])


def _last(frame: pd.DataFrame, start: float) -> pd.DataFrame:
    """The rows from an instant on, and those of the last INSTANTS instants."""
    t = frame["t"].to_numpy()
    instants = t[np.append(t[1:] != t[:-1], True)][-INSTANTS:]
    return frame[t >= min(start, instants[0])]


def _first(frame: pd.DataFrame, end: float) -> pd.DataFrame:
    """The rows up to an instant, and those of the first INSTANTS instants."""
    t = frame["t"].to_numpy()
    instants = t[np.append(True, t[1:] != t[:-1])][:INSTANTS]
    return frame[t <= max(end, instants[-1])]


def add_kinematics(frame: pd.DataFrame, smooth: float, columns: set[str]) -> pd.DataFrame:
    """Fill in speed and acceleration that are not there, and smooth.

    Args:
        frame: rows sorted by t, with vehicle, t, s and what there is of direction, lane, speed and acceleration, which
            must be along the nominal direction; or speed without a sign, as the column "unsigned_speed", and then an
            acceleration along the motion.
        smooth: seconds of a Savitzky-Golay filter of order 2 over s of each vehicle, whose derivatives replace speed
            and acceleration; 0 is none.
        columns: which of speed, acceleration and unsigned_speed are there.
    Returns:
        The frame with speed and acceleration (NaN where a sample stands alone) and the change of s as "rate" (m/s).
        With unsigned_speed, speed and acceleration are along the motion, and "facing" is 1 where s rises, -1 where it
        falls and 0 where it does not tell.
    """
    codes = frame["vehicle"].astype("category").cat.codes.to_numpy()
    order = np.argsort(codes, kind="stable")
    given = {
        name: frame[name].to_numpy(dtype=float)[order]
        for name in ("t", "s", "speed", "unsigned_speed", "acceleration")
        if name in columns or name in ("t", "s")
    }
    t, s = given["t"], given["s"]
    near = _near(codes[order], t, frame["direction"].to_numpy()[order] if "direction" in frame else None)
    linked = near & _are_steps(given, near)
    # Units are judged by all changes: where they are wrong, no step looks possible.
    values = {"s": s, "rate": _gradient(s, t, near)}
    if smooth > 0:
        values |= _smoothed(s, t, linked, smooth)
    else:
        rate = _gradient(s, t, linked)
        values["speed"] = given.get("speed", given.get("unsigned_speed", rate))
        values["acceleration"] = given.get("acceleration", _gradient(values["speed"], t, linked))
    if "unsigned_speed" in columns:
        lane = frame["lane"].astype("category").cat.codes.to_numpy()[order] if "lane" in frame else None
        in_lane = linked if lane is None else linked & (lane[1:] == lane[:-1])
        values |= _facing(values, t, linked, in_lane, smooth)
    back = np.argsort(order)
    return frame.assign(**{name: value[back] for name, value in values.items()})


def _facing(
    values: dict[str, np.ndarray], t: np.ndarray, linked: np.ndarray, in_lane: np.ndarray, smooth: float
) -> dict[str, np.ndarray]:
    """Whether s rises, and speed and acceleration along the motion."""
    if smooth > 0:
        facing = np.where(np.abs(values["speed"]) > STANDING, np.sign(values["speed"]), 0)
        sign = np.where(facing < 0, -1.0, 1.0)
        return {"facing": facing, "speed": sign * values["speed"], "acceleration": sign * values["acceleration"]}
    rate, speed = _gradient(values["s"], t, in_lane), values["speed"]
    facing = np.where(rate > 0.5 * speed, 1.0, np.where(rate < -0.5 * speed, -1.0, 0.0))
    # Lanes of different lengths: a change of lane moves s either way, so that only an exact change of s tells.
    rate = np.where(np.isnan(rate), _gradient(values["s"], t, linked), np.nan)
    facing = np.where(np.abs(np.abs(rate) - speed) < LIKE_SPEED * speed, np.sign(rate), facing)
    return {"facing": np.where(speed > STANDING, facing, 0.0)}


def _near(codes: np.ndarray, t: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
    """Whether row i and i + 1 are neighbours of one vehicle in one direction, not torn apart by a gap in time."""
    same, step = codes[1:] == codes[:-1], np.diff(t)
    if not same.any():
        return same
    # Three times: over a sample or two that are missing a slope is still a slope.
    near = same & (step <= 3.5 * np.median(step[same])) & (step > 0)
    return near if direction is None else near & (direction[1:] == direction[:-1])


def _are_steps(given: dict[str, np.ndarray], near: np.ndarray) -> np.ndarray:
    """Whether a vehicle can have come from row i to i + 1, by its speeds or else by its steps before and after."""
    t, s = given["t"], given["s"]
    if "speed" in given:
        return are_steps(t, s, given["speed"])
    if "unsigned_speed" in given:
        fastest = np.maximum(given["unsigned_speed"][:-1], given["unsigned_speed"][1:])
        return is_reachable(np.diff(t), np.diff(s), -fastest, fastest)
    return are_steps_of_positions(t, s, near)


def _gradient(values: np.ndarray, t: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Central differences, one-sided at ends, NaN for a row without neighbours."""
    index = np.arange(len(t))
    below, above = index - np.append(False, linked), index + np.append(linked, False)
    span = t[above] - t[below]
    return np.where(span > 0, (values[above] - values[below]) / np.where(span > 0, span, 1), np.nan)


def _smoothed(s: np.ndarray, t: np.ndarray, linked: np.ndarray, seconds: float) -> dict[str, np.ndarray]:
    """s, speed and acceleration of a sliding polynomial; runs with uneven steps are taken as even."""
    # Here, for scipy.signal takes half a second and 50 MB to load, and most sources are not smoothed.
    from scipy.signal import savgol_filter

    result = {"s": s.copy(), "speed": _gradient(s, t, linked)}
    result["acceleration"] = _gradient(result["speed"], t, linked)
    starts = np.flatnonzero(np.append(True, ~linked))
    for start, end in zip(starts, np.append(starts[1:], len(t))):
        if end - start <= POLYNOMIAL + 1:
            continue
        step = (t[end - 1] - t[start]) / (end - start - 1)
        window = min(2 * round(seconds / step / 2) + 1, end - start - 1 + (end - start) % 2)
        if window <= POLYNOMIAL:
            continue
        for derivative, name in enumerate(("s", "speed", "acceleration")):
            result[name][start:end] = savgol_filter(s[start:end], window, POLYNOMIAL, derivative, step)
    return result
