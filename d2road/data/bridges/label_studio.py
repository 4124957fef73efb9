"""Label Studio's JSON: exported tasks with rectangles, and tasks with predictions to start labelling from.

Values are percentages of the image as a browser shows it. A rectangle turns clockwise about its top left corner.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from d2road.data.bridges.coco_content import IMAGE_SUFFIXES, CocoContent, shown_size
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.input_files import read_json
from d2road.utils.values import as_list, as_number, as_object, field, named

UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")  # put before the names of uploaded files
SHAPES = {"rectanglelabels": "rectanglelabels", "polygonlabels": "polygonlabels"}
SEVERAL = "tasks with several annotations: the one marked as ground truth is taken, else the newest"


def read_label_studio(path: str | Path, image_dir: str | Path = "") -> CocoContent:
    """Boxes of an export in the format JSON.

    Tasks that nobody labelled, or that were skipped, are left out; those labelled with nothing are background.

    Args:
        image_dir: folder where the images are found by the ends of their URLs; "" takes sizes and names as they are.
    Raises:
        FileNotFoundError, DataError: it cannot be read, is another export, or an image is not there.
    """
    tasks = read_json(path, "Label Studio's export", nan=True)
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{path} holds {named(tasks)}, expected a list of tasks: export the project as JSON")
    if image_dir and not Path(image_dir).expanduser().is_dir():
        raise FileNotFoundError(f"image folder {image_dir} does not exist")
    images = Path(image_dir).expanduser() if image_dir else None
    content = CocoContent(str(path), str(images or ""))
    errors: list[str] = []
    found: list[tuple[str, tuple[int, int], list[tuple[str, list[float]]]]] = []
    for number, task in enumerate(tasks):
        where = f"task {task['id']}" if isinstance(task, dict) and "id" in task else f"tasks[{number}]"
        try:
            result = _labelled_result(as_object(task, where), where, content)
            if result is not None:
                name, size = _image_of(task, result, images, where)
                found.append((name, size, _boxes_of(result, size, where, content)))
        except (DataError, FileNotFoundError) as error:
            errors.append(str(error))
    tasks_of = Counter(name for name, _, _ in found)
    errors += [f"image {name} is in several tasks: remove all but one" for name, n in sorted(tasks_of.items()) if n > 1]
    raise_errors(errors, content.source)
    content.add_classes(sorted({label for _, _, boxes in found for label, _ in boxes}))
    ids = content.class_ids()
    for name, size, boxes in found:
        image_id = content.add_image(name, size)
        for label, corners in boxes:
            content.add_box(image_id, ids[label], corners)
    return content


def _labelled_result(task: Mapping[str, Any], where: str, content: CocoContent) -> list[dict[str, Any]] | None:
    """The regions of a task's annotation; None, with a note, if it has none."""
    if "annotations" not in task:
        raise DataError(
            f"{where} has no annotations; it has {sorted(task)[:8]}: export the project as JSON, not JSON-MIN"
        )
    entries = [as_object(entry, where) for entry in as_list(task["annotations"], f"{where}: annotations")]
    kept = [entry for entry in entries if not entry.get("was_cancelled") and not entry.get("skipped")]
    if not kept:
        kind = "skipped by their annotators" if entries else "without annotations"
        content.notes[f"tasks left out: {kind}"] += 1
        return None
    if len(kept) > 1:
        content.notes[SEVERAL] += 1
        marked = [entry for entry in kept if entry.get("ground_truth") is True]
        kept = sorted(marked or kept, key=lambda entry: _time_of(entry, where))
    return [as_object(entry, where) for entry in field(kept[-1], "result", as_list, where)]


def _time_of(entry: Mapping[str, Any], where: str) -> float:
    """When an annotation was changed last, in seconds."""
    text = entry.get("updated_at") or entry.get("created_at")
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise DataError(f"{where} has several annotations without dates: remove all but one") from error


def _image_of(
    task: Mapping[str, Any], result: list[dict[str, Any]], images: Path | None, where: str
) -> tuple[str, tuple[int, int]]:
    """File name and (width, height) of the image of a task."""
    url = image_url(field(task, "data", as_object, where), where)
    sizes = {
        (int(field(x, "original_width", as_number, where, 1)), int(field(x, "original_height", as_number, where, 1)))
        for x in result
        if "original_width" in x
    }
    if len(sizes) > 1:
        raise DataError(f"{where} has regions of images of different sizes {sorted(sizes)}: expected one image a task")
    given = next(iter(sizes), None)
    names = names_of_url(url)
    if images is not None:
        name = next((name for name in names if (images / name).is_file()), None)
        if name is None:
            raise FileNotFoundError(f"{where}: {url} is not below {images} (looked for {', '.join(names)})")
        return name, shown_size(images / name, given, where)
    if given is None:
        raise DataError(f"{where} has no regions with a size of {url}: say by --images where it is")
    return names[0], given


