"""Data sets by name below DETECTRON2_DATASETS (default "datasets"); see datasets/README.md for their trees."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2road.data.datasets import dair_files, rope3d
from d2road.data.datasets import lvis as _lvis  # noqa: F401  only registration
from d2road.data.datasets import omni3d as _omni3d  # noqa: F401  only registration
from d2road.data.datasets.coco import register_coco
from d2road.data.datasets.coco_ovd import register_coco_ovd
from d2road.data.datasets.dair import register_dair
from d2road.data.datasets.kitti import register_kitti
from d2road.data.datasets.rope3d import register_rope3d

TOY_HINT = "d2road make-data toy-roadside --output {root}/toy_roadside"
KITTI_HINT = "download the object data from cvlibs.net and arrange it as datasets/README.md shows"
DAIR_HINT = "request DAIR-V2X-I from its authors and arrange it as datasets/README.md shows"
ROPE3D_HINT = "request Rope3D from its authors and arrange it as datasets/README.md shows"


def datasets_root() -> Path:
    """The folder that holds the data sets."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def index_files(root: Path) -> dict[str, Path]:
    """Name -> the file that lists its images; where it is, the data set can be expected to be."""
    files = {}
    for split, folder in rope3d.FOLDERS.items():
        files[f"toy_roadside_{split}"] = root / "toy_roadside" / "annotations" / f"instances_{split}.json"
        files[f"toy_roadside3d_{split}"] = root / "toy_roadside" / folder / f"{split}.txt"
        files[f"kitti_object_{split}"] = root / "kitti_object" / "ImageSets" / f"{split}.txt"
        files[f"dair_v2x_i_{split}"] = root / "dair_v2x_i" / dair_files.SPLIT_FILES[0]
        files[f"rope3d_{split}"] = root / "rope3d" / folder / f"{split}.txt"
    return dict(sorted(files.items()))


def is_hardly_seen(row: Mapping[str, Any]) -> bool:
    """Whether the toy data's COCO files have this object as a crowd: below 0.15 visible or above 0.7 outside."""
    return row["occluded"] >= 3 or row["truncated"] > 0.7


def register_builtin(root: Path) -> None:
    """Register the data sets that this module lists below `root`, train and val of each. Idempotent; reads nothing."""
    toy, files = root / "toy_roadside", index_files(root)
    for split in rope3d.FOLDERS:
        register_coco(
            f"toy_roadside_{split}",
            str(files[f"toy_roadside_{split}"]),
            str(toy),
            TOY_HINT.format(root=root),
            thing_classes=list(rope3d.CLASSES),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(rope3d.CLASSES))},
        )
        register_rope3d(f"toy_roadside3d_{split}", str(toy), split, TOY_HINT.format(root=root), is_hardly_seen)
        name = f"kitti_object_{split}"
        register_kitti(name, str(root / "kitti_object"), str(files[name]), KITTI_HINT)
        register_dair(f"dair_v2x_i_{split}", str(root / "dair_v2x_i"), split, DAIR_HINT)
        register_rope3d(f"rope3d_{split}", str(root / "rope3d"), split, ROPE3D_HINT)
        coco = root / "coco"
        file = coco / "annotations" / f"instances_{split}2017.json"
        register_coco_ovd(f"coco_ovd_{split}", str(file), str(coco / f"{split}2017"), split)


register_builtin(datasets_root())
