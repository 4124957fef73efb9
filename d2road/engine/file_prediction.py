"""Prediction on files: images, videos, lists and archives become annotated copies and a table of all results.

In several processes each takes every n-th input; a journal in the output folder holds what is done, so that a stopped
prediction goes on, and the first process makes the table of it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from d2road.data.input_cameras import CameraFiles
from d2road.engine.annotators import AnnotatingPredictor, Annotator
from d2road.engine.distributed import by_first_process
from d2road.engine.input_predictor import InputPredictor, Job
from d2road.engine.job_progress import JobProgress
from d2road.engine.meta_arch import needs_camera
from d2road.engine.prediction_identity import identity_of
from d2road.engine.prediction_inputs import find_sources, output_paths, renamed_text
from d2road.engine.prediction_journal import Entry, Journal
from d2road.engine.prediction_tables import require_format, write_table
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import make_folder

logger = logging.getLogger(__name__)

INPUT_COLUMNS = {"file": "text", "images": "int", "rows": "int", "copy": "text", "error": "text"}


@dataclass(frozen=True)
class FileOptions:
    """How files are worked off; what is found does not depend on it.

    Args:
        batch_size: images that pass through the network together.
        resume: go on where an interrupted prediction in the output folder was.
        table: format of prediction_tables.FORMATS; "" for the annotator's own.
        draws: whether annotated copies are written.
    """

    batch_size: int = 1
    resume: bool = False
    table: str = ""
    draws: bool = True


def predict_files(
    cfg: CfgNode,
    inputs: Sequence[str],
    output: str | Path,
    confidence: float | None = None,
    cameras: CameraFiles | None = None,
    sentences: Sequence[str] = (),
    options: FileOptions | None = None,
    classes: Sequence[str] = (),
) -> int:
    """Predict on inputs and write annotated copies and what was found into a folder; in all processes of a job.

    Args:
        cfg: frozen config with MODEL.WEIGHTS.
        inputs: files, folders, patterns, lists and archives, see `find_sources`.
        output: the folder, made if it is missing.
        confidence: lowest score of what is drawn and written; None takes the default, or the model's own.
        cameras: give the camera of a file, for models that estimate 3D.
        sentences: for models of grounding.
        options: how to go about it.
        classes: words to find, for models whose classifier takes text.
    Returns:
        the number of inputs that failed, in all processes; each is logged.
    Raises:
        D2RoadError, FileNotFoundError: the model or its weights, a camera that it needs, an output folder that holds
            the inputs or another prediction, or an output that cannot be written.
    """
    require_camera(cfg, cameras is not None and bool(cameras.calib))
    options = options or FileOptions()
    require_format(options.table)
    cameras, folder = cameras or CameraFiles(), Path(output)
    sources, problems = by_first_process(lambda: find_sources(inputs))
    names = [source.name for source in sources]
    targets = output_paths(sources, folder)
    make_folder(folder)
    if options.draws and (renamed := renamed_text(names, targets)):
        logger.info(renamed)
    if not sources:
        return _report("nothing predicted", 0, folder, problems)
    identity = by_first_process(lambda: identity_of(cfg, confidence, cameras, sentences, classes))
    journal = Journal(folder)
    by_first_process(lambda: journal.check(identity, options.resume))
    annotate = AnnotatingPredictor(cfg, confidence, sentences, options.batch_size, options.draws, classes)
    journal.open(by_first_process(lambda: journal.begin(identity, options.resume)), comm.get_rank())
    jobs = [Job(source, target.name if options.draws else "") for source, target in zip(sources, targets)]
    open_jobs = [job for job in jobs if not journal.is_done(job.source, job.copy)]
    progress = JobProgress("files", len(jobs), len(jobs) - len(open_jobs))
    InputPredictor(annotate, cameras, journal, progress).work_off(open_jobs[comm.get_rank() :: comm.get_world_size()])
    progress.wait()
    return by_first_process(lambda: _finish(journal, jobs, annotate.annotator, options, problems))


def require_camera(cfg: CfgNode, has_camera: bool) -> None:
    """Raise ConfigError where a model cannot work without a camera and none is given."""
    if not has_camera and needs_camera(cfg):
        raise ConfigError(
            f"--calib is missing: {cfg.MODEL.META_ARCHITECTURE} as configured finds 3D boxes, which need the camera; "
            "give --calib FILE (a line 'P2: 12 numbers', or camera.yaml) for all inputs, or a folder with STEM.txt for "
            "each"
        )


class FoundRows:
    """The rows of all inputs in their order, with an `image_id` that counts through; gone through as often as needed.

    Args:
        journal: that has all of them.
    """

    def __init__(self, journal: Journal, jobs: Sequence[Job]):
        self.journal, self.jobs = journal, jobs

    def entries(self) -> Iterator[Entry]:
        """What was found in each input."""
        for job in self.jobs:
            entry = self.journal.entry(job.source)
            if entry is not None:
                yield entry

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        before = 0
        for entry in self.entries():
            for row in entry.rows:
                yield {**row, "image_id": row["image_id"] + before} if "image_id" in row else row
            before += entry.images


def _finish(
    journal: Journal, jobs: Sequence[Job], annotator: Annotator, options: FileOptions, problems: Sequence[str]
) -> int:
    """Write the tables, tell what was found, and return how many inputs failed; in the first process."""
    journal.open(0, 0)  # what all processes have written
    found, folder = FoundRows(journal, jobs), journal.output
    entries = [(e.file, e.images, len(e.rows), e.highest, e.error, e.copy) for e in found.entries()]
    highest = max((entry[3] for entry in entries if entry[3] is not None), default=None)
    problems = [*problems, *(f"{file}: {error}" for file, *_, error, _ in entries if error)]
    text = "nothing predicted"
    if any(images for _, images, *_ in entries):
        table = folder / annotator.table
        if options.table:
            table = table.with_suffix(f".{options.table}")
        write_table(table, found, annotator.columns)
        text = annotator.summary(found, table, highest)
    if options.table in ("jsonl", "parquet"):
        rows = [
            dict(zip(INPUT_COLUMNS, (file, images, count, copy if images and (folder / copy).is_file() else "", error)))
            for file, images, count, _, error, copy in entries
        ]
        write_table(folder / "inputs.csv", rows, INPUT_COLUMNS)
    journal.finish(len(problems))
    copies = sum(bool(copy) and not error for *_, error, copy in entries)
    return _report(text, copies, folder, problems)


def _report(found: str, copies: int, folder: Path, problems: Sequence[str]) -> int:
    logger.info("%s; %d annotated file%s in %s", found, copies, "s" * (copies != 1), folder)
    if problems:
        logger.error("%d of the inputs failed:\n  %s", len(problems), "\n  ".join(problems))
    return len(problems)
