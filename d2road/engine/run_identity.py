"""Identity of a training run: which run a folder and its checkpoints belong to, with what settings and on what data.

A run gets its id before its first step. OUTPUT_DIR/run.json and every checkpoint carry it, so that resuming never takes
another run's checkpoint for this one's, whatever lies in the folder.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from d2road.engine.distributed import by_first_process
from d2road.engine.hooks import trim_metrics
from d2road.engine.resume_check import SavedRun
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import atomic_write, make_folder, write_json

logger = logging.getLogger(__name__)

RECORD = "run.json"
EARLIER = "earlier_runs"
# What a training leaves in its folder, apart from log.txt, which goes on.
OUTPUTS = (
    "model_*.pth", "nan_*.pth", "last_checkpoint", "results.json", "metrics.json", "config.yaml",
    "events.out.tfevents.*", "inference", "plots",
)  # fmt: skip


class RunIdentity:
    """Id, start, settings and data of a run; a part of its checkpoints.

    Attributes:
        id: "" until the run begins.
        started: time, ISO 8601.
        config: the settings in effect, as the text of config.yaml.
        data: fingerprint of the training data, see `data_fingerprint`; None until it is known.
    """

    def __init__(self) -> None:
        self.id = self.started = self.config = ""
        self.data: dict[str, Any] | None = None

    def begin(self) -> None:
        """Make it a new run, the same in all processes."""
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        self.id, self.started = comm.all_gather((uuid.uuid4().hex, started))[0]

    def state_dict(self) -> dict[str, Any]:
        """Empty before the run has begun."""
        if not self.id:
            return {}
        return {"id": self.id, "started": self.started, "config": self.config, "data": self.data}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be the run of a checkpoint."""
        if not state:
            return
        self.id, self.started, self.config = state["id"], state["started"], state["config"]
        self.data = state["data"]


class RunFolder:
    """The folder of a run: its record, its config.yaml, and what an earlier run left there.

    Args:
        path: OUTPUT_DIR.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def record(self) -> dict[str, Any]:
        """Of the newest run in the folder; empty if there is none, or none of a version that wrote one.

        Raises:
            DataError: the record is damaged.
        """
        path = self.path / RECORD
        if not path.is_file():
            return {}
        cure = "Remove it: --resume then goes by the newest checkpoint"
        record = read_json(path, "record of the run", cure)
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise DataError(f"{path} is no record of a run, expected an object with an id. {cure}")
        return record

    def admits(self, checkpoint: Mapping[str, Any]) -> str | None:
        """Why a checkpoint is not one of the newest run of this folder, or None if it is.

        A checkpoint without identity is of version 0.2 or older: it is of this run if the run has no record, or is
        recorded to continue one of these.
        """
        record, run = self.record(), checkpoint.get("run")
        if not record:
            return None
        if not run:
            return None if record.get("continues_unidentified") else "it carries no run's id"
        return None if run["id"] == record["id"] else f"it is of the run that started {run['started']}"

    def begin(self, run: RunIdentity, cfg: CfgNode, saved: SavedRun | None) -> None:
        """Make `run` the newest of this folder: give it an id if it has none, write its record and config.yaml.

        Call it in every process.

        Args:
            saved: the checkpoint that it goes on from; without one, what an earlier run left is set aside.
        Raises:
            OutputError: the folder cannot be written to.
        """
        resumed, weights = saved is not None, saved.config.get("MODEL.WEIGHTS") if saved else None
        unidentified = resumed and not run.id  # of version 0.2 or older
        if unidentified or not resumed:
            run.begin()
        run.config = effective_config(cfg, weights)
        if not cfg.OUTPUT_DIR:
            return

        def write() -> None:
            make_folder(self.path)
            found = [] if resumed else self._earlier_files(keep=cfg.MODEL.WEIGHTS)
            aside = self._copy_earlier_record(found) if found else None
            before = self._record_or_nothing()
            kept = before.get("id") == run.id and before.get("continues_unidentified", False)
            record = {"id": run.id, "started": run.started, "data": run.data}
            write_json(self.path / RECORD, {**record, "continues_unidentified": unidentified or kept})
            # From here on the files of an earlier run are another's, also if this process is killed among them.
            if aside is not None:
                self._move_earlier_files(found, aside)
            if not resumed:
                trim_metrics(self.path / "metrics.json", 0)
            with atomic_write(self.path / "config.yaml", "w") as file:
                file.write(run.config)

        by_first_process(write)

    def _earlier_files(self, keep: str | os.PathLike) -> list[Path]:
        """What an earlier run left, apart from its record; nothing where it has no checkpoint.

        Args:
            keep: weights that the new run starts from, which stay where its config says.
        """
        found = [path for pattern in OUTPUTS for path in sorted(self.path.glob(pattern))]
        found = [path for path in found if not _same_file(path, keep)]
        return found if any(path.suffix == ".pth" for path in found) else []

    def _copy_earlier_record(self, found: list[Path]) -> Path:
        """Make the folder in `earlier_runs/` that the outputs of an earlier run go to, with its record."""
        record = self._record_or_nothing()
        newest = max(path.stat().st_mtime for path in found if path.suffix == ".pth")
        when = record.get("started", "")[:19] or datetime.fromtimestamp(newest).isoformat(timespec="seconds")
        name = "".join(c for c in when if c.isalnum()) + (f"-{record['id'][:8]}" if record else "")
        target, number = self.path / EARLIER / name, 1
        while target.exists():
            number += 1
            target = self.path / EARLIER / f"{name}_{number}"
        make_folder(target)
        if record:
            write_json(target / RECORD, record)
        return target

    def _move_earlier_files(self, moved: list[Path], target: Path) -> None:
        """Move the outputs of an earlier run, so that nothing of it is taken for the new run's, and nothing is lost."""
        for path in moved:
            shutil.move(path, target / path.name)
        logger.warning(
            "%s held an earlier run, whose %d files are now in %s. It can go on from there: --resume with OUTPUT_DIR "
            "%s; if it is not needed, delete it", self.path, len(moved), target, target,
        )  # fmt: skip

    def _record_or_nothing(self) -> dict[str, Any]:
        try:
            return self.record()
        except (DataError, json.JSONDecodeError, UnicodeDecodeError):
            return {}


def effective_config(cfg: CfgNode, weights: str | None) -> str:
    """The text of config.yaml: the settings that are in effect.

    Args:
        weights: that the run began with, if it is resumed: MODEL.WEIGHTS is then not read.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights
    return cfg.dump()


def _same_file(one: Path, other: str | os.PathLike) -> bool:
    return bool(other) and os.path.exists(other) and os.path.samefile(one, other)
