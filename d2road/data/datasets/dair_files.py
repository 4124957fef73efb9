"""The JSON files of DAIR-V2X-I; `dair.py` draws them and says what is in them."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2road.data.datasets.frame_files import existing, has_3d
from d2road.data.datasets.label_types import LabelTypes
from d2road.data.datasets.split_files import read_split
from d2road.data.input_checks import one_entry
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.values import as_list, as_object, as_text, field, named

logger = logging.getLogger(__name__)

SIDE = "single-infrastructure-side"
SPLITS = ("train", "val", "test")
SPLIT_FILES = ("single-infrastructure-split-data.json", "example-single-infrastructure-split-data.json")
# A calibration may be off a rotation by rounding and by how it was made, but not by more than this.
MAX_ROTATION_DEFECT = 0.05


@dataclass(frozen=True)
class DairFrame:
    """The files of one frame."""

    id: str
    image: Path
    label: Path
    intrinsic: Path
    extrinsic: Path


def read_frames(root: str, hint: str = "") -> list[DairFrame]:
    """The frames that data_info.json lists, in its order.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no list of frames.
    """
    top = Path(root).expanduser()
    base = top / SIDE if (top / SIDE / "data_info.json").is_file() else top
    path = base / "data_info.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" + (f". To get it: {hint}" if hint else ""))
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} is no list of frames, expected [{{'image_path': ..., ...}}, ...]")
    frames = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("image_path"), str):
            raise DataError(f"{path} entry {number} has no image_path: {entry}")
        frame_id = Path(entry["image_path"]).stem
        label = entry.get("label_camera_std_path") or entry.get("label_camera_path")
        named_paths = {
            "image": entry["image_path"],
            "label": label or f"label/camera/{frame_id}.json",
            "intrinsic": entry.get("calib_camera_intrinsic_path", f"calib/camera_intrinsic/{frame_id}.json"),
            "extrinsic": entry.get(
                "calib_virtuallidar_to_camera_path", f"calib/virtuallidar_to_camera/{frame_id}.json"
            ),
        }
        for key, value in named_paths.items():
            as_text(value, f"{path} entry {number}: path of the {key}")
        frames.append(DairFrame(frame_id, **{key: base / value for key, value in named_paths.items()}))
    if len({frame.id for frame in frames}) < len(frames):
        raise DataError(f"{path} lists an image more than once")
    return frames


def note_unlisted(frames: list[DairFrame]) -> None:
    """Warn of images and labels in the folders of `frames` that belong to none of them and so are not used."""
    for paths in ([frame.image for frame in frames], [frame.label for frame in frames]):
        listed, suffix = {path.name for path in paths}, paths[0].suffix
        spare = sorted({p.name for f in {path.parent for path in paths} for p in f.glob(f"*{suffix}")} - listed)
        if spare:
            logger.warning(
                "%d files in %s are not in data_info.json and are not used, e.g. %s",
                len(spare), paths[0].parent, spare[0],
            )  # fmt: skip


def frames_of_split(root: str, split: str, frames: list[DairFrame]) -> list[DairFrame]:
    """The frames of "train", "val" or "test", of a text file with a frame a line, or all ("").

    Raises:
        FileNotFoundError: no split file.
        ValueError: the split names frames that data_info.json does not, or none.
    """
    if not split:
        return frames
    if split in SPLITS:
        path, names = _split_json(root, split)
    else:
        path = Path(split).expanduser()
        names = read_split(path, "expected train, val, test or a text file of frames (dair:ROOT:SPLIT)")
    by_id = {frame.id: frame for frame in frames}
    unknown = [name for name in names if name not in by_id]
    if unknown:
        raise DataError(f"{path}: {len(unknown)} frames of '{split}' are not in data_info.json, e.g. {unknown[0]}")
    return [by_id[name] for name in names]


def _split_json(root: str, split: str) -> tuple[Path, list[str]]:
    top = Path(root).expanduser()
    places = [folder / name for folder in (top, top / SIDE) for name in SPLIT_FILES]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{places[0]} does not exist; it comes with the data's development kit (data/split_datas) and says which "
            "frames are train, val and test"
        )
    names = field(as_object(read_json(path, "split file"), f"split file {path}"), split, as_list, f"split file {path}")
    if not names or not all(isinstance(name, (str, int)) for name in names):
        raise DataError(f"{path}: {split!r} is no list of frames, expected names such as '000000'")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: {split!r} names {next(n for n in names if names.count(n) > 1)} more than once")
    return path, names


def read_frame_camera(frame: DairFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) and the pose of the virtual LiDAR in the camera frame: rotation (3, 3), translation (3,) m.

    Raises:
        FileNotFoundError, ValueError: a file is missing or cannot be right.
    """
    K = _array(_mapping(existing(frame.intrinsic)), "cam_K", 9, frame.intrinsic).reshape(3, 3)
    if min(K[0, 0], K[1, 1]) <= 0 or not np.allclose(K[2], (0, 0, 1), atol=1e-6):
        raise DataError(f"{frame.intrinsic}: cam_K is no camera matrix fx 0 cx, 0 fy cy, 0 0 1: {K.tolist()}")
    pose = _mapping(existing(frame.extrinsic))
    pose = pose.get("transform", pose)
    rotation = nearest_rotation(_array(pose, "rotation", 9, frame.extrinsic).reshape(3, 3), str(frame.extrinsic))
    return K, rotation, _array(pose, "translation", 3, frame.extrinsic)


