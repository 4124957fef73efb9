"""Finished benchmark runs as small files, so that a table can grow and nothing runs twice."""

import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from d2road.utils.environment import processor
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_json

RESULTS = Path("benchmarks/results")
# Entries of records of version 0.1 -> what they are called now; the files keep their contents.
RENAMED = {f"{split}_pictures": f"{split}_images" for split in ("train", "validation", "test")}


def revision() -> str:
    """Short commit of this checkout, with a plus where files differ from it; "" outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")


# A run may outlive a commit: what it ran is the tree that it began with.
REVISION_AT_START = revision()


def machine() -> str:
    """Processor or GPU, number of threads, torch version."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor()}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


def record_path(bench: str, name: str) -> Path:
    """Where the record of a run is kept."""
    return RESULTS / bench / f"{name}.json"


def read_record(bench: str, name: str) -> dict[str, Any] | None:
    """The record of a finished run, or None.

    Raises:
        DataError: the file is no record.
    """
    path = record_path(bench, name)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not a record ({error}); delete it to repeat the run") from error
    if "metrics" not in record:
        raise DataError(f"{path} is not a record: it has no metrics; delete it to repeat the run")
    return {RENAMED.get(name, name): value for name, value in record.items()}


def read_metrics(bench: str, name: str) -> dict[str, Any]:
    """The metrics of a finished run.

    Raises:
        DataError: there is no such record.
    """
    record = read_record(bench, name)
    if record is None:
        raise DataError(f"there is no record {record_path(bench, name)}")
    return record["metrics"]


def write_record(
    bench: str, name: str, *, metrics: dict, command: str, config: dict | str, seed: int, seconds: float, **more: Any
) -> dict[str, Any]:
    """Keep a finished run: what came out, and all that is needed to repeat it.

    Args:
        metrics: numbers by name.
        command: as a user would type it.
        config: the config file and the keys that differ from it.
        seconds: wall time.
        more: further entries, such as `train_seconds`.
    """
    record = {
        "metrics": metrics,
        "command": command,
        "config": config,
        "seed": seed,
        "seconds": round(seconds, 1),
        "revision": REVISION_AT_START,
        "machine": machine(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        **more,
    }
    path = record_path(bench, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record
