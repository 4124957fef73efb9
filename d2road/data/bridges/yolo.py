"""YOLO's detection data as ultralytics reads it: data.yaml, images/ and labels/ with normalised boxes.

A label row is `class cx cy w h`, centre and sides as fractions of the image as it is shown. The label of an image is
found by the last `images` of its path, which becomes `labels`, and the suffix .txt.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from d2road.data.bridges.coco_content import IMAGE_SUFFIXES, CocoContent, shown_size
from d2road.utils.errors import ConfigError, DataError, raise_errors
from d2road.utils.input_files import read_text, text_lines, walk_files

SPLITS = ("train", "val", "test", "minival", "valid", "validation")
SLACK = 0.01  # by which ultralytics lets values leave 0 to 1
POLYGONS = "polygons or rotated boxes (rows of more than 5 values) made their enclosing boxes"


@dataclass(frozen=True)
class YoloData:
    """What a data.yaml says.

    Args:
        path: of the file.
        roots: folders that the splits may be relative to, the likeliest first.
        names: classes by index.
        splits: split -> folders of images, or lists of images (.txt).
        keypoints: values of the keypoints of a row, 0 for none.
    """

    path: Path
    roots: list[Path]
    names: list[str]
    splits: dict[str, list[str]]
    keypoints: int


def read_data_yaml(path: str | Path) -> YoloData:
    """Read and check a data.yaml.

    Raises:
        FileNotFoundError, DataError: it cannot be read, or lacks splits or classes.
    """
    path = Path(path).expanduser()
    try:
        data = yaml.safe_load(read_text(path, "data.yaml"))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} holds no keys: expected train, val and names, as ultralytics' data.yaml has them")
    splits = {}
    for name in SPLITS:
        entries = data.get(name)
        if entries:
            splits[name] = [entries] if isinstance(entries, str) else entries
            if not isinstance(splits[name], list) or not all(isinstance(entry, str) for entry in splits[name]):
                raise DataError(f"{path}: {name} is {entries!r}, expected a folder, a list of images, or several")
    if not splits:
        raise DataError(f"{path} names no images: expected one of {', '.join(SPLITS[:3])}; it has {sorted(data)}")
    root = Path(str(data.get("path") or "")).expanduser()
    roots = [root] if root.is_absolute() else [path.parent / root, Path.cwd() / root, path.parent]
    return YoloData(path, list(dict.fromkeys(roots)), _names(data, path), splits, _keypoints(data, path))


def _names(data: dict[str, Any], path: Path) -> list[str]:
    names, count = data.get("names"), data.get("nc")
    if count is not None and (type(count) is not int or count < 1):
        raise DataError(f"{path}: nc is {count!r}, expected the number of classes")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{path}: the keys of names are {list(names)[:10]}, expected 0 to {len(names) - 1}")
        names = [names[index] for index in range(len(names))]
    if names is None and count:
        names = [f"class_{index}" for index in range(count)]  # as ultralytics calls them
    if not isinstance(names, list) or not names or any(isinstance(name, (list, dict)) for name in names):
        raise DataError(f"{path}: names is {names!r}, expected the classes, in a list or by their index")
    if count is not None and count != len(names):
        raise DataError(f"{path}: nc is {count}, and names has {len(names)} classes")
    return [str(name) for name in names]


def _keypoints(data: dict[str, Any], path: Path) -> int:
    shape = data.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(value) is int and value > 0 for value in shape):
        raise DataError(f"{path}: kpt_shape is {shape!r}, expected [number of keypoints, 2 or 3]")
    return shape[0] * shape[1]


def read_yolo(data_yaml: str | Path, split: str = "") -> CocoContent:
    """The boxes of one split; images without a label file, or with an empty one, stay as background.

    Args:
        split: "" for the only one.
    Raises:
        FileNotFoundError, DataError, ConfigError: files that cannot be read, no such split, or rows that are no boxes.
    """
    data = read_data_yaml(data_yaml)
    if not split and len(data.splits) == 1:
        (split,) = data.splits
    if split not in data.splits:
        asked = f"no split {split!r}" if split else "several splits"
        raise ConfigError(f"{data.path} has {asked}: name one of {', '.join(data.splits)}, as yolo:{data.path}:SPLIT")
    images, image_dir = _split_images(data, split)
    content = CocoContent(f"{data.path} ({split})", str(image_dir))
    content.add_classes(data.names)
    errors: list[str] = []
    labels = set()
    for path in images:
        label = label_path(path)
        labels.add(label)
        image_id = content.add_image(path.relative_to(image_dir).as_posix(), shown_size(path, None, content.source))
        if not label.is_file():
            content.notes["images without a label file: background"] += 1
        else:
            _add_rows(content, image_id, label, data, errors)
    raise_errors(errors, content.source)
    orphans = [path for folder in {p.parent for p in labels} for path in folder.glob("*.txt") if path not in labels]
    orphans = [path for path in orphans if path.name != "classes.txt" and path.stem not in data.splits]
    if orphans:
        content.notes[f"label files without an image, left out, such as {min(orphans)}"] = len(orphans)
    return content


def label_path(image: Path) -> Path:
    """The label file of an image: the last folder `images` of its path becomes `labels`."""
    head, found, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{head}{os.sep}labels{os.sep}{tail}" if found else tail).with_suffix(".txt")


def _split_images(data: YoloData, split: str) -> tuple[list[Path], Path]:
    """All images of a split, sorted, and the folder that they are named from."""
    found: list[Path] = []
    folders: list[Path] = []
    for entry in data.splits[split]:
        path = _locate(data, entry, split)
        if path.is_dir():
            folders.append(path)
            found += [file for file in walk_files(path) if file.suffix.lower() in IMAGE_SUFFIXES]
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(path)
        else:
            folders.append(path.parent)
            found += [_listed(line.strip(), path, data) for line in text_lines(path, "list of images") if line.strip()]
    images = sorted(set(found))
    if not images:
        raise DataError(f"{data.path}: no images in {split} ({', '.join(data.splits[split])})")
    if len(folders) == 1 and all(path.is_relative_to(folders[0]) for path in images):
        return images, folders[0]
    return images, Path(os.path.commonpath([path.parent for path in images]))


def _locate(data: YoloData, entry: str, split: str) -> Path:
    """The folder or list that an entry of data.yaml names."""
    candidates = [root / entry for root in data.roots]
    if entry.startswith("../"):  # as Roboflow writes folders beside the file
        candidates += [root / entry[3:] for root in data.roots]
    for path in candidates:
        if path.exists():
            return Path(os.path.abspath(path))
    tried = ", ".join(str(path) for path in dict.fromkeys(candidates))
    raise FileNotFoundError(f"{data.path}: {split} {entry!r} does not exist (looked for {tried}): correct its `path`")


def _listed(line: str, listing: Path, data: YoloData) -> Path:
    candidates = [listing.parent / line, *(root / line for root in data.roots), Path(line)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{listing} lists {line}, which does not exist there (nor below {data.roots[0]})")
    return Path(os.path.abspath(path))


def _add_rows(content: CocoContent, image_id: int, label: Path, data: YoloData, errors: list[str]) -> None:
    """Put the rows of a label file into the content; what is wrong with them goes to `errors`."""
    image = content.images[image_id - 1]
    size = (image["width"], image["height"])
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(text_lines(label, "label file"), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = tuple(float(word) for word in words)
            box = _corners(values, data, content)
        except ValueError as error:
            said = error if isinstance(error, DataError) else f"{line[:60]!r} is no row of numbers"
            errors.append(f"{label} line {number}: {said}")
            continue
        if values in seen:
            content.notes["rows that repeat one of their image, left out"] += 1
            continue
        seen.add(values)
        corners = [value * size[axis % 2] for axis, value in enumerate(box)]
        content.add_box(image_id, int(values[0]) + 1, corners)


def _corners(values: Sequence[float], data: YoloData, content: CocoContent) -> tuple[float, float, float, float]:
    """Corners, as fractions of the image, of a row of a label file.

    Raises:
        DataError: the row is none of a box or polygon.
    """
    index, numbers = values[0], values[1:]
    if not (0 <= index < len(data.names)) or index != int(index):
        raise DataError(f"class {index:g}, expected 0 to {len(data.names) - 1} as {data.path.name} names them")
    count = len(values)
    if data.keypoints and count == 5 + data.keypoints:
        content.notes["objects whose keypoints are left out"] += 1
        numbers, count = numbers[:4], 5
    if count == 6:
        raise DataError("6 values, a box and a score as predictions have them: save labels without scores")
    if count != 5 and (count < 7 or count % 2 == 0):
        raise DataError(f"{count} values, expected 5 (class cx cy w h), or a class and the points of a polygon")
    if not all(-SLACK <= value <= 1 + SLACK for value in numbers):  # NaN is not
        raise DataError(f"values from {min(numbers):g} to {max(numbers):g}, expected fractions of the image, 0 to 1")
    if count > 5:
        content.notes[POLYGONS] += 1
        xs, ys = numbers[::2], numbers[1::2]
        return min(xs), min(ys), max(xs), max(ys)
    x, y, w, h = numbers
    if w < 0 or h < 0:
        raise DataError(f"sides {w:g} and {h:g}, expected positive fractions")
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2
