"""The data set on disk: frames rendered by a pool of processes, resumable, the same whatever the number of workers.

Frame i of a split depends on (seed, split, i) alone. Each finished frame leaves a record under OUT/.frames, written
last and atomically; a later run with the same parameters renders only what has no record. The JSON files come last.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from d2road.synthetic.roadside.compose import render_frame
from d2road.synthetic.roadside.roadside_labels import (
    CATEGORIES,
    calibration_files,
    coco_annotation,
    frame_record,
    label_row,
)
from d2road.synthetic.roadside.views import HEIGHT, WIDTH
from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import output_dir
from d2road.utils.output_files import atomic_write, write_json, write_small
from d2road.utils.parallel import run_recorded

SPLITS = {"train": "training", "val": "validation"}
FOLDERS = ("image_2", "label_2", "calib", "denorm", "extrinsics")
META, RECORDS = "toy_roadside.json", ".frames"
# Raised whenever the same seed would give other images, so that an old folder is not continued.
VERSION = 1
JPEG_QUALITY = 92


@dataclass(frozen=True)
class FrameJob:
    """Frame `index` of a split to render into the data set `out`."""

    out: str
    split: str
    index: int
    seed: int

    @property
    def record(self) -> Path:
        """The file that says that the frame is complete."""
        return Path(self.out) / RECORDS / SPLITS[self.split] / f"{self.index:06d}.json"


def make_toy_roadside(
    out: str | Path, seed: int = 0, train: int = 1000, val: int = 500, workers: int = 2, overwrite: bool = False
) -> dict[str, Any]:
    """Render the data set, or finish one that an earlier run began.

    Args:
        out: folder to make.
        seed: >= 0; decides everything.
        train, val: number of views of each split.
        workers: processes that render; 0 or 1 renders in this one.
        overwrite: replace a data set of other parameters that is there.
    Returns:
        {"rendered": frames drawn by this run, "seconds": ..., "summary": text with the histograms}.
    Raises:
        ValueError: negative counts, no views at all, or `out` holds other parameters or something else.
        PermissionError: `out` cannot be written.
    """
    for name, value in (("seed", seed), ("train", train), ("val", val), ("workers", workers)):
        if value < 0:
            raise ConfigError(f"--{name} is {value}, expected 0 or more")
    if train + val == 0:
        raise ConfigError("--train 0 --val 0: no views to render; ask for at least one")
    out = Path(out)
    meta = {"version": VERSION, "seed": seed, "train": train, "val": val, "width": WIDTH, "height": HEIGHT}
    folders = [f"{split}/{name}" for split in SPLITS.values() for name in FOLDERS]
    folders += [f"{RECORDS}/{split}" for split in SPLITS.values()]
    with output_dir(out, META, meta, [*folders, "annotations"], [*SPLITS.values(), RECORDS, "annotations"], overwrite):
        jobs = [FrameJob(str(out), split, i, seed) for split, n in (("train", train), ("val", val)) for i in range(n)]
        start = time.monotonic()
        todo, records = run_recorded(render_job, jobs, workers, "render")
        seconds = time.monotonic() - start
        of_split = {"train": records[:train], "val": records[train:]}
        for split, frames in of_split.items():
            _write_split(out, split, frames)
        return {"rendered": len(todo), "seconds": seconds, "summary": summarize(of_split)}


def frame_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one frame; splits never share one."""
    return np.random.default_rng(np.random.SeedSequence([seed, list(SPLITS).index(split), index]))


def render_job(job: FrameJob) -> None:
    """Render and write one frame."""
    out, folder, stem = Path(job.out), SPLITS[job.split], f"{job.index:06d}"
    frame = render_frame(frame_rng(job.seed, job.split, job.index))
    record = frame_record(frame, f"{folder}/image_2/{stem}.jpg")
    ok, encoded = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert ok, "an 8-bit colour image can always be encoded"
    write_small(out / folder / "image_2" / f"{stem}.jpg", encoded.tobytes())
    rows = "".join(label_row(entry) + "\n" for entry in record["objects"])
    write_small(out / folder / "label_2" / f"{stem}.txt", rows)
    for name, text in calibration_files(frame.view).items():
        write_small(out / folder / name / f"{stem}.{'yaml' if name == 'extrinsics' else 'txt'}", text)
    # Last, and by renaming: a record says that everything before it is complete.
    write_small(job.record, json.dumps(record))


def _write_split(out: Path, split: str, records: list[dict[str, Any]]) -> None:
    """Split list, COCO JSON and attributes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, record in enumerate(records):
        images.append({"id": image_id, "file_name": record["file_name"], "width": WIDTH, "height": HEIGHT})
        for entry in record["objects"]:
            annotations.append(coco_annotation(entry, len(annotations) + 1, image_id))
    coco = {
        "info": {"description": f"toy_roadside {split}: rendered roadside views", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)],
    }
    with atomic_write(out / SPLITS[split] / f"{split}.txt", "w") as file:
        file.writelines(f"{i:06d}\n" for i in range(len(records)))
    with atomic_write(out / f"attributes_{split}.jsonl", "w") as file:
        file.writelines(json.dumps({"image_id": i, **record}) + "\n" for i, record in enumerate(records))
    write_json(out / "annotations" / f"instances_{split}.json", coco, indent=None)


def summarize(records: dict[str, list[dict[str, Any]]]) -> str:
    """Tables of the objects by class, range, height in the image and visibility."""
    lines = []
    for split, frames in records.items():
        objects = [entry for frame in frames for entry in frame["objects"]]
        per_view = [len(frame["objects"]) for frame in frames] or [0]
        lines.append(
            f"{split}: {len(frames)} views, {len(objects)} objects, {np.mean(per_view):.1f} a view "
            f"({min(per_view)} to {max(per_view)}, {sum(not frame['objects'] for frame in frames)} views without)"
        )
        if not objects:
            continue
        types = [entry["type"] for entry in objects]
        lines.append(
            "  class   " + "  ".join(f"{t} {types.count(t)} ({_percent(types, t)})" for t in sorted(set(types)))
        )
        ranges = np.array([entry["range_m"] for entry in objects])
        heights = np.array([entry["box_xyxy"][3] - entry["box_xyxy"][1] for entry in objects])
        lines.append("  range m " + _histogram(ranges, [10, 20, 30, 40, 50, 60, 70, 80.5]))
        lines.append("  height px " + _histogram(heights, [0, 12, 25, 40, 80, 160, 541]))
        occluded = [str(entry["occluded"]) for entry in objects]
        lines.append("  occluded " + "  ".join(f"{o}: {_percent(occluded, o)}" for o in "0123"))
    return "\n".join(lines)


def _percent(values: list[str], value: str) -> str:
    return f"{100 * values.count(value) / len(values):.1f} %"


def _histogram(values: np.ndarray, edges: list[float]) -> str:
    counts, _ = np.histogram(values, edges)
    bins = zip(edges[:-1], edges[1:], counts)
    return "  ".join(f"{int(a)}-{int(b)}: {n} ({100 * n / max(len(values), 1):.1f} %)" for a, b, n in bins)
