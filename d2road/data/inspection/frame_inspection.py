"""What is checked of a data set: one frame at a time, then all of them together. Nothing here prints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2road.data.scene_objects import camera_of, corners_of, xyxy_of
from d2road.structures.camera import Camera
from d2road.structures.projection import project_corners
from d2road.utils.image_io import open_image

# A projected box lies away from its label if they overlap less than this and an edge is farther off than some pixels,
# which alone move a small box a lot.
MIN_IOU, MIN_EDGE_PX = 0.5, 5.0
# A dimension is odd if it differs from the median of its type by this factor; types with few objects are not judged.
ODD_FACTOR, MIN_OBJECTS = 3.0, 5
MAX_PLANE_MEDIAN_M = 0.5


@dataclass
class InspectedFrame:
    """What was seen of one frame: one row an object in the arrays, NaN where there is no such value."""

    file: str
    defects: list[str]
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def inspect_frame(record: Mapping[str, Any], ry_frame: str = "camera", decode: bool = True) -> InspectedFrame:
    """Check one dataset dict.

    Args:
        ry_frame: about what `rotation_y` of its annotations turns.
        decode: open the image; otherwise only see whether the file is there.
    Returns:
        defects: what is wrong with its files. columns: `type`, `class_id` (-1 of no class), `crowd` (N,), `box` (N, 4)
        pixels, `dimensions` (N, 3) h w l m, `iou` and `edge_px` (N,) of the projected 3D box against the labelled 2D
        box, `plane_m` (N,) signed height of the bottom centre above the ground plane, `behind` (N,) bool.
    """
    defects = _image_defects(record, decode)
    camera = None
    try:
        camera = camera_of(record)
    except (FileNotFoundError, ValueError) as error:
        defects.append(str(error))
    return InspectedFrame(str(record["file_name"]), defects, _columns(record, camera, ry_frame))


def join_columns(frames: Sequence[InspectedFrame]) -> dict[str, np.ndarray]:
    """The columns of all frames, with `frame` (N,), the number of the frame of each object."""
    counts = [len(f.columns["box"]) for f in frames]
    joined = {"frame": np.repeat(np.arange(len(frames)), counts)}
    for key in frames[0].columns if frames else ():
        joined[key] = np.concatenate([f.columns[key] for f in frames])
    return joined


def _image_defects(record: Mapping[str, Any], decode: bool) -> list[str]:
    path = Path(record["file_name"])
    if not decode:
        return [] if path.is_file() else [f"image {path} does not exist"]
    try:
        size = open_image(path).size
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    expected = (record.get("width", size[0]), record.get("height", size[1]))
    if size != expected:
        return [f"image {path} is {size[0]}x{size[1]}, its annotation says {expected[0]}x{expected[1]}"]
    return []


def _columns(record: Mapping[str, Any], camera: Camera | None, ry_frame: str) -> dict[str, np.ndarray]:
    rows = [a for a in record.get("annotations", ()) if "bbox" in a]
    num_of_classes = len(rows)
    rows += [a for a in record.get("ignored_annotations", ()) if "bbox" in a]
    boxes, corners = xyxy_of(rows), corners_of(rows, camera, ry_frame)
    dimensions = np.array([r.get("dimensions_hwl", [np.nan] * 3) for r in rows], dtype=np.float64).reshape(-1, 3)
    z = np.array([r["location"][2] if "location" in r else np.nan for r in rows], dtype=np.float64)
    dimensions[~(dimensions > 0).all(axis=1)] = np.nan  # rows with a 2D box only
    bottoms = corners[:, :4].mean(axis=1)
    iou, edge_px = compare_projection(boxes, corners, camera, record)
    plane = camera.ground if camera is not None else None
    return {
        "type": np.array([str(r.get("type", "")) for r in rows], dtype=object),
        "class_id": np.array([r["category_id"] if i < num_of_classes else -1 for i, r in enumerate(rows)], dtype=int),
        "crowd": np.array([bool(r.get("iscrowd", 0)) for r in rows], dtype=bool),
        "box": boxes,
        "dimensions": dimensions,
        "iou": iou,
        "edge_px": edge_px,
        "plane_m": np.full(len(rows), np.nan) if plane is None else bottoms @ plane[:3] + plane[3],
        "behind": (z <= 0) & np.isfinite(dimensions[:, 0]),
    }


def compare_projection(
    boxes_xyxy: np.ndarray, corners: np.ndarray, camera: Camera | None, record: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) overlap of the projected 3D boxes, cut at the image, with 2D boxes, and (N,) their farthest edge in pixels.

    NaN without a 3D box; overlap 0 and an infinite distance where it projects nowhere into the image.
    """
    iou, edge = np.full(len(boxes_xyxy), np.nan), np.full(len(boxes_xyxy), np.nan)
    known = np.isfinite(corners).all(axis=(1, 2))
    if camera is None or not known.any():
        return iou, edge
    size = (record["width"], record["height"])
    projected, in_image = project_corners(torch.from_numpy(camera.P), torch.from_numpy(corners[known]), size)
    seen, visible, labelled = projected.numpy(), in_image.numpy(), boxes_xyxy[known]
    low, high = np.maximum(seen[:, :2], labelled[:, :2]), np.minimum(seen[:, 2:], labelled[:, 2:])
    both = (high - low).clip(min=0).prod(axis=1)
    area_seen, area_labelled = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (seen, labelled))
    union = area_seen + area_labelled - both
    iou[known] = np.where(visible, both / union, 0.0)
    edge[known] = np.where(visible, np.abs(seen - labelled).max(axis=1), np.inf)
    return iou, edge


def odd_dimensions(types: np.ndarray, dimensions_hwl: np.ndarray) -> np.ndarray:
    """(N,) bool: some dimension differs from the median of its type by more than a factor of 3."""
    odd = np.zeros(len(types), dtype=bool)
    known = np.isfinite(dimensions_hwl).all(axis=1)
    for kind in sorted(set(types[known])):
        mine = known & (types == kind)
        if mine.sum() >= MIN_OBJECTS:
            ratio = np.log(dimensions_hwl[mine] / np.median(dimensions_hwl[mine], axis=0))
            odd[mine] = (np.abs(ratio) > np.log(ODD_FACTOR)).any(axis=1)
    return odd


def duplicate_files(frames: Sequence[InspectedFrame]) -> list[str]:
    """A line for each image that several frames name."""
    counts = Counter(f.file for f in frames)
    return [f"image {file} comes {count} times" for file, count in counts.items() if count > 1]
