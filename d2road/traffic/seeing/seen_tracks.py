"""Seen tracks: exact trajectories through the model of seeing, as the table that a tracker's output becomes.

Letters: N rows, sorted by vehicle and time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.visibility import shares_by_frame
from d2road.traffic.table import Trajectories

HEIGHTS_M = {"truck": 3.6, "bus": 3.2, "van": 2.2, "car": 1.5}
WIDTH_M, HEIGHT_M = 1.8, 1.5
MARGIN_M = 20.0  # beside the view, for who stands there and hides others
GHOST_CLASS, GHOST_LENGTH_M = "car", 4.4


@dataclass(frozen=True)
class _Rows:
    """Exact rows (N,) by vehicle and time: numbers of vehicles, times, s of the front, offsets, and what is seen."""

    frame: pd.DataFrame
    vehicle: np.ndarray
    t: np.ndarray
    offset: np.ndarray
    centers: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class _Seen:
    """Rows that tracks have: numbers of the tracks (N,), points (N, 2) on the ground, and the exact rows as a frame
    whose speeds and lengths are those seen."""

    frame: pd.DataFrame
    number: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class _Ghost:
    """A track of nothing: times, s of its front, offset, speed."""

    t: np.ndarray
    s: np.ndarray
    offset: np.ndarray
    speed: np.ndarray


def keep_frames(table: Trajectories, frame_s: float) -> Trajectories:
    """The rows at the instants of a camera's frames, every `frame_s` seconds from 0 on."""
    t = table.frame["t"].to_numpy()
    number = t / frame_s
    return table.where(np.abs(number - np.round(number)) * frame_s < 1e-3)


def see_tracks(table: Trajectories, site: CameraSite, model: SeeingModel, rng: np.random.Generator) -> Trajectories:
    """What detector and tracker give of exact trajectories.

    Args:
        table: exact, of one recording, at the instants of the camera's frames (`keep_frames`).
        site: the camera beside them.
        model: of seeing.
        rng: decides all; the result depends on nothing else.
    Returns:
        tracks with the camera's s, direction and lanes; empty where nothing was seen. Rows lie in the site's view.
    """
    seen = _seen(table, site, model, rng)
    return _with_ghosts([] if seen is None else [_on_road(seen, site)], table, site, model, rng)


def see_points(table: Trajectories, site: CameraSite, model: SeeingModel, rng: np.random.Generator) -> pd.DataFrame:
    """The same as points of the ground frame: rows t, track, cls, x, y (m, middle of the bottom face), length, speed.

    Sorted by t and track. Lateral places are not rounded to lanes. Args as `see_tracks`.
    """
    seen, parts = _seen(table, site, model, rng), []
    if seen is not None:
        kept = seen.frame[["t", "cls", "length", "speed"]]
        parts.append(
            kept.assign(cls=kept["cls"].astype(str), track=seen.number, x=seen.points[:, 0], y=seen.points[:, 1])
        )
    first = 0 if seen is None else int(seen.number.max()) + 1
    for number, ghost in enumerate(_ghosts(table, site, model, rng)):
        x, y = site.ground(ghost.s - GHOST_LENGTH_M / 2, ghost.offset).T
        told = {"cls": GHOST_CLASS, "length": GHOST_LENGTH_M, "speed": ghost.speed, "track": first + number}
        parts.append(pd.DataFrame({"t": ghost.t, **told, "x": x, "y": y}))
    columns = ["t", "track", "cls", "x", "y", "length", "speed"]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in columns})
    return found[columns].sort_values(["t", "track"], kind="stable", ignore_index=True)


