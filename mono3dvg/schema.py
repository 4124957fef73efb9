"""Grounding data, schema version 1: images, their objects in 3D and sentences that refer to them, one JSON a split.

docs/grounding_data.md draws it. What may be left out has a default below; `schema_checks.schema_problems` says what is
wrong with a file, and reading one does so first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from d2road.structures import Camera
from d2road.structures.projection import project_corners
from d2road.structures.upright_boxes import box_corners
from d2road.utils.errors import raise_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json
from mono3dvg.schema_checks import kind_of, schema_problems

VERSION = 1
Id = int | str


@dataclass(frozen=True)
class LabelledImage:
    """An image and its camera; `ground_plane` is a, b, c, d (a x + b y + c z + d = 0 in the camera frame) or None.

    `thumbnail` is that of `d2road.utils.thumbnails`, "" where the file does not tell.
    """

    id: Id
    file_name: str
    width: int
    height: int
    P: tuple
    ground_plane: tuple | None = None
    thumbnail: str = ""

    @cached_property
    def camera(self) -> Camera:
        plane = None if self.ground_plane is None else np.array(self.ground_plane, dtype=np.float64)
        return Camera(np.array(self.P, dtype=np.float64), plane)


@dataclass(frozen=True)
class LabelledObject:
    """A labelled object.

    Its box: `location` = bottom centre (camera frame, m), `dimensions` h, w, l (m), `rotation_y` (rad) about the axis
    that the file's `info.rotation_y` names. `occlusion` is KITTI's 0 to 3, or -1 unknown; `truncation` 0 to 1, or -1.
    An `ignore`d object is no target, and may have no 3D box (None).
    """

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    dimensions: tuple[float, float, float] | None
    location: tuple[float, float, float] | None
    rotation_y: float | None
    alpha: float
    truncation: float = -1.0
    occlusion: int = -1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    ignore: bool = False

    @property
    def row(self) -> list[float]:
        """x, y, z, h, w, l, ry."""
        assert self.location and self.dimensions and self.rotation_y is not None, "only ignored objects lack a 3D box"
        return [*self.location, *self.dimensions, self.rotation_y]


@dataclass(frozen=True)
class Expression:
    """A sentence about an image and the objects that it means.

    `distractors`: whether the image has other objects of the class that is spoken of. None for zero-target sentences
    of data that does not tell. `category_ids`: classes that are spoken of. `form`, `choices` and `language` are those
    of generated sentences, see `language.logical_forms`.
    """

    id: Id
    image_id: Id
    text: str
    target_ids: tuple[Id, ...]
    kind: str
    distractors: bool | None
    category_ids: tuple[Id, ...] = ()
    tags: tuple[str, ...] = ()
    legacy: Mapping[str, Any] = field(default_factory=dict)
    form: Sequence | None = None
    choices: tuple[int, ...] = ()
    language: str = ""

    @property
    def group(self) -> str | None:
        """zt_w_d, zt_wo_d, st_w_d, st_wo_d or mt, as Multi3DRefer divides sentences; None if that is not known."""
        if self.kind == "multi":
            return "mt"
        if self.distractors is None:
            return None
        return f"{self.kind[0]}t_{'w' if self.distractors else 'wo'}_d"


class GroundingData:
    """A split in memory.

    Args:
        raw: the content of a file that `schema_problems` finds nothing wrong with.
    """

    def __init__(self, raw: Mapping[str, Any]):
        self.info: dict[str, Any] = dict(raw.get("info") or {})
        self.categories: dict[Id, str] = {c["id"]: c["name"] for c in raw["categories"]}
        self.images = {entry["id"]: _image(entry) for entry in raw["images"]}
        self.ry_frame = self.info.get("rotation_y", "camera")
        self.objects = {e["id"]: _object(e, self.images[e["image_id"]], self.ry_frame) for e in raw["annotations"]}
        self.objects_of: dict[Id, list[LabelledObject]] = {image_id: [] for image_id in self.images}
        for thing in self.objects.values():
            self.objects_of[thing.image_id].append(thing)
        self.expressions = {entry["id"]: self._expression(entry) for entry in raw["expressions"]}

    def frame_of(self, image_id: Id) -> np.ndarray | None:
        """(3, 3) frame in which the boxes of an image stand upright; None: the camera's."""
        return self.images[image_id].camera.ground_rotation() if self.ry_frame == "ground" else None

    def target_rows(self, expression: Expression) -> np.ndarray:
        """(G, 7) boxes that a sentence means: x, y, z, h, w, l, ry."""
        return np.array([self.objects[i].row for i in expression.target_ids], dtype=np.float64).reshape(-1, 7)

    def _expression(self, entry: Mapping[str, Any]) -> Expression:
        targets = tuple(entry["target_ids"])
        categories = entry.get("category_ids") or dict.fromkeys(self.objects[i].category_id for i in targets)
        others = [o for o in self.objects_of[entry["image_id"]] if o.id not in targets and not o.ignore]
        distractors = entry.get("distractors")
        if targets:
            meant = {self.objects[i].category_id for i in targets}
            distractors = any(o.category_id in meant for o in others)
        return Expression(
            id=entry["id"],
            image_id=entry["image_id"],
            text=entry["text"],
            target_ids=targets,
            kind=kind_of(len(targets)),
            distractors=distractors,
            category_ids=tuple(categories),
            tags=tuple(entry.get("tags") or ()),
            legacy=entry.get("legacy") or {},
            form=entry.get("form"),
            choices=tuple(entry.get("choices") or ()),
            language=entry.get("language", ""),
        )


