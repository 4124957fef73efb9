"""Calibrations of fixed roadside cameras as files: YAML with all that is known, KITTI's and Rope3D's beside it.

    camera.yaml    image size, K, distortion, ground plane, standard deviations, road
    calib.txt      P2 of the pinhole camera, as KITTI and Rope3D have it
    denorm.txt     ground plane a b c d, as Rope3D has it

The text files know neither distortion nor image size; `d2road` verbs that ask for --calib take the YAML file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from d2road.data.camera_files import read_calib, read_denorm
from d2road.structures.camera import Camera
from d2road.structures.lens_distortion import COEFFICIENTS
from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import PARAMETERS, RoadsideCamera
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text
from d2road.utils.output_files import atomic_write
from d2road.utils.values import as_integer, as_list, as_number, as_object, field, number_rows

FORMAT = "d2road-roadside-camera-1"
CAMERA_FILE, CALIB_FILE, DENORM_FILE = "camera.yaml", "calib.txt", "denorm.txt"
EXPECTED = f"expected a mapping with format: {FORMAT}, as `d2road calibrate-camera` writes it"
HEADER = """\
# A fixed roadside camera. Camera frame: x right, y down, z forward, m. Pixels are continuous: the centre of the first
# is (0.5, 0.5). ground_plane: a b c d with a x + b y + c z + d = 0, normal up, d = height of the camera, m.
# deviations: standard deviations; correlation: of the errors of log focal length, pitch, roll, log height.
# road: heading of its axis from +X towards +Y, and offsets of lane borders to the left of it, in the ground frame
# (origin at the camera's foot point, X right, Y the viewing direction laid into the ground, Z up).
"""


def is_camera_file(path: str | os.PathLike) -> bool:
    """Whether a path means camera.yaml or the folder that holds it, by its name; KITTI's text files are others."""
    path = Path(path)
    return path.suffix.lower() in (".yaml", ".yml") or (path / CAMERA_FILE).is_file()


def write_camera(path: str | os.PathLike, camera: RoadsideCamera) -> None:
    """Write a calibration as YAML, atomically."""
    text = HEADER + yaml.safe_dump(camera_mapping(camera), sort_keys=False, default_flow_style=None, width=120)
    with atomic_write(path, "w") as file:
        file.write(text)


def write_camera_folder(folder: str | os.PathLike, camera: RoadsideCamera) -> None:
    """Write camera.yaml, calib.txt and denorm.txt into a folder that is there."""
    folder = Path(folder)
    write_camera(folder / CAMERA_FILE, camera)
    P = np.concatenate([camera.K, np.zeros((3, 1))], axis=1)
    for name, text in (
        (CALIB_FILE, "P2: " + " ".join(f"{value:.9g}" for value in P.reshape(-1))),
        (DENORM_FILE, " ".join(f"{value:.9f}" for value in camera.ground)),
    ):
        with atomic_write(folder / name, "w") as file:
            file.write(text + "\n")


def read_roadside_camera(
    path: str | os.PathLike, size: tuple[int, int] | None = None, scale: bool = False
) -> RoadsideCamera:
    """A calibration from its YAML file, or from a folder that holds camera.yaml.

    Args:
        size: width and height of the images that it is for; None takes them as they are.
        scale: whether a calibration for the same view at another resolution is scaled to `size`.
    Raises:
        FileNotFoundError: it is not there.
        DataError: not such a file, values that cannot be, or another image size; names the file.
    """
    path = Path(path)
    path = path / CAMERA_FILE if path.is_dir() else path
    source = f"calibration {path}"
    try:
        content = yaml.safe_load(read_text(path, "calibration", largest=1 << 20))
    except yaml.YAMLError as error:
        raise DataError(f"{source} is not YAML: {error}; {EXPECTED}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{source} is none of a roadside camera; {EXPECTED}")
    try:
        camera = camera_of_mapping(content, source)
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(source) else f"{source}: {text}") from error
    if size is None:
        return camera
    if scale:
        return camera.scaled(*size)
    try:
        camera.require_size(*size)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    return camera


