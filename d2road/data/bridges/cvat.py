"""CVAT for images 1.1: one XML file with all images and shapes of a task, as CVAT and datumaro write it."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

from d2road.data.bridges.coco_content import CocoContent, shown_size
from d2road.data.bridges.xml_files import number_of, read_xml, whole_number_of
from d2road.utils.errors import DataError, raise_errors

Corners = tuple[float, float, float, float]
UNCHECKED = "images not looked at, since there is no folder images/ beside the file: name it by --images"


def read_cvat(path: str | Path, image_dir: str | Path = "") -> CocoContent:
    """Boxes of an annotations.xml; rotated boxes, polygons, ellipses and masks become their enclosing boxes.

    Args:
        image_dir: "" for the folder images/ beside the file, where there is one.
    Raises:
        FileNotFoundError, DataError: it cannot be read, is CVAT's format of videos, or an image is of another size.
    """
    path = Path(path).expanduser()
    root = read_xml(path, "annotations")
    if root.find("track") is not None:
        raise DataError(f"{path} holds tracks of a video: export it from CVAT as 'CVAT for images 1.1'")
    images = Path(image_dir).expanduser() if image_dir else path.parent / "images"
    known = images.is_dir()
    if image_dir and not known:
        raise FileNotFoundError(f"image folder {image_dir} does not exist")
    content = CocoContent(str(path), str(images) if known else "")
    content.add_classes(_classes(root))
    errors: list[str] = []
    ids = content.class_ids()
    elements = root.findall("image")
    if not elements:
        raise DataError(f"{path} has no <image>: export it as 'CVAT for images 1.1'")
    if not known:
        content.notes[UNCHECKED] = len(elements)
    for element in elements:
        try:
            _add_image(content, element, images if known else None, ids)
        except (DataError, FileNotFoundError) as error:
            errors.append(str(error))
    raise_errors(errors, content.source)
    return content


def _classes(root: ET.Element) -> list[str]:
    """Labels of the task, job or project in their order, then others that shapes have, by name."""
    labels = [label for label in root.iterfind("meta//labels/label") if label.find("parent") is None]
    listed = list(dict.fromkeys((label.findtext("name") or "").strip() for label in labels if label.findtext("name")))
    found = {shape.get("label", "") for image in root.findall("image") for shape in image if shape.tag in SHAPES} - {""}
    return listed + sorted(found - set(listed))


def _add_image(content: CocoContent, element: ET.Element, images: Path | None, ids: dict[str, int]) -> None:
    name = element.get("name", "")
    where = f"image {name!r}"
    if not name:
        raise DataError("an <image> has no name")
    size = tuple(whole_number_of(element.get(side), f"{where}: {side}") for side in ("width", "height"))
    if images is not None:
        # CVAT puts images of a subset into a folder of that name.
        subset = images / element.get("subset", "") / name
        path = subset if subset.is_file() else images / name
        size, name = shown_size(path, (size[0], size[1]), content.source), path.relative_to(images).as_posix()
    image_id = content.add_image(name, (size[0], size[1]))
    for number, shape in enumerate(element, 1):
        corners_of = SHAPES.get(shape.tag)
        if corners_of is None:
            content.notes[f"<{shape.tag}> left out, which are no boxes"] += 1
            continue
        label = shape.get("label", "")
        if label not in ids:
            raise DataError(f"{where}: shape {number} has no label")
        corners = corners_of(shape, f"{where}: shape {number}")
        turned = shape.tag == "box" and number_of(shape.get("rotation", "0"), where) != 0
        if shape.tag != "box" or turned:
            kind = "rotated boxes" if turned else f"<{shape.tag}>"
            content.notes[f"{kind} made their enclosing boxes"] += 1
        extra = {"occluded": 1} if shape.get("occluded") == "1" else {}
        content.notes["shapes whose attributes are left out"] += shape.find("attribute") is not None
        content.notes = +content.notes
        content.add_box(image_id, ids[label], corners, **extra)


def _numbers(shape: ET.Element, names: str, where: str) -> list[float]:
    return [number_of(shape.get(name), f"{where}: {name}") for name in names.split()]


def _angle(shape: ET.Element, where: str) -> float:
    return math.radians(number_of(shape.get("rotation", "0"), f"{where}: rotation"))


def _box(shape: ET.Element, where: str) -> Corners:
    """A box, turned clockwise about its centre."""
    x1, y1, x2, y2 = _numbers(shape, "xtl ytl xbr ybr", where)
    if x2 < x1 or y2 < y1:
        raise DataError(f"{where} has corners {x1:g}, {y1:g}, {x2:g}, {y2:g}: expected xbr and ybr to be the larger")
    angle = _angle(shape, where)
    if angle == 0:
        return x1, y1, x2, y2
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    w, h = (x2 - x1) * cos + (y2 - y1) * sin, (x2 - x1) * sin + (y2 - y1) * cos
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _polygon(shape: ET.Element, where: str) -> Corners:
    points = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
    if any(len(pair) != 2 for pair in points):
        raise DataError(f"{where} has points {shape.get('points', '')[:60]!r}, expected x,y;x,y;...")
    xs, ys = ([number_of(pair[axis], f"{where}: points") for pair in points] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _ellipse(shape: ET.Element, where: str) -> Corners:
    x, y, rx, ry = _numbers(shape, "cx cy rx ry", where)
    angle = _angle(shape, where)
    w, h = (math.hypot(a * math.cos(angle), b * math.sin(angle)) for a, b in ((rx, ry), (ry, rx)))
    return x - w, y - h, x + w, y + h


def _mask(shape: ET.Element, where: str) -> Corners:
    x, y, w, h = _numbers(shape, "left top width height", where)
    return x, y, x + w, y + h


SHAPES: dict[str, Callable[[ET.Element, str], Corners]] = {
    "box": _box,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
}