def _seen(table: Trajectories, site: CameraSite, model: SeeingModel, rng: np.random.Generator) -> _Seen | None:
    """What is seen of the vehicles; None where nothing is."""
    near = site.crop(table, MARGIN_M)
    if not len(near):
        return None
    rows = _exact_rows(near, site)
    low, high = site.view
    middle = rows.frame["s"].to_numpy() - rows.frame["length"].to_numpy(float) / 2
    distance = np.hypot(*rows.centers.T)
    probability = model.detection_probability(distance, rows.share)
    detected = (rng.random(len(rows.t)) < probability) & (middle >= low) & (middle < high)
    track = _track_numbers(rows.vehicle, rows.t, detected, model, rng)
    kept = track >= 0
    return _noisy(rows, track, kept, model, rng) if kept.any() else None


def _exact_rows(near: Trajectories, site: CameraSite) -> _Rows:
    frame = near.frame
    offset = site.offsets(near)
    vehicle = frame["vehicle"].cat.codes.to_numpy()
    order = np.lexsort((frame["t"].to_numpy(), vehicle))
    frame, offset, vehicle = frame.iloc[order].reset_index(drop=True), offset[order], vehicle[order]
    length = frame["length"].to_numpy(float)
    centers = site.ground(frame["s"].to_numpy() - length / 2, offset)
    road = site.camera.road
    assert road is not None, "checked when the site was made"
    heading = np.full(len(frame), road.heading_rad + (0.0 if site.direction > 0 else np.pi))
    heights = np.array([HEIGHTS_M.get(str(name), HEIGHT_M) for name in frame["cls"].cat.categories])
    width = frame["width"].to_numpy(float)
    sizes = np.stack(
        [length, np.where(np.isfinite(width), width, WIDTH_M), heights[frame["cls"].cat.codes.to_numpy()]], axis=1
    )
    t = frame["t"].to_numpy()
    return _Rows(frame, vehicle, t, offset, centers, shares_by_frame(site.camera, t, centers, heading, sizes))


def _track_numbers(
    vehicle: np.ndarray, t: np.ndarray, detected: np.ndarray, model: SeeingModel, rng: np.random.Generator
) -> np.ndarray:
    """Number of the track that each row belongs to, -1 for none: births, gaps that are bridged or not, switches."""
    rows = np.flatnonzero(detected)
    track = np.full(len(t), -1)
    if not len(rows):
        return track
    gap = np.diff(t[rows])
    new = np.append(True, (np.diff(vehicle[rows]) != 0) | (gap > model.bridge_s))
    hazard = 1 - np.exp(-model.switches_per_hour / 3600 * np.append(0.0, np.where(new[1:], 0.0, gap)))
    piece = np.cumsum(new | (rng.random(len(rows)) < hazard)) - 1
    birth = rng.exponential(model.birth_s, piece[-1] + 1) if model.birth_s else np.zeros(piece[-1] + 1)
    # A switch takes no time: the tracker knows one vehicle under two names.
    begins = np.append(True, np.diff(piece) != 0)
    birth[piece[begins & ~new]] = 0.0
    first, last = rows[begins], rows[np.append(begins[1:], True)]
    # Rows between the detections of a piece are there too: the tracker bridges them.
    for number, (start, end) in enumerate(zip(first, last)):
        own = np.arange(start, end + 1)
        track[own[t[own] >= t[start] + birth[number] - 1e-9]] = number
    return track


def _noisy(rows: _Rows, track: np.ndarray, kept: np.ndarray, model: SeeingModel, rng: np.random.Generator) -> _Seen:
    number, t, centers = track[kept], rows.t[kept], rows.centers[kept]
    distance = np.hypot(*centers.T)
    ray = centers / np.maximum(distance, 1e-6)[:, None]
    errors = correlated_errors(number, t, model.correlation_s, 3, rng)
    radial, across = errors[:, 0] * model.radial_sd(distance), errors[:, 1] * model.across_sd(distance)
    moved = centers + ray * radial[:, None] + np.stack([-ray[:, 1], ray[:, 0]], axis=1) * across[:, None]
    frame = rows.frame[kept].reset_index(drop=True)
    scale = (1 + model.length * rng.standard_normal(int(number.max()) + 1)).clip(0.5)
    speed = np.round(frame["speed"].to_numpy(float) + errors[:, 2] * model.speed_sd(distance), 2)
    return _Seen(frame.assign(speed=speed, length=frame["length"].to_numpy(float) * scale[number]), number, moved)


