"""The data set on disk: drawn by several processes, resumable, the same whatever their number.

Image i of a group depends on (seed, group, i) alone. Each finished image leaves a record under OUT/.images,
written last and atomically; a later run with the same parameters draws only what has no record.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from d2road.synthetic.fastener_kit.kit_image import (
    KitImage,
    defect_types,
    good_image,
    logical_image,
    structural_image,
)
from d2road.synthetic.fastener_kit.kit_render import SIZE
from d2road.synthetic.fastener_kit.logical_anomalies import LOGICAL
from d2road.synthetic.fastener_kit.structural_anomalies import STRUCTURAL
from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import output_dir
from d2road.utils.output_files import atomic_write, make_folder, write_json, write_small
from d2road.utils.parallel import run_recorded

CATEGORY = "fastener_kit"
# Folder of each group of images; their order is part of the seed.
GROUPS = {
    "train": "train/good",
    "validation": "validation/good",
    "good": "test/good",
    "logical": "test/logical_anomalies",
    "structural": "test/structural_anomalies",
}
META, RECORDS = "toy_loco.json", ".images"
# Raised whenever the same seed would give other images, so that an old folder is not continued.
VERSION = 1


@dataclass(frozen=True)
class KitJob:
    """Image `index` of a group to draw into the data set `out`."""

    out: str
    group: str
    index: int
    seed: int

    @property
    def record(self) -> Path:
        """The file that says that the image is complete."""
        return Path(self.out) / RECORDS / self.group / f"{self.index:03d}.json"


def make_toy_loco(
    out: str | Path,
    seed: int = 0,
    train: int = 240,
    validation: int = 40,
    good: int = 60,
    logical: int = 90,
    structural: int = 60,
    workers: int = 2,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw the data set, or finish one that an earlier run began.

    Args:
        out: folder to make; the category becomes a folder in it.
        seed: >= 0; decides everything.
        train, validation, good, logical, structural: number of images of each group; the last three are the test.
        workers: processes that draw; 0 or 1 draws in this one.
        overwrite: replace a data set of other parameters that is there.
    Returns:
        {"drawn": images of this run, "seconds": ..., "summary": text with the counts}.
    Raises:
        ValueError: negative counts, fewer than two training images, or `out` holds other parameters or files.
        PermissionError: `out` cannot be written.
    """
    counts = {"train": train, "validation": validation, "good": good, "logical": logical, "structural": structural}
    for name, value in {"seed": seed, "workers": workers, **counts}.items():
        if value < 0:
            raise ConfigError(f"--{name} is {value}, expected 0 or more")
    if train < 2:
        raise ConfigError(f"--train is {train}: at least 2 images are needed to train on")
    out = Path(out)
    # A data set without validation images has no empty folder for them.
    folders = [f"{CATEGORY}/{folder}" for group, folder in GROUPS.items() if counts[group]]
    folders += [f"{RECORDS}/{group}" for group in GROUPS]
    meta = {"version": VERSION, "seed": seed, **counts, "size": SIZE}
    with output_dir(out, META, meta, folders, (RECORDS, CATEGORY), overwrite):
        jobs = [KitJob(str(out), group, i, seed) for group, count in counts.items() for i in range(count)]
        start = time.monotonic()
        todo, records = run_recorded(render_job, jobs, workers, "draw")
        seconds = time.monotonic() - start
        with atomic_write(out / CATEGORY / "images.jsonl", "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        # Last, for it says that the category is complete.
        write_json(out / CATEGORY / "defects_config.json", defect_types())
        return {"drawn": len(todo), "seconds": seconds, "summary": summarize(records)}


def image_rng(seed: int, group: str, index: int) -> np.random.Generator:
    """The random stream of one image; groups never share one."""
    return np.random.default_rng(np.random.SeedSequence([seed, list(GROUPS).index(group), index]))


def render_kit_image(seed: int, group: str, index: int) -> KitImage:
    """One image of a group; kinds of anomalies take turns."""
    rng = image_rng(seed, group, index)
    if group == "logical":
        return logical_image(rng, list(LOGICAL)[index % len(LOGICAL)])
    if group == "structural":
        return structural_image(rng, list(STRUCTURAL)[index % len(STRUCTURAL)])
    return good_image(rng)


def render_job(job: KitJob) -> None:
    """Draw and write one image."""
    image, folder = render_kit_image(job.seed, job.group, job.index), Path(job.out) / CATEGORY
    file = f"{GROUPS[job.group]}/{job.index:03d}.png"
    _write_png(folder / file, image.image[:, :, ::-1])
    values = {entry["defect_name"]: entry["pixel_value"] for entry in defect_types()}
    masks = folder / "ground_truth" / Path(file).parent.name / f"{job.index:03d}"
    for number, (defect, mask) in enumerate(image.defects):
        make_folder(masks)
        _write_png(masks / f"{number:03d}.png", mask.astype(np.uint8) * np.uint8(values[defect]))
    record = {"file": file, "anomaly": image.anomaly, "defects": [defect for defect, _ in image.defects]}
    # Last: a record says that everything before it is complete.
    write_json(job.record, record, indent=None)


def _write_png(path: Path, image: np.ndarray) -> None:
    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(image))
    assert ok, "an 8-bit image can always be encoded"
    write_small(path, encoded.tobytes())


def summarize(records: list[dict[str, Any]]) -> str:
    """Images by folder and anomaly, and defects by type."""
    lines = []
    for folder in GROUPS.values():
        inside = [r for r in records if Path(r["file"]).parent.as_posix() == folder]
        kinds = Counter(r["anomaly"] for r in inside)
        listed = "" if set(kinds) <= {"good"} else ": " + ", ".join(f"{k} {n}" for k, n in kinds.items())
        lines.append(f"{folder}: {len(inside)} images{listed}")
    defects = Counter(defect for r in records for defect in r["defects"])
    lines.append("defects: " + (", ".join(f"{name} {n}" for name, n in sorted(defects.items())) or "none"))
    return "\n".join(lines)