def read_grounding(path: str | Path) -> GroundingData:
    """Read and check a file.

    Raises:
        FileNotFoundError: it is not there.
        DataError: not JSON, or not of this schema; lists file, place and id of what is wrong.
    """
    raw = read_json(path, "grounding file", nan=True)
    raise_errors(schema_problems(raw), str(path))
    return GroundingData(raw)


def write_grounding(path: str | Path, raw: Mapping[str, Any]) -> None:
    """Check and write a file, atomically; the folder is created if it is missing.

    Raises:
        DataError: the content is not of this schema.
    """
    raise_errors(schema_problems(raw), f"{path}, which shall be written")
    make_folder(Path(path).parent)
    write_json(path, raw, indent=None)


def _image(entry: Mapping[str, Any]) -> LabelledImage:
    plane = entry.get("ground_plane")
    return LabelledImage(
        entry["id"],
        entry["file_name"],
        entry["width"],
        entry["height"],
        tuple(map(tuple, entry["P"])),
        None if plane is None else tuple(plane),
        entry.get("thumbnail") or "",
    )


def _object(entry: Mapping[str, Any], image: LabelledImage, ry_frame: str) -> LabelledObject:
    has_box = entry.get("location") is not None
    bbox, alpha = entry.get("bbox"), entry.get("alpha")
    if bbox is None:
        frame = image.camera.ground_rotation() if ry_frame == "ground" else None
        corners = box_corners(entry["location"], entry["dimensions"], entry["rotation_y"], frame)
        bbox = project_corners(image.camera.P, corners, (image.width, image.height))[0][0].tolist()
    if alpha is None:
        alpha = _observation_angle(entry) if has_box else -10.0  # as KITTI marks the unknown
    return LabelledObject(
        id=entry["id"],
        image_id=entry["image_id"],
        category_id=entry["category_id"],
        bbox=tuple(bbox),
        dimensions=tuple(entry["dimensions"]) if has_box else None,
        location=tuple(entry["location"]) if has_box else None,
        rotation_y=entry["rotation_y"] if has_box else None,
        alpha=float(alpha),
        truncation=float(entry.get("truncation", -1)),
        occlusion=int(entry.get("occlusion", -1)),
        attributes=entry.get("attributes") or {},
        ignore=bool(entry.get("ignore", False)),
    )


def _observation_angle(entry: Mapping[str, Any]) -> float:
    bearing = np.arctan2(entry["location"][0], entry["location"][2])
    return float((entry["rotation_y"] - bearing + np.pi) % (2 * np.pi) - np.pi)
