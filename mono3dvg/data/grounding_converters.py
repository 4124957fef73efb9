"""Published grounding data in the project's schema: Mono3DRefer and MonoMulti3D-ROPE.

Mono3DRefer, ROOT as released:

    images/000123.png   calib/000123.txt   Mono3DRefer_{train,val,test}_image.txt (a name a line)   Mono3DRefer.json

MonoMulti3D-ROPE: JSON files with Rope3D's images, calib and denorm folders. Training files hold records
{ann_id, image_file_name, public_description, public_properties ["key : value"], label_3 [rows]}, three an image and
nested by image or not; test files {public_description [3 sentences], test_data [rows]}. A row is 15 KITTI fields and
a colour; three flags at its end (in label files and in test_data), one a sentence, say whether it is meant.
"""

import ast
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.data.camera_files import read_camera
from d2road.data.datasets.frame_files import FIELDS, existing, has_3d, image_of, index_images
from d2road.data.datasets.split_files import read_split
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import image_size
from d2road.utils.input_files import read_json, text_lines
from d2road.utils.values import as_list, as_text, named
from mono3dvg.data.labelled_sources import file_info, image_entry, object_entry

logger = logging.getLogger(__name__)

# By id.
MONO3DREFER_CLASSES = (
    "pedestrian", "car", "cyclist", "van", "truck", "tram", "bus", "person_sitting", "motorcyclist",
)  # fmt: skip
FLAGS = 3  # sentences of an image in MonoMulti3D-ROPE


def convert_mono3drefer(root: str | Path, split: str) -> dict[str, Any]:
    """The content of a grounding file from one split of Mono3DRefer.

    Objects are told apart by instanceID, which becomes their id; a sentence's id is "instanceID-ann_id".

    Raises:
        FileNotFoundError: a file or image is missing.
        ConfigError: another split.
        DataError: a record that is not of this form, or objects that contradict each other; names it.
    """
    root = Path(root).expanduser()
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}, expected train, val or test")
    names = [Path(name).stem for name in read_split(root / f"Mono3DRefer_{split}_image.txt")]
    image_files = index_images([root / "images"])
    images = {}
    for name in names:
        record = _record(
            image_of(name, image_files), name, {"calib_file": str(existing(root / "calib" / f"{name}.txt"))}
        )
        images[name] = image_entry(record, root / "images")
    things: dict[Any, dict] = {}
    expressions: list[dict] = []
    path = root / "Mono3DRefer.json"
    for index, entry in enumerate(as_list(read_json(path), str(path))):
        where = f"{path} record {index}"
        name = Path(str(_field(entry, "im_name", where))).stem
        if name not in images:
            continue
        key, number = (_id(entry, name, where) for name in ("instanceID", "ann_id"))
        kind = str(_field(entry, "objectName", where)).lower()
        if kind not in MONO3DREFER_CLASSES:
            raise DataError(f"{where}: objectName {kind!r}, expected one of {', '.join(MONO3DREFER_CLASSES)}")
        row = parse_row(_field(entry, "label_2", where), where)
        thing = object_entry(row, key, name, MONO3DREFER_CLASSES.index(kind))
        thing["ignore"] = False  # every object of this data is meant by its sentences
        if things.setdefault(key, thing) != thing:
            raise DataError(f"{where}: instanceID {key} has another label or image than before")
        expressions.append(
            {
                "id": f"{key}-{number}",
                "image_id": name,
                "text": as_text(_field(entry, "description", where), f"{where}: 'description'"),
                "target_ids": [key],
                "kind": "single",
                "legacy": {"instanceID": key, "ann_id": number},
            }
        )
    return {
        "info": file_info(f"Mono3DRefer {split}", "camera", "unknown; images of KITTI: CC BY-NC-SA 3.0"),
        "images": list(images.values()),
        "categories": [{"id": number, "name": name} for number, name in enumerate(MONO3DREFER_CLASSES)],
        "annotations": list(things.values()),
        "expressions": expressions,
    }


