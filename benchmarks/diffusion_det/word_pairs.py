"""Compositional toy data: vehicles of the toy roadside by colour and type, with pairs that a training does not see.

A class is a pair such as "red truck". In fold f of FOLDS the pairs with (colour + type) mod FOLDS = f are unseen; their
colours and types are seen in other pairs. Objects of unseen pairs are crowd regions in the training: neither examples
nor background (MODEL.DiffusionDet.IGNORE_CROWDS). The last views of the training split are kept for validation.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.synthetic.roadside.road_users import COLORS
from d2road.synthetic.roadside.roadside_labels import IGNORE_TRUNCATED_ABOVE, IGNORE_VISIBLE_BELOW
from d2road.synthetic.roadside.views import HEIGHT, WIDTH
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_json

TYPES = ("car", "van", "truck", "bus")
FOLDS = 3
DATA = Path("datasets/toy_roadside")
FEWEST = 40  # training objects of a pair that is a class
MIN_HEIGHT_PX = 12  # of the rendered image; lower objects are ignored
VALIDATION_VIEWS = 150
NEVER_UNSEEN = ("black", "brown")  # colours of cars alone: without these nothing would tell what they are

Record = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Colour and type of a vehicle."""

    colour: str
    kind: str

    @property
    def name(self) -> str:
        """The class name, as one says it."""
        return f"{self.colour} {self.kind}"

    @property
    def fold(self) -> int:
        """The fold that does not see it, from 1 on; 0 for none."""
        if self.colour in NEVER_UNSEEN:
            return 0
        return 1 + (list(COLORS).index(self.colour) + TYPES.index(self.kind)) % FOLDS


def read_views(folder: Path, split: str) -> list[Record]:
    """The attributes of all views of a split, with their objects.

    Raises:
        DataError: the data set is not there.
    """
    path = folder / f"attributes_{split}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} does not exist: make the data with `d2road make-data toy-roadside --output {folder}`")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_ignored(entry: Record) -> bool:
    """Whether an object is too small, covered or cut off to be judged."""
    height = entry["box_xyxy"][3] - entry["box_xyxy"][1]
    hidden = entry["visible"] < IGNORE_VISIBLE_BELOW or entry["truncated"] > IGNORE_TRUNCATED_ABOVE
    return hidden or height <= MIN_HEIGHT_PX


def frequent_pairs(views: Sequence[Record]) -> list[Pair]:
    """Pairs with at least FEWEST objects, by type and colour."""
    counts = Counter(
        Pair(entry["color"], entry["type"])
        for view in views
        for entry in view["objects"]
        if entry["type"] in TYPES and not is_ignored(entry)
    )
    every = [Pair(colour, kind) for kind in TYPES for colour in COLORS]
    return [pair for pair in every if counts[pair] >= FEWEST]


def write_coco(
    path: Path, views: Sequence[Record], names: Sequence[str], name_of: Callable[[Pair], str], unnamed: str = ""
) -> Path:
    """Write vehicles as COCO JSON, ignored ones as crowd regions.

    Args:
        names: of the classes. name_of: the class of a pair; those of others are left out.
        unnamed: the class as whose crowd regions these are written instead.
    """
    annotations: list[Record] = []
    for view in views:
        for entry in view["objects"]:
            if entry["type"] not in TYPES:
                continue
            name = name_of(Pair(entry["color"], entry["type"]))
            is_named = name in names
            if not is_named and not unnamed:
                continue
            x1, y1, x2, y2 = entry["box_xyxy"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": view["image_id"],
                    "category_id": names.index(name if is_named else unnamed) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(not is_named or is_ignored(entry)),
                }
            )
    images = [{"id": v["image_id"], "file_name": v["file_name"], "width": WIDTH, "height": HEIGHT} for v in views]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"images": images, "annotations": annotations, "categories": categories}, indent=None)
    return path
