"""Checkpoints that survive a kill at any moment, and reading them back.

A file gets its name only once it is complete, `last_checkpoint` names it after that, and only then old ones go. On
resuming, a file that is damaged all the same (a full disk, a copy cut short) is found out by its checksums, and the
one before it is taken, of the same run always.
"""

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm

from d2road.checkpoint import fit, stored_classes
from d2road.checkpoint.config_hint import config_hint
from d2road.checkpoint.model_state import take_sizes
from d2road.checkpoint.recovery import Admit, newest_intact
from d2road.checkpoint.resnet_origin import warn_of_other_kind
from d2road.checkpoint.weights import RANDOM, load_weights_file, weights_of
from d2road.utils.aliases import present_state_dict
from d2road.utils.errors import CheckpointError, D2RoadError
from d2road.utils.output_files import atomic_write, make_folder

logger = logging.getLogger(__name__)

PERIODIC = re.compile(r"model_\d{7}\.pth")
RESUMABLE = re.compile(r"model_(\d{7}|final)\.pth")


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic files, `weights_only` reading and recovery.

    Args:
        model: module whose state is saved and loaded; a DistributedDataParallel is unwrapped.
        save_dir: folder of the checkpoints; "" saves nothing.
        keep: number of periodic checkpoints (model_0000999.pth) to keep; two at least, so that a damaged newest one
            has a predecessor.
        class_names: what the class indices of the model mean, written into every checkpoint and compared with those of
            what is loaded; () if they are not known.
        checkpointables: objects with `state_dict` and `load_state_dict`, saved under their keyword. `state_dict` is
            called in every process (it may gather from all), so `save` must be too; only the first one writes.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        keep: int = 3,
        class_names: Sequence[str] = (),
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.class_names = list(class_names)
        self.keep = max(keep, 2)
        self._swept = False
        self.resumed_from: Path | None = None
        self.report: fit.WeightsReport | None = None  # of the last file that was loaded

    # --- writing ---

    def save(self, name: str, *, tag: bool = True, **extra: Any) -> None:
        """Write the model and all checkpointables to `save_dir/name.pth`. Call it in every process.

        Args:
            tag: make it the one that `--resume` continues from.
            extra: further tensors and plain values to store.
        """
        if not self.save_dir:
            return
        data = {"model": self.model.state_dict()}
        data.update((key, thing.state_dict()) for key, thing in self.checkpointables.items())
        data.update(extra)
        if not self.save_to_disk:
            return
        self.write(name, data)
        if tag:
            self.tag_last_checkpoint(f"{name}.pth")
            self._delete_old()

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write `data` (tensors and plain values) to `save_dir/name.pth`, atomically, in the first process only."""
        if not (self.save_dir and self.save_to_disk):
            return
        folder = Path(self.save_dir)
        make_folder(folder)
        if not self._swept:
            # Half files of a run that was killed while it wrote.
            for leftover in folder.glob(".*.pth.*.tmp"):
                leftover.unlink(missing_ok=True)
            self._swept = True
        logger.info("Saving checkpoint to %s", folder / f"{name}.pth")
        if self.class_names:
            data = {**data, stored_classes.ENTRY: self.class_names}
        with atomic_write(folder / f"{name}.pth") as file:
            torch.save(data, file)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint to continue from, in `last_checkpoint`."""
        with atomic_write(Path(self.save_dir) / "last_checkpoint", "w") as file:
            file.write(last_filename_basename)

    def _delete_old(self) -> None:
        periodic = [path for path in self.resumable_files() if PERIODIC.fullmatch(path.name)]
        for path in periodic[self.keep :]:
            path.unlink(missing_ok=True)

    # --- reading ---

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return bool(self.save_dir) and bool(self.resumable_files())

    def resumable_files(self) -> list[Path]:
        """Checkpoints to continue from, the tagged one first, then from the newest to the oldest."""
        folder = Path(self.save_dir)
        if not folder.is_dir():
            return []
        files = [path for path in folder.iterdir() if RESUMABLE.fullmatch(path.name)]
        files.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
        tag = folder / "last_checkpoint"
        tagged = folder / Path(tag.read_text(errors="replace").strip()).name if tag.is_file() else None
        if tagged is not None and tagged.is_file():
            files = [tagged] + [path for path in files if path != tagged]
        return files

    def resume_or_load(self, path: str, *, resume: bool = True, admit: Admit | None = None) -> dict[str, Any]:
        """Continue from the last intact checkpoint in `save_dir`; without one (or `resume`) load weights from `path`.

        Args:
            admit: see `last_intact`.
        Returns:
            What the file holds beside the model and the checkpointables.
        Raises:
            CheckpointError: there are checkpoints but all are damaged, or the checkpoint belongs to another model.
            D2RoadError: of `admit`.
        """
        self.resumed_from = None
        failed: dict[str, str] = {}
        while resume:
            last = self.last_intact(admit, failed)
            if last is None:
                logger.info("No checkpoint in %s to resume from: the run starts at iteration 0", self.save_dir)
                break
            rest = self._try_to_load(last, failed)
            if rest is not None:
                self.resumed_from = last
                return rest
        return self.load(path, checkpointables=[])

    def _try_to_load(self, path: Path, failed: dict[str, str]) -> dict[str, Any] | None:
        """What `load` returns; None, and the reason in `failed`, if the content is not what a checkpoint holds."""
        rest, reason = None, ""
        try:
            rest = self.load(str(path), require="all")
        except (D2RoadError, torch.OutOfMemoryError):  # it does not fit the model, as the one before it would not
            raise
        except Exception as error:  # whatever damaged content brings about
            reason = f"{type(error).__name__}: {error}"
        reasons = [text for text in comm.all_gather(reason) if text]
        if not reasons:
            return rest
        failed[path.name] = reasons[0]
        logger.warning("Checkpoint %s cannot be loaded (%s); trying the one before it", path, reasons[0])
        return None

    def last_intact(self, admit: Admit | None = None, failed: Mapping[str, str] | None = None) -> Path | None:
        """The newest undamaged checkpoint to continue from, the same in all processes; None if there is none at all.

        Args:
            admit: called in the first process with the content of a file; says why it is another run's and passed
                over, or None if it is not; raises D2RoadError, in every process, if nothing must be continued.
            failed: why files, by name, are known to be damaged.
        Raises:
            CheckpointError: there are checkpoints but all are damaged.
        """
        found: Path | D2RoadError | None = None
        if comm.is_main_process():
            try:
                found = newest_intact(self.resumable_files(), admit, failed or {})
            except D2RoadError as error:
                found = error
        found = comm.all_gather(found)[0]
        if isinstance(found, D2RoadError):
            raise found
        return found

    def load(
        self, path: str, checkpointables: list[str] | None = None, *, require: str = "", use_ema: bool = False
    ) -> dict[str, Any]:
        """Load a file into the model, and its other parts into the checkpointables.

        Args:
            path: a file, or an address that Detectron2 knows; "" or "random" loads nothing. Prefixes of wrappers are
                taken off its names; with `?matching_heuristics=True` behind it they are matched as Detectron2 does for
                foreign backbones.
            checkpointables: names of those to load; None for all that the file has.
            require: "all" - every weight of the model must be in the file and of its shape; "parameters" - every
                parameter, to predict with; "" - what is missing or of another shape stays as it is, with a warning.
            use_ema: take the averaged weights where the file has them.
        Returns:
            What the file holds beside these, with "class_names", [] where they are not known; `report` says which
            weights were taken.
        Raises:
            FileNotFoundError: no such file.
            CheckpointError: the file is damaged, holds objects other than data, or does not fit the model.
        """
        if path in ("", RANDOM):
            if any(value.requires_grad for value in self.model.parameters()):  # a memory bank has nothing that does
                logger.info(
                    "MODEL.WEIGHTS is empty: all that the backbone does not bring itself starts from random weights"
                )
            return {}
        logger.info("Loading from %s", path)
        checkpoint = self._load_file(path)
        stored = checkpoint[stored_classes.ENTRY] = stored_classes.class_names_of(checkpoint, path)
        stored_classes.check_class_names(path, stored, self.class_names, strict=bool(require))
        if use_ema and own_averages(checkpoint):
            checkpoint["model"] = averaged_weights(checkpoint)
        prefix = ""
        if checkpoint.get("matching_heuristics"):
            warn_of_other_kind(self.model, str(checkpoint.get("__author__", "")), path)
        else:
            checkpoint["model"], prefix = fit.without_wrappers(checkpoint["model"], self.model.state_dict())
        self.report = self._take(checkpoint, path, prefix, require)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in checkpoint:
                self.checkpointables[key].load_state_dict(checkpoint.pop(key))
        return checkpoint

    def _load_file(self, filename: str) -> dict[str, Any]:
        filename, _, query = str(filename).partition("?")
        options = parse_qs(query)
        heuristics = options.pop("matching_heuristics", ["False"]) == ["True"]
        if options:
            raise CheckpointError(
                f"{filename}: unknown option {sorted(options)} behind '?', expected matching_heuristics"
            )
        loaded = load_weights_file(filename)
        weights = present_state_dict(weights_of(loaded, filename))
        loaded = {**loaded, "model": weights} if isinstance(loaded.get("model"), dict) else {"model": weights}
        if own_averages(loaded):
            loaded["ema"]["weights"] = present_state_dict(loaded["ema"]["weights"])
        if heuristics:
            loaded["matching_heuristics"] = True
        return loaded

    def _take(self, checkpoint: dict[str, Any], path: str, prefix: str, require: str) -> fit.WeightsReport:
        """Load checkpoint["model"] and see that enough of it fits."""
        given = set(checkpoint["model"])
        take_sizes(self.model, checkpoint["model"])
        incompatible = self._load_model(checkpoint)
        shapes = {name: (theirs, own) for name, theirs, own in incompatible.incorrect_shapes}
        absent = set(incompatible.missing_keys) & self.model.state_dict().keys()
        report = fit.report_of(self.model, path, absent, incompatible.unexpected_keys, shapes, prefix)
        if not report.taken and not shapes and not report.unexpected:  # heuristics that matched nothing
            report = dataclasses.replace(report, unexpected=tuple(sorted(given)))
        report.require_some()
        if require:
            report.require_complete(
                "use the config that it was trained with (the number of classes is what differs most often)"
                + config_hint(path),
                buffers=require == "all",
            )
        report.log()
        fit.require_finite(self.model, report.taken, path)
        return report


