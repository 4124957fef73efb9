"""3D labels of dataset dicts, see `catalog.register_objects`: as tensors, and the mean size of each class."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog

from d2road.data.class_names import class_names_of_sets, renumbered
from d2road.data.transforms import mirror_rows
from d2road.structures.kitti_rows import row_of
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

_NO_BOX = [0.0, 0, 1, 1, 1, 1, 0]


def has_box3d(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation has a 3D box."""
    return bool(annotation.get("has_3d", "location" in annotation))


def boxes3d_of(annotations: Sequence[Mapping[str, Any]], mirrored: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (M, 7) float32 x, y, z, h, w, l, ry, and whether each object has a 3D box at all (M,).

    Args:
        mirrored: of the image flipped left to right.
    """
    known = [has_box3d(a) for a in annotations]
    rows = [row_of(a) if has else _NO_BOX for a, has in zip(annotations, known)]
    array = np.array(rows, dtype=np.float64).reshape(-1, 7)
    if mirrored:
        array = mirror_rows(array)
    return torch.as_tensor(array, dtype=torch.float32), torch.tensor(known, dtype=torch.bool)


def mean_dimensions(
    datasets: Sequence[str], key: str, class_names: Sequence[str] = ()
) -> tuple[tuple[float, float, float], ...]:
    """Mean h, w, l in m of each class over data sets with 3D boxes, crowds left out.

    A class without a 3D box takes the mean of all objects, with a warning that names it.

    Args:
        datasets: names.
        key: config key that the result is for, named in messages.
        class_names: of the model, in whose order the result is; those of the data if empty.
    Raises:
        DataError: no object has a 3D box, or a data set has a class that is not among the names.
    """
    names = list(class_names) or class_names_of_sets(datasets)
    sizes: list[list[Sequence[float]]] = [[] for _ in names]
    for dataset in datasets:
        for record in renumbered(dataset, DatasetCatalog.get(dataset), names):
            for a in record.get("annotations", ()):
                if not a.get("iscrowd", 0) and has_box3d(a):
                    sizes[a["category_id"]].append(a["dimensions_hwl"])
    every = [row for rows in sizes for row in rows]
    where, cure = ", ".join(datasets), f"set {key} (h, w, l in m for each of {', '.join(names)})"
    if not every:
        raise DataError(
            f"no object of {where} has a 3D box, so {key} cannot be found: {cure} or take data with 3D boxes"
        )
    empty = [name for name, rows in zip(names, sizes) if not rows]
    if empty:
        logger.warning(
            "no object of class %s in %s has a 3D box: its size is taken to be the mean of all; better %s",
            ", ".join(empty), where, cure,
        )  # fmt: skip
    means = [np.mean(rows or every, axis=0) for rows in sizes]
    return tuple((round(float(h), 4), round(float(w), 4), round(float(l), 4)) for h, w, l in means)  # noqa: E741
