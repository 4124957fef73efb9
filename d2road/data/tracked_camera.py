"""The camera that tracks were made with, as their folder records it: places in metres hold for that one alone.

summary.json     of `d2road track`
watch.json       of `d2road watch`, in the folder above tracks_001 and so on
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from d2road.data.roadside_camera_files import camera_of_mapping
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json

SUMMARY, WATCHED = "summary.json", "watch.json"
TRACKS = "tracks_"  # how folders of tracks beside WATCHED are called
ROUNDED = 1e-9  # relative; planes are made of length 1 anew whenever they are read


def camera_of_tracks(path: str | Path, camera: RoadsideCamera, what: str) -> RoadsideCamera:
    """The camera for tracks or detections of a folder, or of a file in it.

    Returns:
        `camera` itself, or where the video was the same view at another resolution (--scale-calib) that of its size.
        Where no record says what they were made with, they are believed to be of this one.
    Raises:
        DataError: they were made with another lens, ground plane or image size. The road may differ: lanes are named
            when they are read.
    """
    made = recorded_camera(path)
    if made is None or _is_same(made, camera):
        return camera
    if (made.width, made.height) != (camera.width, camera.height):
        try:
            scaled = camera.scaled(made.width, made.height)
        except DataError:  # of another shape
            scaled = camera
        if _is_same(made, scaled):
            return scaled
    raise DataError(
        f"{what} {path} was made with another calibration ({_told(made)}; --calib is of {_told(camera)}): its places "
        "in metres do not hold for this one; give the calibration that it was made with, or track the video anew"
    )


def recorded_camera(path: str | Path) -> RoadsideCamera | None:
    """The camera that tracks or detections of a folder, or of a file in it, were made with; None where no record says.

    Raises:
        DataError: the record cannot be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    for file in (folder / SUMMARY, folder.parent / WATCHED):
        if file.is_file() and (file.name == SUMMARY or folder.name.startswith(TRACKS)):
            content: Any = read_json(file, "record").get("camera")
            if isinstance(content, Mapping):
                return camera_of_mapping(content, str(file))
    return None


def _is_same(one: RoadsideCamera, other: RoadsideCamera) -> bool:
    """Whether both put the pixels of images at the same places."""
    pairs = ((one.K, other.K), (one.ground, other.ground), (one.distortion, other.distortion))
    same_size = (one.width, one.height) == (other.width, other.height)
    return same_size and all(np.allclose(a, b, rtol=ROUNDED, atol=ROUNDED) for a, b in pairs)


def _told(camera: RoadsideCamera) -> str:
    """What tells two calibrations apart at a glance."""
    return f"{camera.width}x{camera.height}, {camera.height_m:.3f} m high, focal length {camera.K[0, 0]:.1f} px"
