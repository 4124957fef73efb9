"""Detectron2's catalogs: registering twice is harmless, and class lists are known before the data is read."""

from collections.abc import Callable, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.dataset_formats import register_by_name
from d2road.utils.errors import DataError


def register_lazily(name: str, load: Callable[[], list[dict]], **metadata: Any) -> None:
    """Register a data set that is read when it is first asked for; a name that is there already is left alone."""
    if name in DatasetCatalog:
        return
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def register_objects(
    name: str,
    load: Callable[[], list[dict]],
    classes: Sequence[str],
    *,
    evaluator_type: str,
    ry_frame: str,
) -> None:
    """Register data with 3D boxes beside the 2D ones.

    Its dataset dicts name a camera (see `calibration.read_camera`). Its annotations have, beside Detectron2's keys,
    `dimensions_hwl` (m), `location` (centre of the bottom face, camera frame, m), `rotation_y` and `alpha` (rad, not
    wrapped), `truncated`, `occluded`, `type`, and `has_3d`: False where there is a 2D box only.

    Args:
        ry_frame: about what `rotation_y` turns: "camera" (its y axis) or "ground" (the normal of the ground plane, in
            the frame that `Camera.ground_rotation` gives).
    """
    register_lazily(name, load, thing_classes=list(classes), evaluator_type=evaluator_type, ry_frame=ry_frame)


def class_names_of(name: str) -> list[str]:
    """Class names of a data set, by contiguous class index; reads the data where the metadata lacks them.

    Raises:
        ValueError: unknown name, or a data set without class names.
        FileNotFoundError: the data is not there.
    """
    register_by_name(name)
    metadata = MetadataCatalog.get(name)
    if not metadata.get("thing_classes"):
        DatasetCatalog.get(name)
    if not metadata.get("thing_classes"):
        raise DataError(f"data set '{name}' has no thing_classes in its metadata; set them where it is registered")
    return list(metadata.thing_classes)