def convert_monomulti3d(
    source: str | Path,
    images: str | Path,
    calib: str | Path,
    denorm: str | Path | None = None,
    labels: str | Path | None = None,
) -> dict[str, Any]:
    """The content of a grounding file from MonoMulti3D-ROPE.

    Args:
        source: a JSON file, or a folder of them.
        images, calib, denorm: Rope3D's folders; without denorm rotation_y is taken to turn in the camera frame.
        labels: folder of label files, which have all objects of an image; without it the objects are those that some
            sentence of the image means (or that test_data lists).
    Raises:
        FileNotFoundError: a file or image is missing.
        DataError: a record or row that is not of this form, or a sentence whose targets are not told; names it.
    """
    builder = _RopeBuilder(Path(images).expanduser(), calib, denorm, labels)
    path = Path(source).expanduser()
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        for index, entry in enumerate(flat_records(read_json(file), str(file))):
            builder.add(entry, f"{file} record {index}", file.stem)
    return builder.content(f"MonoMulti3D-ROPE {path.name}")


def flat_records(raw: Any, source: str = "the file") -> list[Any]:
    """The records of a file, nested by image or not, or its only one.

    Raises:
        DataError: something else than a list or an object; `source` is named.
    """
    if isinstance(raw, Mapping):
        return [raw]
    if not isinstance(raw, list):
        raise DataError(f"{source} is {named(raw)}, expected a list of records or one of them")
    return [record for entry in raw for record in (entry if isinstance(entry, list) else [entry])]


def parse_row(value: Any, where: str) -> dict[str, Any]:
    """A label row as the 3D readers give it, from a list or its text; `extra` holds what follows KITTI's 15 fields.

    Raises:
        DataError: not such a row; the message begins with `where`.
    """
    words = _words(value, where)
    try:
        numbers = dict(zip(FIELDS, (float(word) for word in words[1:])))
    except (TypeError, ValueError):
        numbers = {}
    if len(words) < len(FIELDS) + 1 or len(numbers) < len(FIELDS):
        raise DataError(f"{where}: row {value!r}: expected type {' '.join(FIELDS)}")
    dimensions = [numbers[key] for key in ("height", "width", "length")]
    location = [numbers[key] for key in ("x", "y", "z")]
    return {
        "type": str(words[0]),
        "bbox": [numbers[key] for key in ("x1", "y1", "x2", "y2")],
        "truncated": numbers["truncated"],
        "occluded": int(numbers["occluded"]),
        "alpha": numbers["alpha"],
        "dimensions_hwl": dimensions,
        "location": location,
        "rotation_y": numbers["rotation_y"],
        "has_3d": has_3d(dimensions, location, where),
        "extra": [str(word) for word in words[len(FIELDS) + 1 :]],
    }