def image_url(data: Mapping[str, Any], where: str) -> str:
    """The URL of the image in a task's data: `image`, else the only value that reads as one.

    Raises:
        DataError: none, or several.
    """
    if isinstance(data.get("image"), str):
        return data["image"]
    urls = [value for value in data.values() if isinstance(value, str) and _suffix_of(value) in IMAGE_SUFFIXES]
    if len(urls) != 1:
        raise DataError(f"{where} has {len(urls)} images in its data {sorted(data)[:8]}, expected one")
    return urls[0]


def _suffix_of(url: str) -> str:
    return PurePosixPath(names_of_url(url)[0]).suffix.lower()


def names_of_url(url: str) -> list[str]:
    """What an image may be called in its folder: the path of its URL, then ever shorter ends of it.

    Of /data/local-files/?d=PATH it is PATH; uploaded files are also tried without the 8 hexadecimal digits that Label
    Studio puts before their names.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query).get("d") if parts.path.rstrip("/").endswith("local-files") else None
    path = query[0] if query else unquote(parts.path)
    words = [word for word in path.split("/") if word not in ("", ".", "..")]
    names = ["/".join(words[start:]) for start in range(len(words))] or [url]
    if UPLOAD_PREFIX.match(words[-1] if words else ""):
        names.append(words[-1][9:])
    return names if query or not path.startswith("/data/upload/") else names[-2:] + names[:-2]


def _boxes_of(
    result: list[dict[str, Any]], size: tuple[int, int], where: str, content: CocoContent
) -> list[tuple[str, list[float]]]:
    """(label, corners in pixels) of the regions of an annotation of an image of this (width, height)."""
    found = []
    for region in result:
        kind = region.get("type")
        if kind not in SHAPES:
            content.notes[f"regions of the type {kind!r} left out"] += 1
            continue
        if region.get("image_rotation"):
            raise DataError(
                f"{where} was labelled on a view of its image turned by {region['image_rotation']} degrees, which "
                "is not read: turn the image itself, and label it again"
            )
        value = field(region, "value", as_object, where)
        labels = [str(label) for label in field(value, kind, as_list, where)]
        if not labels:
            content.notes["regions without a label left out"] += 1
        if len(labels) > 1:
            content.notes["regions of several labels made a box for each"] += 1
        corners = _corners(value, kind, size, where, content)
        found += [(label, corners) for label in labels]
    return found


def _corners(
    value: Mapping[str, Any], kind: str, size: tuple[int, int], where: str, content: CocoContent
) -> list[float]:
    """Corners in pixels of a rectangle, or of the enclosing box of a turned one or of a polygon."""
    if kind == "polygonlabels":
        content.notes["polygons made their enclosing boxes"] += 1
        points = [as_list(point, where) for point in field(value, "points", as_list, where)]
        if not points or any(len(point) != 2 for point in points):
            raise DataError(f"{where} has a polygon without points of x and y")
        xs, ys = ([as_number(p[axis], where) / 100 * size[axis] for p in points] for axis in (0, 1))
        return [min(xs), min(ys), max(xs), max(ys)]
    x, y, w, h = (field(value, name, as_number, where) for name in ("x", "y", "width", "height"))
    x, y, w, h = x / 100 * size[0], y / 100 * size[1], w / 100 * size[0], h / 100 * size[1]
    angle = math.radians(as_number(value.get("rotation") or 0, f"{where}: rotation"))
    if angle == 0:
        return [x, y, x + w, y + h]
    content.notes["rotated boxes made their enclosing boxes"] += 1
    cos, sin = math.cos(angle), math.sin(angle)
    points_xy = [(0.0, 0.0), (w * cos, w * sin), (w * cos - h * sin, w * sin + h * cos), (-h * sin, h * cos)]
    xs, ys = ([point[axis] for point in points_xy] for axis in (0, 1))
    return [x + min(xs), y + min(ys), x + max(xs), y + max(ys)]