def own_averages(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint has moving averages in the form of this project; "ema" of others may be anything."""
    averages = checkpoint.get("ema")
    return isinstance(averages, dict) and isinstance(averages.get("weights"), dict)


def averaged_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The model's weights in a training checkpoint, with their moving averages in place of those that have one."""
    return {**checkpoint["model"], **(checkpoint["ema"]["weights"] if own_averages(checkpoint) else {})}


def export_inference_weights(source: str | Path, destination: str | Path, half: bool = False) -> None:
    """Write the weights to predict with, and nothing else: averages where the checkpoint has them.

    The result is loaded by Detectron2's own DefaultPredictor, and is a third of a training checkpoint or less.

    Args:
        source: a checkpoint of this project or any other weights file that can be read.
        destination: the `.pth` to write; its folder must exist.
        half: store 32-bit numbers in 16 bits; they become 32-bit again when loaded.
    Raises:
        FileNotFoundError, CheckpointError: as `load_weights_file`.
    """
    loaded = load_weights_file(source)
    given = weights_of(loaded, str(source))
    given = averaged_weights({**loaded, "model": given})
    weights = {name: torch.as_tensor(value) for name, value in present_state_dict(given).items()}
    if half:
        weights = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    data: dict[str, Any] = {"model": weights}
    names = stored_classes.class_names_of(loaded, source)
    if names:
        data[stored_classes.ENTRY] = names
    with atomic_write(destination) as file:
        torch.save(data, file)
