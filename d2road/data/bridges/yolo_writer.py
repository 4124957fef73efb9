"""YOLO's detection data, written as ultralytics reads it: text files of labels, and data.yaml."""

from pathlib import Path
from typing import Any

import yaml

from d2road.data.bridges.coco_content import CocoContent, is_ignored
from d2road.data.bridges.yolo import SPLITS, label_path, read_data_yaml
from d2road.utils.errors import ConfigError, DataError

CROWDS = "crowds and ignored objects left out: YOLO's labels cannot say that detections on them count neither way"
DIGITS = 9  # of fractions of an image: 1e-5 pixels of the largest that are read


def yolo_labels(content: CocoContent, split: str) -> dict[str, str]:
    """The label files of a split: path below the root -> content; an empty one for an image without boxes.

    Raises:
        DataError: two images that would have one label file.
    """
    index = {category["id"]: number for number, category in enumerate(content.categories)}
    files: dict[str, str] = {}
    for image, annotations in content.boxes_by_image():
        path = label_path(Path(f"/images/{split}", image["file_name"])).relative_to("/").as_posix()
        if path in files:
            raise DataError(f"{content.source}: two images have the label file {path}: rename one of them")
        rows = []
        for annotation in annotations:
            if is_ignored(annotation):
                content.notes[CROWDS] += 1
                continue
            corners = content.clipped_corners(annotation, image)
            if corners is not None:
                rows.append(f"{index[annotation['category_id']]} {_row(corners, image)}\n")
        files[path] = "".join(rows)
    return files


def _row(corners: tuple[float, ...], image: dict[str, Any]) -> str:
    """Centre and sides as fractions of the image."""
    x1, y1, x2, y2 = corners
    width, height = image["width"], image["height"]
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join(f"{value:.{DIGITS}f}" for value in values)


def data_yaml(content: CocoContent, out: Path, split: str) -> str:
    """The text of OUT/data.yaml with a further split.

    Raises:
        ConfigError: no split of YOLO's, one that is there already, or a folder of other things.
        DataError: it has other classes.
    """
    if split not in SPLITS[:3]:
        raise ConfigError(f"--split {split}: expected one of {', '.join(SPLITS[:3])}, as YOLO's data.yaml names them")
    names = [category["name"] for category in content.categories]
    splits = {split: f"images/{split}"}
    if (out / "data.yaml").is_file():
        known = read_data_yaml(out / "data.yaml")
        if known.splits != {name: [f"images/{name}"] for name in known.splits}:
            raise ConfigError(f"{out}/data.yaml was not written here: choose another --output")
        if known.names != names:
            raise DataError(
                f"{out}/data.yaml has the classes {known.names}, {content.source} has {names}: expected the same in "
                "the same order; choose another --output"
            )
        if split in known.splits:
            raise ConfigError(f"{out}/data.yaml has a split {split} already: name another by --split, or --output")
        splits = {**{name: entries[0] for name, entries in known.splits.items()}, **splits}
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and has no data.yaml: choose another --output")
    if "val" not in splits:
        content.notes["split is missing, val, which ultralytics asks for: write it with --split val"] = 1
    return yaml.safe_dump({**splits, "names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True)
