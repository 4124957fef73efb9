"""A check of recordings of a camera, and its folder: tracks and video in, drift.json and background.png out."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.data.tracked_camera import camera_of_tracks
from d2road.engine.camera_check import CameraCheck
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.lane_paths import LanePaths
from d2road.traffic.time_space.window_grid import Tick
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.track_files import CSV, read_track_blocks
from d2road.utils.errors import DataError
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_json
from d2road.video.frame import Frame

REPORT, BACKGROUND = "drift.json", "background.png"
STEP_S = 10.0  # of tracks, between looks at them


def read_tracks(path: str | Path, camera: RoadsideCamera, what: str) -> Iterator[GroundTracks]:
    """Blocks of tracks of a folder that `d2road track` wrote, or of its tracks.csv.

    Raises:
        FileNotFoundError: there are none. DataError: the folder says that they are of another camera; or no such table.
    """
    path = Path(path)
    file = path / CSV if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{what} {path}: there is no {CSV}; give a folder that `d2road track` wrote")
    camera_of_tracks(file, camera, what)
    return read_track_blocks(file)


def good_paths(path: str | Path, camera: RoadsideCamera) -> LanePaths:
    """Lane paths of good tracks.

    Raises:
        FileNotFoundError, DataError: as `read_tracks`, or they are too few.
    """
    rows = pd.concat([block.rows for block in read_tracks(path, camera, "--reference")], ignore_index=True)
    try:
        return LanePaths.fit(rows, camera)
    except DataError as error:
        raise DataError(f"--reference {path}: {error}") from error


def check_recordings(check: CameraCheck, tracks: Iterable[GroundTracks], frames: Iterable[Frame]) -> None:
    """Both together in order of time; either may be empty.

    Raises:
        DataError: of what cannot be read.
    """
    left = iter(frames)
    held: Frame | None = next(left, None)
    for rows, now in _steps(tracks):
        while held is not None and held.t <= now:
            check.add_frame(held)
            held = next(left, None)
        check.add_tracks(rows, now)
    for frame in chain([] if held is None else [held], left):
        check.add_frame(frame)


def _steps(blocks: Iterable[GroundTracks]) -> Iterator[tuple[pd.DataFrame, float]]:
    """Rows of STEP_S each, and up to when they are; at last, that all tracks have ended."""
    for block in blocks:
        t = block.rows["t"].to_numpy()
        for start in np.arange(t[0], t[-1] + STEP_S, STEP_S) if len(t) else ():
            rows = block.rows.iloc[slice(*np.searchsorted(t, [start, start + STEP_S]))]
            if len(rows):
                yield rows, float(rows["t"].iloc[-1])
    yield GroundTracks.empty().rows, np.inf


def checked_frames(check: CameraCheck, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames on their way, each of which the check has seen."""
    for frame in frames:
        check.add_frame(frame)
        yield frame


def checked_blocks(check: CameraCheck, blocks: Iterable[GroundTracks | Tick]) -> Iterator[GroundTracks | Tick]:
    """Blocks of a tracker on their way, each of which the check has seen."""
    now = -np.inf
    for block in blocks:
        if isinstance(block, Tick):
            now = block.t
            check.add_tracks(GroundTracks.empty().rows, now)
        else:
            check.add_tracks(block.rows, now)
        yield block


def write_check(folder: Path, check: CameraCheck) -> dict[str, Any]:
    """Write drift.json and, of a video, the reference image that a later check may be given."""
    record = check.record()
    write_json(folder / REPORT, record)
    if check.background.first_image is not None:
        write_image(folder / BACKGROUND, np.repeat(check.background.first_image[..., None], 3, axis=2))
    return record
