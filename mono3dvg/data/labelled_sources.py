"""Images and objects of the schema from the data sets that the project reads (kitti:..., rope3d:..., the toy data).

Objects keep the type of their label row as class, in lower case: a van is no car here, though detection benchmarks
count it so. Rows of one object that Detectron2's dicts repeat become one. DontCare regions are no objects. Objects of
which hardly anything is seen (occluded 3, truncated above 0.7), and those without 3D box, are to be ignored: no
sentence is made that would speak of one.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.camera_files import read_camera
from d2road.data.dataset_formats import register_by_name
from d2road.data.datasets.builtin import is_hardly_seen
from d2road.data.datasets.label_types import DONT_CARE
from d2road.utils.errors import DataError
from d2road.utils.input_files import parse_json, text_lines
from mono3dvg.schema import VERSION

CONVENTION = (
    "KITTI camera frame (x right, y down, z forward, m); location = centre of the bottom face; dimensions h w l"
)
ATTRIBUTES = ("color", "lane", "state", "direction", "motion", "visible")  # what the toy data tells beside the labels


def grounding_of(name: str, image_dir: str | Path, attributes: str | Path = "", source: str = "") -> dict[str, Any]:
    """The content of a grounding file without sentences.

    Args:
        name: of a data set with 3D boxes: "kitti:ROOT", "rope3d:ROOT:val", "toy_roadside3d_train", ...
        image_dir: `file_name`s become relative to it.
        attributes: attributes_*.jsonl of the toy data, for colours, lanes and the like.
        source: for `info`; the name if empty.
    Raises:
        DataError: unknown data set, one without 3D boxes, or attributes of other data.
        FileNotFoundError: files are missing.
    """
    register_by_name(name)
    records = DatasetCatalog.get(name)
    ry_frame = MetadataCatalog.get(name).get("ry_frame")
    if ry_frame not in ("camera", "ground"):
        raise DataError(f"data set '{name}' has no boxes in 3D, which sentences need: kitti, rope3d and dair data have")
    more = read_attributes(attributes) if attributes else {}
    images: list[dict[str, Any]] = []
    things: list[dict[str, Any]] = []
    classes: dict[str, int] = {}
    for record in records:
        images.append(image_entry(record, image_dir))
        described = more.get(Path(record["file_name"]).name, {})
        for row in unique_rows(record):
            kind = row["type"].lower()
            category = classes.setdefault(kind, len(classes))
            extra = described.get(tuple(row["location"]), {})
            if described and row["has_3d"] and not extra:
                raise DataError(f"{attributes} lacks the {kind} at {row['location']} of {record['file_name']}")
            things.append(object_entry(row, len(things), record["image_id"], category, extra))
    return {
        "info": file_info(source or name, ry_frame),
        "images": images,
        "categories": [{"id": number, "name": kind} for kind, number in classes.items()],
        "annotations": things,
        "expressions": [],
    }


def file_info(source: str, ry_frame: str, licence: str = "as the source's") -> dict[str, Any]:
    """`info` of a file."""
    return {
        "version": VERSION, "convention": CONVENTION, "rotation_y": ry_frame, "source": source, "licence": licence,
    }  # fmt: skip


def image_entry(record: Mapping[str, Any], image_dir: str | Path) -> dict[str, Any]:
    """An entry of `images` from a dataset dict.

    Raises:
        DataError: the image does not lie below `image_dir`, or the camera is wrong.
    """
    camera = read_camera(record)
    # Not Path.resolve, which raises for a loop of links.
    path, root = (Path(os.path.realpath(p)) for p in (record["file_name"], Path(image_dir).expanduser()))
    if not path.is_relative_to(root):
        raise DataError(f"image {path} does not lie below the folder of images {root}")
    return {
        "id": record["image_id"],
        "file_name": path.relative_to(root).as_posix(),
        "width": record["width"],
        "height": record["height"],
        "P": camera.P.tolist(),
        "ground_plane": None if camera.ground is None else camera.ground.tolist(),
    }


def unique_rows(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Label rows of a dataset dict, each once."""
    found: dict[tuple, Mapping[str, Any]] = {}
    for row in (*record.get("annotations", ()), *record.get("ignored_annotations", ())):
        if row["type"] != DONT_CARE:
            found.setdefault((row["type"], *row["bbox"], *row["location"]), row)
    return list(found.values())


def object_entry(
    row: Mapping[str, Any], key: Any, image_id: Any, category: int, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An entry of `annotations` from a label row as the 3D readers give it."""
    has_3d = row["has_3d"]
    return {
        "id": key,
        "image_id": image_id,
        "category_id": category,
        "bbox": list(row["bbox"]),
        "truncation": row["truncated"],
        "occlusion": row["occluded"],
        "alpha": row["alpha"],
        "dimensions": list(row["dimensions_hwl"]) if has_3d else None,
        "location": list(row["location"]) if has_3d else None,
        "rotation_y": row["rotation_y"] if has_3d else None,
        "attributes": dict(attributes or {}),
        "ignore": bool(not has_3d or is_hardly_seen(row)),
    }


def read_attributes(path: str | Path) -> dict[str, dict[tuple, dict[str, Any]]]:
    """Name of the image -> location of the object -> its attributes, from the toy data's attributes_*.jsonl.

    Raises:
        FileNotFoundError: it is not there.
        DataError: a line is not what the toy data has; names file and line.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"attributes {path} do not exist; they belong to the toy roadside data")
    found = {}
    for number, line in enumerate(text_lines(path, "attributes", largest=None), 1):
        try:
            record = parse_json(line.encode(), "the line")
            found[Path(record["file_name"]).name] = {
                tuple(thing["location"]): {key: thing[key] for key in ATTRIBUTES} for thing in record["objects"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} line {number}: not a view of the toy roadside data: {error!r}") from error
    return found


def merge_classes(parts: Iterable[dict[str, Any]]) -> None:
    """Give several contents the same categories, in the order of their names, in place."""
    parts = list(parts)
    names = sorted({c["name"] for part in parts for c in part["categories"]})
    for part in parts:
        old = {c["id"]: names.index(c["name"]) for c in part["categories"]}
        for thing in part["annotations"]:
            thing["category_id"] = old[thing["category_id"]]
        part["categories"] = [{"id": number, "name": name} for number, name in enumerate(names)]
