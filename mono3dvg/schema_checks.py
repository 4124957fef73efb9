"""Validation of grounding data: every error with its place. See docs/grounding_data.md for the schema."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from d2road.structures import Camera
from d2road.utils.thumbnails import DIGITS, is_thumbnail

LISTS = ("images", "categories", "annotations", "expressions")
RY_FRAMES = ("camera", "ground")
KINDS = ("zero", "single", "multi")


def kind_of(num_targets: int) -> str:
    """zero, single or multi."""
    return KINDS[min(num_targets, 2)]


def schema_problems(raw: Any) -> list[str]:
    """Errors in the content of a grounding file, as "annotations[3] (id 17): what was got, what is expected".

    Found are: missing lists and fields; ids that come twice or that nothing has; targets of another image, ignored
    ones, ones named twice; images without intrinsics or with a ground above the camera; boxes behind the camera,
    without volume or not finite; a `kind` or `distractors` that the targets contradict.
    """
    if not isinstance(raw, Mapping):
        return [f"expected an object with {', '.join(LISTS)}, got a {type(raw).__name__}"]
    missing = [name for name in LISTS if not isinstance(raw.get(name), list)]
    if missing:
        return [f"{name}: expected a list, got {type(raw.get(name)).__name__}" for name in missing]
    return _SchemaChecker(raw).run()


class _SchemaChecker:
    """One pass over a file; later lists refer to what earlier ones hold."""

    def __init__(self, raw: Mapping[str, Any]):
        self.raw = raw
        self.found: list[str] = []
        info = {} if raw.get("info") is None else raw["info"]
        if not isinstance(info, Mapping):
            self.found.append(f"info: expected an object, got a {type(info).__name__}")
        self.ry_frame = info.get("rotation_y", "camera") if isinstance(info, Mapping) else "camera"
        self.known: dict[str, dict] = {name: {} for name in LISTS}

    def run(self) -> list[str]:
        if self.ry_frame not in RY_FRAMES:
            self.found.append(
                f"info.rotation_y is {self.ry_frame!r}, expected 'camera' (it turns about the camera's y axis) or "
                "'ground' (about the normal of the ground)"
            )
        checks: dict[str, Callable] = {
            "images": self._image,
            "categories": self._category,
            "annotations": self._annotation,
            "expressions": self._expression,
        }
        for name, check in checks.items():
            for index, entry in enumerate(self.raw[name]):
                where = f"{name}[{index}]"
                if not isinstance(entry, Mapping):
                    self.found.append(f"{where}: expected an object, got {type(entry).__name__}")
                    continue
                where = self._id(name, where, entry)
                for text in check(entry):
                    self.found.append(f"{where}: {text}")
        return self.found

    def _id(self, name: str, where: str, entry: Mapping) -> str:
        key = entry.get("id")
        if not _is_id(key):
            self.found.append(f"{where}: id is {key!r}, expected a whole number or a text")
            return where
        if key in self.known[name]:
            self.found.append(f"{where} (id {key!r}): duplicate id, {name} before it has the same")
        else:
            self.known[name][key] = entry
        return f"{where} (id {key!r})"

    def _image(self, entry: Mapping) -> list[str]:
        found = [] if _is_text(entry.get("file_name")) else [_expected(entry, "file_name", "the image's path")]
        for key in ("width", "height"):
            value = entry.get(key)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                found.append(_expected(entry, key, "pixels of the image"))
        if entry.get("thumbnail") is not None and not is_thumbnail(entry["thumbnail"]):
            found.append(_expected(entry, "thumbnail", f"{DIGITS} hexadecimal digits, see d2road.utils.thumbnails.py"))
        if entry.get("P") is None:
            return [*found, "no intrinsics: P is missing, expected the 3x4 projection matrix of its camera"]
        plane = entry.get("ground_plane")
        try:
            camera = Camera(np.array(entry["P"], dtype=np.float64), None if plane is None else np.array(plane, float))
        except (TypeError, ValueError) as error:
            return [*found, f"P or ground_plane is wrong: {error}"]
        if plane is not None and camera.height_m <= 0:
            found.append(f"the camera lies {-camera.height_m:g} m below its ground_plane {plane}: wrong sign of d?")
        if plane is None and self.ry_frame == "ground":
            found.append("no ground_plane, which info.rotation_y 'ground' needs: expected a, b, c, d")
        return found

    def _category(self, entry: Mapping) -> list[str]:
        return [] if _is_text(entry.get("name")) else [_expected(entry, "name", "a class name")]

    def _annotation(self, entry: Mapping) -> list[str]:
        found = [
            f"{key} is {entry.get(key)!r}, which no entry of {name} has"
            for key, name in (("image_id", "images"), ("category_id", "categories"))
            if not self._knows(name, entry.get(key))
        ]
        if entry.get("bbox") is not None:
            box = entry["bbox"]
            if not _are_numbers(box, 4) or box[2] <= box[0] or box[3] <= box[1]:
                found.append(_expected(entry, "bbox", "x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2"))
        for key in ("truncation", "occlusion", "alpha"):
            if entry.get(key) is not None and not _is_number(entry[key]):
                found.append(_expected(entry, key, "a finite number"))
        for key, kind in (("attributes", Mapping), ("ignore", bool)):
            if entry.get(key) is not None and not isinstance(entry[key], kind):
                found.append(_expected(entry, key, "an object" if kind is Mapping else "true or false"))
        return found + self._box(entry)

    def _box(self, entry: Mapping) -> list[str]:
        dimensions, location, rotation_y = (entry.get(key) for key in ("dimensions", "location", "rotation_y"))
        if entry.get("ignore") is True and dimensions is None and location is None and rotation_y is None:
            return [] if entry.get("bbox") is not None else ["has neither a 2D nor a 3D box"]
        found = []
        if dimensions is None or not _are_numbers(dimensions, 3) or min(dimensions) <= 0:
            found.append(_expected(entry, "dimensions", "height, width, length in m, all above 0"))
        if location is None or not _are_numbers(location, 3):
            found.append(_expected(entry, "location", "x, y, z of the bottom centre in the camera frame, m"))
        elif location[2] <= 0:
            found.append(f"the box is behind the camera: location {list(location)} has z <= 0 (z points forward)")
        if not _is_number(rotation_y):
            found.append(_expected(entry, "rotation_y", "an angle in rad"))
        return found

    def _expression(self, entry: Mapping) -> list[str]:
        found = [] if _is_text(entry.get("text")) else [_expected(entry, "text", "a sentence that is not empty")]
        image_id, targets = entry.get("image_id"), entry.get("target_ids")
        if not self._knows("images", image_id):
            found.append(f"image_id is {image_id!r}, which no entry of images has")
        found += _lists(entry)
        for key in entry["category_ids"] if isinstance(entry.get("category_ids"), list) else ():
            if not self._knows("categories", key):
                found.append(f"category_ids holds {key!r}, which no entry of categories has")
        if not isinstance(targets, list):
            return [*found, _expected(entry, "target_ids", "a list of ids of annotations, [] for no target")]
        wrong = [text for target in targets for text in self._target(target, image_id)]
        if not wrong and len(set(targets)) < len(targets):
            wrong.append(f"target_ids {targets} names an object twice")
        return found + (wrong or ([] if found else self._claims(entry, targets)))

    def _target(self, target: Any, image_id: Any) -> list[str]:
        if not self._knows("annotations", target):
            return [f"target id {target!r} is unknown: no entry of annotations has it"]
        thing = self.known["annotations"][target]
        if thing.get("image_id") != image_id:
            return [f"target id {target!r} is an object of image {thing.get('image_id')!r}, not of {image_id!r}"]
        return [f"target id {target!r} is marked to be ignored"] if thing.get("ignore") else []

    def _claims(self, entry: Mapping, targets: list) -> list[str]:
        """`kind` and `distractors` against what the annotations say."""
        found, kind = [], kind_of(len(targets))
        if entry.get("kind") not in (None, kind):
            found.append(f"kind is {entry['kind']!r}, but {len(targets)} targets make it {kind!r}")
        claimed = entry.get("distractors")
        if claimed is not None and not isinstance(claimed, bool):
            return [*found, _expected(entry, "distractors", "true or false")]
        theirs = (self.known["annotations"][t].get("category_id") for t in targets)
        meant = {key for key in theirs if _is_id(key)} or set(entry.get("category_ids") or ())
        if claimed is None or not meant:
            return found
        others = [o for o in self._objects_of.get(entry.get("image_id"), []) if o["id"] not in targets]
        if claimed != any(o.get("category_id") in meant for o in others):
            names = sorted({str(self.known["categories"].get(c, {}).get("name", c)) for c in meant})
            there = "no other object" if claimed else "another object"
            found.append(f"distractors is {claimed}, but the image has {there} of class {' or '.join(names)}")
        return found

    @cached_property
    def _objects_of(self) -> dict[Any, list[Mapping]]:
        """Objects by image, those to be ignored left out; asked for once all annotations are known."""
        by_image: dict[Any, list[Mapping]] = {}
        for thing in self.known["annotations"].values():
            image_id, category_id = thing.get("image_id"), thing.get("category_id")
            if not thing.get("ignore") and _is_id(image_id) and _is_id(category_id):  # what is not is told elsewhere
                by_image.setdefault(image_id, []).append(thing)
        return by_image

    def _knows(self, name: str, key: Any) -> bool:
        return _is_id(key) and key in self.known[name]


def _lists(entry: Mapping) -> list[str]:
    found = []
    for key in ("tags", "category_ids", "choices"):
        if entry.get(key) is not None and not isinstance(entry[key], list):
            found.append(_expected(entry, key, "a list"))
    if entry.get("legacy") is not None and not isinstance(entry["legacy"], Mapping):
        found.append(_expected(entry, "legacy", "an object"))
    return found


def _expected(entry: Mapping, key: str, what: str) -> str:
    return f"{key} is {entry[key]!r}, expected {what}" if key in entry else f"{key} is missing, expected {what}"


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == count and all(map(_is_number, values))