def nearest_rotation(matrix: np.ndarray, where: str) -> np.ndarray:
    """The rotation nearest to a (3, 3) matrix (its singular values set to 1).

    Raises:
        ValueError: the matrix is a reflection or far from any rotation.
    """
    left, values, right = np.linalg.svd(matrix)
    rotation = left @ right
    if np.linalg.det(rotation) < 0 or np.abs(values - 1).max() > MAX_ROTATION_DEFECT:
        raise DataError(f"{where}: no rotation (determinant {np.linalg.det(matrix):.3f}): {matrix.tolist()}")
    return rotation


def read_boxes(
    frame: DairFrame, types: LabelTypes, rotation: np.ndarray, translation: np.ndarray
) -> list[tuple[str, dict]]:
    """(file and entry, row) of the labels of a frame, in the camera frame; `rotation_y` and `alpha` come later.

    Raises:
        FileNotFoundError: no label file.
        ValueError: an entry that cannot be right; names file and entry.
    """
    entries = read_json(existing(frame.label))
    if not isinstance(entries, list):
        raise DataError(f"{frame.label} is no list of objects")
    rows = []
    for number, entry in enumerate(entries, 1):
        where = f"{frame.label} object {number}"
        with one_entry():
            if not isinstance(entry, dict):
                raise DataError(f"{where} is no object with type, 2d_box, ...: {entry}")
            rows.append((where, _row(entry, types, rotation, translation, where)))
    return rows


def _row(entry: dict, types: LabelTypes, rotation: np.ndarray, translation: np.ndarray, where: str) -> dict:
    kind = next((known for known in types.known if known.lower() == str(entry.get("type")).lower()), None)
    if kind is None:
        raise DataError(f"{where} has type {entry.get('type')!r}, expected one of {', '.join(types.known)}")
    h, w, l = (_number(entry, ("3d_dimensions", key), where) for key in ("h", "w", "l"))  # noqa: E741
    center = np.array([_number(entry, ("3d_location", key), where) for key in ("x", "y", "z")])
    yaw = _number(entry, ("rotation",), where)
    location = rotation @ (center - np.array([0, 0, h / 2])) + translation
    length_axis, down = np.array([math.cos(yaw), math.sin(yaw), 0.0]), np.array([0.0, 0.0, -1.0])
    axes = np.stack([length_axis, down, np.cross(length_axis, down)], axis=1)
    return {
        "type": kind,
        "bbox": [_number(entry, ("2d_box", key), where) for key in ("xmin", "ymin", "xmax", "ymax")],
        "truncated": _number(entry, ("truncated_state",), where),
        "occluded": int(_number(entry, ("occluded_state",), where)),
        "dimensions_hwl": [h, w, l],
        "location": location.tolist(),
        "box_rotation": (rotation @ axes).tolist(),
        "has_3d": has_3d([h, w, l], location, where),
    }


def _number(entry: dict, keys: tuple[str, ...], where: str) -> float:
    """A number, which the files give as a number or as a string."""
    value: Any = entry
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise DataError(f"{where} has no {'.'.join(keys)}")
        value = value[key]
    if isinstance(value, bool):
        raise DataError(f"{where}: {'.'.join(keys)} is {named(value)}, expected a number")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {'.'.join(keys)} is {value!r}, expected a number") from error
    if not math.isfinite(number):
        raise DataError(f"{where}: {'.'.join(keys)} is not finite")
    return number


def _array(mapping: dict, key: str, count: int, path: Path) -> np.ndarray:
    """(count,) numbers of a list of any nesting."""
    if key not in mapping:
        raise DataError(f"{path} has no {key!r}; it has {sorted(mapping)}")
    try:
        values = np.array(mapping[key], dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {key} holds something else than numbers: {mapping[key]}") from error
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"{path}: {key} has {len(values)} numbers, expected {count} finite ones: {mapping[key]}")
    return values


def _mapping(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, expected an object")
    return content
