"""COCO content on its way from one format to another, with counts of all that changes or has no place there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2road.data.datasets.coco import checked_categories, image_records, is_crowd, read_coco_json, structural_defect
from d2road.data.input_checks import box_defect
from d2road.utils.errors import DataError, raise_errors
from d2road.utils.image_io import image_size

# What the formats' own programs take as images, as far as it can be read here.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
CLIP_SLACK_PX = 1e-3  # what a box reaches beyond its image by rounding


@dataclass
class CocoContent:
    """Images, boxes and classes in COCO's terms.

    Args:
        source: where it was read, for messages.
        image_dir: folder that `file_name`s are relative to; "" where none is known.
        categories, images, annotations: COCO's lists.
        notes: what was changed, or left out -> how often.
    """

    source: str
    image_dir: str = ""
    categories: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def names_outside(self) -> list[str]:
        """What is wrong with images whose names lead out of the folder that they are relative to."""
        return [
            f"image {name} is not below {self.image_dir or 'its folder'}: name a folder above all images"
            for name in (str(image["file_name"]) for image in self.images)
            if Path(name).is_absolute() or ".." in Path(name).parts
        ]

    def add_classes(self, names: Iterable[str]) -> None:
        """Add classes, numbered from 1 as COCO does.

        Raises:
            DataError: a name comes twice, or is none.
        """
        known = self.class_ids()
        for name in names:
            if not name.strip() or name in known:
                raise DataError(f"{self.source}: class {name!r} {'comes twice' if name in known else 'has no name'}")
            known[name] = len(self.categories) + 1
            self.categories.append({"id": known[name], "name": name})

    def class_ids(self) -> dict[str, int]:
        """Name -> category id."""
        return {category["name"]: category["id"] for category in self.categories}

    def add_image(self, file_name: str, size: tuple[int, int]) -> int:
        """Add an image of (width, height) pixels as shown; returns its id."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": file_name, "width": size[0], "height": size[1]})
        return number

    def add_box(self, image_id: int, category_id: int, corners: Sequence[float], **extra: Any) -> None:
        """Add a box by its corners (x1, y1, x2, y2), pixels from the top left corner of the image."""
        x, y, right, bottom = (float(value) for value in corners)
        width, height = right - x, bottom - y
        entry: dict[str, Any] = {"id": len(self.annotations) + 1, "image_id": image_id, "category_id": category_id}
        entry |= {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
        self.annotations.append(entry | extra)

    def to_json(self) -> dict[str, Any]:
        """The content of a COCO JSON file."""
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}

    def summary(self) -> list[str]:
        """What it holds and what was changed, a line each."""
        labelled = {annotation["image_id"] for annotation in self.annotations}
        empty = sum(image["id"] not in labelled for image in self.images)
        counts = f"{len(self.images)} images ({empty} without boxes), {len(self.annotations)} boxes"
        return [
            f"{counts}, {len(self.categories)} classes",
            *(f"  {count} {text}" for text, count in sorted(self.notes.items())),
        ]

    def boxes_by_image(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Each image with its annotations, in the order of the lists."""
        found: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in self.images}
        for annotation in self.annotations:
            found[annotation["image_id"]].append(annotation)
        for image in self.images:
            yield image, found[image["id"]]

    def clipped_corners(self, annotation: dict[str, Any], image: dict[str, Any]) -> tuple[float, ...] | None:
        """Corners within the image, for formats that want them so; None, with a note, for a box of no use."""
        x, y, w, h = annotation["bbox"]
        width, height = image["width"], image["height"]
        corners = (x, y, x + w, y + h)
        defect = box_defect(corners, width, height)
        if defect:
            self.notes[f"boxes left out: {defect}"] += 1
            return None
        limits = (width, height, width, height)
        clipped = tuple(float(min(max(value, 0), limit)) for value, limit in zip(corners, limits))
        if any(abs(a - b) > CLIP_SLACK_PX for a, b in zip(corners, clipped)):
            self.notes["boxes that reached beyond their image, clipped to it"] += 1
        return clipped


def read_coco(json_file: str, image_dir: str) -> CocoContent:
    """COCO JSON with bounding boxes; annotation ids that are missing or come twice are numbered anew.

    Raises:
        FileNotFoundError, DataError: as `load_coco`, but for repeated ids of annotations.
    """
    data = read_coco_json(json_file)
    content = CocoContent(json_file, image_dir, checked_categories(data["categories"], json_file), data["images"])
    known = {category["id"]: number for number, category in enumerate(content.categories)}
    records = image_records(data["images"], image_dir, json_file)
    annotations = data.get("annotations", [])
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in annotations]
    if len(set(map(repr, ids))) < len(ids) or not all(type(one) in (int, str) for one in ids):
        annotations = [
            {**entry, "id": number} if isinstance(entry, dict) else entry for number, entry in enumerate(annotations, 1)
        ]
        content.notes["annotations numbered anew: their ids came twice or were none"] += len(ids)
    seen: set[int | str] = set()
    defects = (structural_defect(entry, number, records, known, seen) for number, entry in enumerate(annotations))
    raise_errors([defect for defect in defects if defect], json_file)
    content.annotations = annotations
    return content


def is_ignored(annotation: dict[str, Any]) -> bool:
    """Whether COCO's evaluation leaves an annotation out: crowds, and what is marked `ignore`."""
    return bool(is_crowd(annotation))


def shown_size(path: Path, given: tuple[int, int] | None, source: str) -> tuple[int, int]:
    """(width, height) of an image file as shown, after its EXIF orientation.

    Args:
        given: what the labels say; must be the same.
    Raises:
        FileNotFoundError, DataError: no such image, or of another size than its labels say.
    """
    size = image_size(path, source)
    if given is None or given == size:
        return size
    turned = "; as stored, before its EXIF orientation, it has that size: label it as shown" * (given == size[::-1])
    raise DataError(
        f"{source}: image {path} is {size[0]}x{size[1]}, its labels say {given[0]}x{given[1]} (width x height)"
        f"{turned or ': labels of another version?'}"
    )