def _on_road(seen: _Seen, site: CameraSite) -> pd.DataFrame:
    """Rows with the camera's s and lanes."""
    road = site.camera.road
    assert road is not None, "checked when the site was made"
    along, offset = road.along_across(seen.points).T
    return seen.frame.assign(
        vehicle=pd.Categorical(seen.number.astype(str)),
        s=np.round(site.direction * along + seen.frame["length"].to_numpy(float) / 2, 2),
        lane=pd.Categorical(site.lane_names(offset)),
        acceleration=np.nan,
    )


def correlated_errors(
    track: np.ndarray, t: np.ndarray, correlation_s: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """(N, count) normal errors of standard deviation 1, autoregressive of first order along each track.

    Args:
        track, t: (N,), rows of a track stand together in order of time. correlation_s: 0 makes them independent.
    """
    errors = rng.standard_normal((len(t), count))
    starts = np.flatnonzero(np.diff(track, prepend=-1) != 0)
    for start, end in zip(starts, np.append(starts[1:], len(t))):
        if end - start < 2 or not correlation_s:
            continue
        rho = np.exp(-np.median(np.diff(t[start:end])) / correlation_s)
        drive = np.sqrt(1 - rho**2) * errors[start:end]
        drive[0] = errors[start]
        errors[start:end] = lfilter([1.0], [1.0, -rho], drive, axis=0)
    return errors


def _ghosts(table: Trajectories, site: CameraSite, model: SeeingModel, rng: np.random.Generator) -> Iterator[_Ghost]:
    """Tracks of nothing: they stand somewhere on the lanes, for an exponential time."""
    if not len(table):
        return
    times = np.unique(table.frame["t"].to_numpy())
    low, high = site.view
    for _ in range(rng.poisson(model.ghosts_per_hour * np.ptp(times) / 3600)):
        begin, lasts = rng.uniform(times[0], times[-1]), rng.exponential(model.ghost_s)
        t = times[(times >= begin) & (times <= begin + lasts)]
        offset = np.full(len(t), list(site.lanes.values())[int(rng.integers(len(site.lanes)))])
        s = np.full(len(t), rng.uniform(low + GHOST_LENGTH_M, high))
        distance = np.hypot(*site.ground(s, offset).T)
        error = correlated_errors(np.zeros(len(t), dtype=int), t, model.correlation_s, 2, rng)
        speed = error[:, 1] * model.speed_sd(distance)
        yield _Ghost(t, s + error[:, 0] * model.radial_sd(distance), offset, speed)


def _with_ghosts(
    seen: list[pd.DataFrame], table: Trajectories, site: CameraSite, model: SeeingModel, rng: np.random.Generator
) -> Trajectories:
    """Tracks of nothing added."""
    for number, ghost in enumerate(_ghosts(table, site, model, rng)):
        one = {
            "recording": table.recordings[0], "vehicle": f"ghost{number}", "cls": GHOST_CLASS, "t": ghost.t,
            "s": ghost.s, "lane": site.lane_names(ghost.offset), "direction": site.direction, "speed": ghost.speed,
            "acceleration": np.nan, "length": GHOST_LENGTH_M, "width": WIDTH_M,
        }  # fmt: skip
        if len(ghost.t):
            seen = [*seen, pd.DataFrame(one)]
    if not seen:
        return Trajectories.empty()
    names = ("recording", "vehicle", "cls", "lane")
    plain = [one.assign(**{name: one[name].astype(str) for name in names}) for one in seen]
    return Trajectories.from_frame(pd.concat(plain, ignore_index=True))