class _RopeBuilder:
    """Collects images, objects and sentences of MonoMulti3D-ROPE."""

    def __init__(self, image_dir: Path, calib: Any, denorm: Any, labels: Any):
        self.image_dir, self.image_files = image_dir, index_images([image_dir])
        self.folders = {"calib_file": calib, "denorm_file": denorm}
        self.label_dir = None if labels is None else Path(labels).expanduser()
        self.images: dict[str, dict] = {}
        self.rows: dict[str, dict[tuple, dict]] = {}
        self.classes: dict[str, int] = {}
        self.expressions: list[dict] = []
        self.skipped: Counter = Counter()
        self.count = 0

    def add(self, entry: Any, where: str, stem: str) -> None:
        if isinstance(entry, Mapping) and "test_data" in entry:
            name = Path(str(entry.get("image_file_name", stem))).stem
            self._add_test(entry, name, where)
            return
        name = Path(str(_field(entry, "image_file_name", where))).stem
        self._open(name)
        rows = as_list(_field(entry, "label_3", where), f"{where}: 'label_3'")
        targets = [self._object(name, parse_row(row, where)) for row in rows]
        told = as_list(entry.get("public_properties") or [], f"{where}: 'public_properties'")
        properties = [str(text).partition(":") for text in told]
        legacy = {"ann_id": entry.get("ann_id"), "properties": {k.strip(): v.strip() for k, _, v in properties}}
        text = as_text(_field(entry, "public_description", where), f"{where}: 'public_description'")
        self._add_expression(name, text, targets, legacy)

    def _add_test(self, entry: Mapping, name: str, where: str) -> None:
        self._open(name)
        rows = [parse_row(row, where) for row in as_list(entry["test_data"], f"{where}: 'test_data'")]
        things = [self._object(name, row) for row in rows]
        flags = [row["extra"][1 : 1 + FLAGS] or self._flags(name, row) for row in rows]
        sentences = as_list(_field(entry, "public_description", where), f"{where}: 'public_description'")
        for number, text in enumerate(sentences):
            as_text(text, f"{where}: sentence {number}")
            if any(len(f) <= number for f in flags):
                raise DataError(f"{where}: nothing says which rows are meant: give the label files by --labels")
            meant = [thing for thing, f in zip(things, flags) if f[number] == "1"]
            self._add_expression(name, text, meant, {"ann_id": number})

    def _flags(self, name: str, row: dict) -> list[str]:
        found = self.rows[name].get(_key(row))
        return found["row"]["extra"][1 : 1 + FLAGS] if found else []

    def _open(self, name: str) -> None:
        if name in self.images:
            return
        files = {key: str(existing(Path(d).expanduser() / f"{name}.txt")) for key, d in self.folders.items() if d}
        self.images[name] = image_entry(_record(image_of(name, self.image_files), name, files), self.image_dir)
        self.rows[name] = {}
        if self.label_dir is not None:
            path = existing(self.label_dir / f"{name}.txt")
            for number, line in enumerate(text_lines(path, "label file"), 1):
                if line.strip():
                    self._object(name, parse_row(line, f"{path} line {number}"))

    def _object(self, name: str, row: dict) -> dict:
        key = _key(row)
        if key not in self.rows[name]:
            kind = row["type"].lower()
            color = {"color": row["extra"][0].lower()} if row["extra"] else {}
            category = self.classes.setdefault(kind, len(self.classes))
            thing = object_entry(row, self.count, name, category, color)
            thing["ignore"] = not row["has_3d"]
            self.rows[name][key] = {"row": row, "entry": thing}
            self.count += 1
        return self.rows[name][key]["entry"]

    def _add_expression(self, name: str, text: str, targets: Sequence[dict], legacy: dict) -> None:
        if any(thing["ignore"] for thing in targets):
            self.skipped["sentences that mean an object without 3D box"] += 1
            return
        ids = list(dict.fromkeys(thing["id"] for thing in targets))
        entry = {"id": len(self.expressions), "image_id": name, "text": text, "target_ids": ids, "legacy": legacy}
        self.expressions.append(entry)

    def content(self, source: str) -> dict[str, Any]:
        for what, count in self.skipped.items():
            logger.warning("%s: %d %s left out", source, count, what)
        frame = "ground" if self.folders["denorm_file"] else "camera"
        return {
            "info": file_info(source, frame, "ask its authors"),
            "images": list(self.images.values()),
            "categories": [{"id": number, "name": name} for name, number in self.classes.items()],
            "annotations": [found["entry"] for rows in self.rows.values() for found in rows.values()],
            "expressions": self.expressions,
        }


def _key(row: Mapping[str, Any]) -> tuple:
    return (row["type"], *row["bbox"], *row["location"])


def _record(path: Path, name: str, files: dict[str, str]) -> dict[str, Any]:
    width, height = image_size(path)
    record = {"file_name": str(path), "image_id": name, "width": width, "height": height, **files}
    read_camera(record)
    return record


def _words(value: Any, where: str) -> list[Any]:
    """The fields of a row: a list, its text "['car', 0, ...]", or plain words."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError):
            value = value.strip().strip("[]").replace(",", " ").replace("'", " ").replace('"', " ")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return _words(value[0], where)
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{where}: row {value!r}, expected a list of fields or its text")
    return list(value)


def _id(entry: Any, key: str, where: str) -> int | str:
    value = _field(entry, key, where)
    if type(value) not in (int, str):
        raise DataError(f"{where}: {key!r} is {named(value)}, expected a whole number or a text")
    return value


def _field(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        raise DataError(f"{where}: expected an object with {key!r}, got {str(entry)[:80]}")
    return entry[key]