def camera_from_text_files(
    calib: str | os.PathLike, denorm: str | os.PathLike, size: tuple[int, int]
) -> RoadsideCamera:
    """A calibration from a projection (P2) and a ground plane for images of `size` (width, height).

    Raises:
        FileNotFoundError, DataError: as `read_calib`, `read_denorm` and `RoadsideCamera.from_camera`.
    """
    return RoadsideCamera.from_camera(Camera(read_calib(calib), read_denorm(denorm)), *size)


def camera_mapping(camera: RoadsideCamera) -> dict[str, Any]:
    """A calibration as YAML and JSON hold it; `camera_of_mapping` reads it."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "image": {"width": int(camera.width), "height": int(camera.height)},
        "K": camera.K.tolist(),
        "distortion": dict(zip(COEFFICIENTS, camera.distortion.tolist())),
        "ground_plane": camera.ground.tolist(),
    }
    if camera.covariance is not None:
        content["deviations"] = camera.deviations
        std = np.sqrt(np.diag(camera.covariance))
        scale = np.outer(std, std)
        correlation = np.divide(camera.covariance, scale, out=np.eye(len(PARAMETERS)), where=scale > 0)
        content["correlation"] = correlation.round(9).tolist()
    if camera.road is not None:
        content["road"] = {
            "heading_rad": float(camera.road.heading_rad),
            "lane_borders_m": camera.road.borders_m.tolist(),
            "lane_directions": camera.road.directions.tolist(),
        }
    return content


def camera_of_mapping(content: Mapping[str, Any], source: str) -> RoadsideCamera:
    """The calibration of what `camera_mapping` gave. Raises DataError for values that cannot be."""
    image = field(content, "image", as_object, source)
    K = np.array(number_rows(content, "K", 3, source))
    ground = _numbers(content, "ground_plane", source)
    lens = field(content, "distortion", as_object, source) if "distortion" in content else {}
    unknown = set(lens) - set(COEFFICIENTS)
    if unknown:
        raise DataError(f"{source}: distortion has {sorted(map(str, unknown))}, expected {', '.join(COEFFICIENTS)}")
    return RoadsideCamera(
        field(image, "width", as_integer, f"{source}: image", 1, 1e6),
        field(image, "height", as_integer, f"{source}: image", 1, 1e6),
        K,
        ground,
        np.array([as_number(lens.get(name, 0.0), f"{source}: distortion {name}") for name in COEFFICIENTS]),
        _covariance(content, K, ground, source),
        _road(content, source),
    )


def _covariance(content: Mapping[str, Any], K: np.ndarray, ground: np.ndarray, source: str) -> np.ndarray | None:
    """The covariance that deviations and their correlation make; None without them."""
    if content.get("deviations") is None:
        return None
    found = field(content, "deviations", as_object, source)
    names = ("focal_px", "pitch_deg", "roll_deg", "height_m")
    focal, pitch, roll, height = (field(found, name, as_number, f"{source}: deviations", 0.0) for name in names)
    height_m = abs(ground[3]) / np.linalg.norm(ground[:3])
    std = np.array([focal / K[0, 0], np.deg2rad(pitch), np.deg2rad(roll), height / height_m])
    correlation = np.eye(4)
    if content.get("correlation") is not None:
        correlation = np.array(number_rows(content, "correlation", 4, source))
        if correlation.shape != (4, 4) or np.abs(correlation).max() > 1 + 1e-6:
            raise DataError(f"{source}: correlation is no 4x4 matrix of numbers from -1 to 1")
    covariance = correlation * np.outer(std, std)
    return (covariance + covariance.T) / 2


def _road(content: Mapping[str, Any], source: str) -> RoadAxis | None:
    if content.get("road") is None:
        return None
    road, where = field(content, "road", as_object, source), f"{source}: road"
    return RoadAxis(
        field(road, "heading_rad", as_number, where),
        np.array(_numbers(road, "lane_borders_m", where)),
        np.array(_numbers(road, "lane_directions", where), dtype=np.int64),
    )


def _numbers(record: Mapping[str, Any], name: str, source: str) -> np.ndarray:
    values = field(record, name, as_list, source)
    return np.array([as_number(value, f"{source}: {name}") for value in values])
