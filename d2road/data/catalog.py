"""Detectron2's catalogs: registering twice is harmless, and class lists are known before the data is read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.dataset_formats import register_by_name
from d2road.utils.errors import ConfigError, DataError


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


def num_classes_of(names: str | Sequence[str]) -> int:
    """Number of classes of data sets that are used together.

    Raises:
        ValueError: no name; unknown name; class lists differ.
        FileNotFoundError: the data is not there.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ConfigError("the number of classes shall come from the data, but DATASETS names none")
    first, *others = [class_names_of(name) for name in names]
    for name, classes in zip(names[1:], others):
        if classes != first:
            raise DataError(
                f"data sets that are used together need the same classes in the same order: '{names[0]}' has "
                f"{first}, '{name}' has {classes}"
            )
    return len(first)


def class_count_problems(key: str, num_classes: int, names: Sequence[str]) -> list[str]:
    """Whether a configured class count is that of the data sets.

    A data set whose classes only its files tell, and whose files are not on this machine, is not judged: a trained
    model can be used without its data.

    Args:
        key: config key of the count, for the message.
        names: registered data sets; others are left to the check of names.
    """
    problems = []
    for name in dict.fromkeys(names):
        if name not in DatasetCatalog:
            continue
        metadata = MetadataCatalog.get(name)
        if not metadata.get("thing_classes") and not Path(metadata.get("json_file", "")).is_file():
            continue
        try:
            count = len(class_names_of(name))
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        if count != num_classes:
            problems.append(f"{key} is {num_classes}, but data set '{name}' has {count} classes; set it to {count}")
    return problems
