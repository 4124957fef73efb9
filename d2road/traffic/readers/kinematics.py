"""Speeds and accelerations from positions, smoothing: of chunks, as if of the whole."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from d2road.traffic.readers.ordering import join

POLYNOMIAL = 2


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
        past = before[before["t"].to_numpy() >= t[0] - margin]
        parts, lead = [past], len(past)
    parts.append(here)
    if after is not None:
        parts.append(after[after["t"].to_numpy() <= t[-1] + margin])
    done = function(join([part for part in parts if len(part)]))
    return done.iloc[lead : lead + len(here)]


def _recent(before: pd.DataFrame | None, here: pd.DataFrame, margin: float) -> pd.DataFrame:
    start = here["t"].to_numpy()[-1] - margin
    if before is None or here["t"].to_numpy()[0] <= start:
        return here
    return join([before[before["t"].to_numpy() >= start], here])


def add_kinematics(frame: pd.DataFrame, smooth: float, columns: set[str]) -> pd.DataFrame:
    """Fill in speed and acceleration that are not there, and smooth.

    Args:
        frame: rows sorted by t, with vehicle, t, s and what there is of speed and acceleration, which must be along
            the nominal direction, or speed without a sign, as the column "unsigned_speed".
        smooth: seconds of a Savitzky-Golay filter of order 2 over s of each vehicle, whose derivatives replace speed
            and acceleration; 0 is none.
        columns: which of speed, acceleration and unsigned_speed are there.
    Returns:
        The frame with speed and acceleration (NaN where a sample stands alone) and the change of s as "rate" (m/s).
    """
    codes = frame["vehicle"].astype("category").cat.codes.to_numpy()
    order = np.argsort(codes, kind="stable")
    codes, t, s = codes[order], frame["t"].to_numpy()[order], frame["s"].to_numpy(dtype=float)[order]
    linked = _linked(codes, t)
    values = {"s": s, "rate": _gradient(s, t, linked)}
    if smooth > 0:
        values |= _smoothed(s, t, linked, smooth)
    elif "speed" in columns:
        values["speed"] = frame["speed"].to_numpy(dtype=float)[order]
    elif "unsigned_speed" in columns:
        speed = frame["unsigned_speed"].to_numpy(dtype=float)[order]
        values["speed"] = np.where(values["rate"] < -0.5 * speed, -speed, speed)
    else:
        values["speed"] = values["rate"]
    if smooth <= 0:
        if "acceleration" in columns:
            values["acceleration"] = frame["acceleration"].to_numpy(dtype=float)[order]
        else:
            values["acceleration"] = _gradient(values["speed"], t, linked)
    back = np.argsort(order)
    return frame.assign(**{name: value[back] for name, value in values.items()})


def _linked(codes: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether row i and i + 1 are neighbours of one vehicle, not torn apart by a gap."""
    same, step = codes[1:] == codes[:-1], np.diff(t)
    if not same.any():
        return same
    # Three times: over a sample or two that are missing a slope is still a slope.
    return same & (step <= 3.5 * np.median(step[same])) & (step > 0)


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
