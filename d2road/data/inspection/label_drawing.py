"""Drawings of the labels of a data set, alone or with predictions, and contact sheets of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.dataset_formats import register_by_name
from d2road.data.scene_objects import Find, camera_of, labelled_objects, read_predictions
from d2road.utils.errors import DataError
from d2road.utils.image_io import read_image, write_image
from d2road.utils.output_files import make_folder
from d2road.utils.progress import track
from d2road.visualization import contact_sheet, draw_mask_outline, draw_scene
from d2road.visualization.heatmap_figure import enlarged, with_title

SHEET = 12
UNMASKED = ("good", "unlabelled")  # labels of images that have no mask


def draw_dataset(
    name: str,
    folder: Path,
    *,
    count: int = 12,
    seed: int | None = None,
    predictions: str = "",
    min_score: float = 0.3,
    all_boxes2d: bool = False,
    bev: bool = True,
) -> list[Path]:
    """Draw frames of a data set into a folder.

    Args:
        name: registered, or "format:path".
        folder: made if it is missing.
        count: of frames, see `choose`.
        seed: see `choose`.
        predictions: COCO results, or a folder of KITTI text files; "" draws labels alone.
        min_score: predictions below are left out.
        all_boxes2d: draw 2D boxes of objects in 3D too.
        bev: add the view from above where there is 3D.
    Returns:
        paths of the drawings, the sheet of the first ones last.
    Raises:
        FileNotFoundError, ValueError: data or predictions that cannot be read, or no frames.
    """
    register_by_name(name)
    records = DatasetCatalog.get(name)
    if not records:
        raise DataError(f"{name} has no frames")
    metadata = MetadataCatalog.get(name)
    find = None
    if predictions:
        ids = metadata.get("thing_dataset_id_to_contiguous_id") or {}
        classes = metadata.get("thing_classes", [])
        image_ids = [record["image_id"] for record in records]
        find = read_predictions(predictions, classes, ids, metadata.get("ry_frame", "camera"), image_ids)
    make_folder(folder)
    chosen = [records[i] for i in choose(len(records), count, seed)]
    paths: list[Path] = []
    sheet: list[np.ndarray] = []
    for record, file in track(list(zip(chosen, drawing_names(chosen))), label="drawings"):
        drawn = draw_record(record, name, find, min_score, all_boxes2d, bev)
        paths.append(folder / file)
        write_image(paths[-1], drawn)
        if len(sheet) < SHEET:
            sheet.append(drawn)
    paths.append(folder / "sheet.jpg")
    write_image(paths[-1], contact_sheet(sheet, columns=2, cell_width=960))
    return paths


def choose(total: int, count: int, seed: int | None = None) -> list[int]:
    """Rising numbers of frames: `count` taken evenly, or by chance with a seed; all for 0 or more than there are."""
    if count <= 0 or count >= total:
        return list(range(total))
    if seed is None:
        return np.linspace(0, total - 1, count).astype(int).tolist()
    return np.sort(np.random.default_rng(seed).choice(total, count, replace=False)).tolist()


def draw_record(
    record: dict[str, Any],
    name: str,
    find: Find | None = None,
    min_score: float = 0.0,
    all_boxes2d: bool = False,
    bev: bool = True,
) -> np.ndarray:
    """The image of a dataset dict with its labels.

    Args:
        record: of the registered data set `name`. With the key "defect", the label of the image as a whole, "good" or
            the kind of its anomaly, that is written over it, and the outline of its "mask_files" drawn.
        find: gives the predictions of a record (see `scene_objects.read_predictions`), drawn instead of the labels,
            which are then dashed; None for labels alone.
        min_score: predictions below are left out.
        all_boxes2d: draw 2D boxes of objects in 3D too.
        bev: add the view from above where there is 3D.
    Raises:
        FileNotFoundError, ValueError: an image or calibration that cannot be read.
    """
    if "defect" in record:
        return draw_image_label(record)
    metadata = MetadataCatalog.get(name)
    camera = camera_of(record)
    truth = labelled_objects(record, camera, metadata.get("ry_frame", "camera"))
    objects = truth
    if find is not None:
        objects = find(record, camera)
        objects = objects if objects.scores is None else objects[objects.scores >= min_score]
    return draw_scene(
        read_image(record["file_name"]),
        objects,
        metadata.get("thing_classes", []),
        truth if find is not None else None,
        camera,
        all_boxes2d,
        bev,
    )


def draw_image_label(record: dict[str, Any]) -> np.ndarray:
    """The image of a dataset dict whose label is one of the whole image, with the label over it and its masks.

    Args:
        record: file_name, defect ("good", the kind of anomaly or "unlabelled"), split and mask_files, images that are
            not 0 inside.
    Raises:
        FileNotFoundError, ValueError: an image or mask that cannot be read, or a mask of another size.
    """
    image = read_image(record["file_name"])
    masks = [read_image(path).max(axis=2) > 0 for path in record.get("mask_files", ())]
    kind, path = record["defect"], Path(record["file_name"])
    words = f"{kind}, {record['split']}" if record.get("split") else kind
    words += f": {path.parent.name}/{path.name}" + ("" if masks or kind in UNMASKED else " (no mask)")
    image, masks = enlarged(image, *masks)
    for mask in masks:
        draw_mask_outline(image, mask)
    return with_title(image, words, None if kind == UNMASKED[1] else kind != UNMASKED[0])


def drawing_names(records: Sequence[dict[str, Any]]) -> list[str]:
    """A file name for each frame: its image's stem, numbered where several have it."""
    taken: set[str] = set()
    names = []
    for record in records:
        stem = name = Path(record["file_name"]).stem
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(f"{name}.jpg")
    return names


def write_label_sheet(
    path: Path,
    records: Sequence[dict[str, Any]],
    name: str,
    worst: Iterable[int],
    count: int,
    log: Callable[[str], None] = print,
) -> None:
    """Write a sheet of frames with their labels: those with the worst 3D boxes first, then some taken evenly."""
    chosen = list(dict.fromkeys([*worst, *choose(len(records), count)]))[:count]
    drawn = []
    for index in track(chosen, label="sheet", log=log):
        try:
            drawn.append(draw_record(records[index], name, bev=False))
        except (FileNotFoundError, ValueError):  # reported already
            continue
    if drawn:
        make_folder(path.parent)
        write_image(path, contact_sheet(drawn, columns=3, cell_width=640))
