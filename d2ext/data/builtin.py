"""Data sets by name below DETECTRON2_DATASETS (default "datasets"); see datasets/README.md for their trees."""

import os
from pathlib import Path

from d2ext.data import rope3d
from d2ext.data.coco import register_coco
from d2ext.data.kitti import register_kitti
from d2ext.data.rope3d import register_rope3d

TOY_HINT = "python datasets/make_toy_roadside.py --out {root}/toy_roadside"
KITTI_HINT = "download the object data from cvlibs.net and arrange it as datasets/README.md shows"
ROPE3D_HINT = "request Rope3D from its authors and arrange it as datasets/README.md shows"

NAMES = tuple(f"{data}_{split}" for data in ("toy_roadside", "kitti_object", "rope3d") for split in ("train", "val"))


def datasets_root() -> Path:
    """The folder that holds the data sets."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_builtin(root: Path) -> None:
    """Register toy_roadside_*, kitti_object_* and rope3d_* below `root`. Idempotent; reads nothing."""
    toy, kitti = root / "toy_roadside", root / "kitti_object"
    for split in ("train", "val"):
        register_coco(
            f"toy_roadside_{split}",
            str(toy / "annotations" / f"instances_{split}.json"),
            str(toy),
            TOY_HINT.format(root=root),
            thing_classes=list(rope3d.CLASSES),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(rope3d.CLASSES))},
        )
        register_kitti(f"kitti_object_{split}", str(kitti), str(kitti / "ImageSets" / f"{split}.txt"), KITTI_HINT)
        register_rope3d(f"rope3d_{split}", str(root / "rope3d"), split, ROPE3D_HINT)


register_builtin(datasets_root())
