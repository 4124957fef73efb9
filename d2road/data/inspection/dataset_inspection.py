"""Inspection of a whole data set: all frames, what their loaders left out, and the report of it."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data.dataset_formats import register_by_name
from d2road.data.input_checks import collected_defects
from d2road.data.inspection.frame_inspection import InspectedFrame, duplicate_files, inspect_frame, join_columns
from d2road.data.inspection.inspection_report import find_problems, summarize
from d2road.utils.progress import track


class _Notes(logging.Handler):
    """Keeps the warnings of the loaders for the report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def inspect_dataset(
    name: str, *, decode: bool = True, workers: int = 1, tolerance: float = 0.01, log: Callable[[str], None] = print
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Inspect all frames of a data set.

    Args:
        name: registered, or "format:path".
        decode: open the images; otherwise only see whether the files are there.
        workers: threads.
        tolerance: share of objects that may be odd.
        log: takes lines of progress.
    Returns:
        the report, ready for JSON (see `inspection_report.summarize`), and the dataset dicts.
    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the data is not there.
    """
    records, defects, notes = load_dataset(name)
    metadata = MetadataCatalog.get(name)
    frames = inspect_frames(records, metadata.get("ry_frame", "camera"), decode, workers, log)
    defects += [line for frame in frames for line in frame.defects] + duplicate_files(frames)
    columns = join_columns(frames)
    report = summarize(frames, columns, list(metadata.get("thing_classes", [])))
    # Programs read this key.
    annotated = any("annotations" in record for record in records)
    report = {"name": name, "pictures_opened": decode, **report, "annotated": annotated, "notes": notes}
    report["image_labels"] = count_image_labels(records)
    report["defects"] = defects
    report["problems"] = find_problems(report, tolerance)
    return report, records


def count_image_labels(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """{label: {"images": N, "with_mask": N}} where images as a whole have a label ("defect"), "good" first; else {}."""
    counts: dict[str, dict[str, int]] = {}
    for record in sorted((r for r in records if "defect" in r), key=lambda r: (r["defect"] != "good", r["defect"])):
        entry = counts.setdefault(record["defect"], {"images": 0, "with_mask": 0})
        entry["images"] += 1
        entry["with_mask"] += bool(record.get("mask_files"))
    return counts


def load_dataset(name: str) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Dataset dicts, defects that kept frames or rows out of them, and warnings.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the data is not there.
    """
    register_by_name(name)
    notes, logger = _Notes(), logging.getLogger("d2road.data")
    logger.addHandler(notes)
    try:
        with collected_defects() as defects:
            try:
                records = DatasetCatalog.get(name)
            except ValueError as error:  # what a loader cannot leave out, such as a file that is not JSON
                records = []
                defects.append(str(error))
    finally:
        logger.removeHandler(notes)
    return records, defects, notes.lines


def inspect_frames(
    records: Sequence[dict[str, Any]], ry_frame: str, decode: bool, workers: int, log: Callable[[str], None]
) -> list[InspectedFrame]:
    """Check all frames; decoding releases Python's lock, so threads help."""
    task = partial(inspect_frame, ry_frame=ry_frame, decode=decode)
    with ThreadPoolExecutor(workers) as pool:
        return list(track(pool.map(task, records), total=len(records), label="frames", log=log))
