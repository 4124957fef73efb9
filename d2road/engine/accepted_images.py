"""Good images added to a trained anomaly detector, or taken back, with an audit trail; its threshold set anew.

Accepted images were chosen by their score, so that they say nothing of how high good images score, and are never used
to set the threshold; nor is a threshold that was set before they came known to hold. See docs/anomaly_thresholds.md.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from d2road.engine.audit_trail import ACCEPT, CALIBRATE, REMOVE, AuditRecord, AuditTrail, now_utc, pixels_sha256
from d2road.engine.meta_arch import AcceptsGoodImages, HasAnomalyThreshold
from d2road.engine.prediction_inputs import IMAGES, find_inputs
from d2road.engine.predictor import Predictor
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import read_image
from d2road.utils.input_files import walk_files
from d2road.utils.output_files import atomic_write, check_output, make_folder
from d2road.utils.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What to do with a model.

    Attributes:
        by, reason: who wants it, and why.
        accept: files, folders and patterns of good images to add.
        remove: ids of accepted images to take back.
        calibrate_on: folder of good images, drawn at random, to set the threshold by; "" leaves it as it is.
    """

    by: str
    reason: str
    accept: Sequence[str] = ()
    remove: Sequence[int] = ()
    calibrate_on: str = ""


class AcceptingModel:
    """A trained anomaly detector and its audit trail, while both change.

    Args:
        predict: the model, not fused.
        cfg: its config.
        change: by whom and why.
    Raises:
        ConfigError: a model that takes in no images after its training.
        CheckpointError: its audit trail is damaged.
    """

    def __init__(self, predict: Predictor, cfg: CfgNode, change: Change):
        model: Any = predict.model
        if not isinstance(model, AcceptsGoodImages) or not isinstance(model, HasAnomalyThreshold):
            raise ConfigError(
                f"{cfg.MODEL.WEIGHTS}: {cfg.MODEL.META_ARCHITECTURE} takes in no images after its training; train it "
                "anew with them among the good ones, or take a model with a memory bank, PatchCore"
            )
        self.predict, self.model, self.cfg, self.change = predict, model, cfg, change
        self.trail = AuditTrail.from_text(model.audit_trail(), cfg.MODEL.WEIGHTS)

    def remove(self, ids: Sequence[int]) -> None:
        """Take back accepted images."""
        for image_id in ids:
            image = self.trail.require(image_id)
            threshold = self.model.anomaly_threshold()
            count = self.model.remove_image(image_id)
            self._note(REMOVE, image_id, image.file_name, image.sha256, -count, (None, None), threshold)
            logger.info("Removed image %d, %s: %d vectors", image_id, image.file_name, count)

    def accept(self, files: Sequence[Path]) -> None:
        """Take in good images; those that are in already are left out with a warning.

        Raises:
            DataError: a file that is no image, or nothing is left.
        """
        known = {record.sha256: record for record in self.trail.accepted().values()}
        images: list[tuple[Path, str, dict[str, Any], float]] = []
        for file in track(files, label="images to accept"):
            checksum, entry = self._read(file)
            if checksum in known:
                logger.warning("%s is in already, as image %d; it is left out", file, known[checksum].id)
                continue
            if checksum in [image[1] for image in images]:
                logger.warning("%s has the same pixels as another of these images; it is left out", file)
                continue
            images.append((file, checksum, entry, self._score(entry)))
        if not images:
            raise DataError("no image is left to accept: all of them are in the model already")
        threshold, first = self.model.anomaly_threshold(), self.trail.next_id()
        counts = [self.model.accept_image(entry, first + i) for i, (_, _, entry, _) in enumerate(images)]
        for i, (file, checksum, entry, before) in enumerate(images):
            scores = (before, self._score(entry))
            self._note(ACCEPT, first + i, str(file), checksum, counts[i], scores, threshold)
            verdict = "" if threshold is None else ", anomalous before" if before > threshold else ", good before"
            logger.info("Accepted image %d, %s: score %.4g to %.4g%s", first + i, file, *scores, verdict)

    def calibrate(self, folder: Path) -> None:
        """Set the threshold by a folder of good images that were drawn at random, searched in depth.

        Raises:
            FileNotFoundError: no such folder.
            DataError: no images, one that was ever accepted, or one that is there twice.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"--calibrate-on {folder} is no folder (looked from {Path.cwd()})")
        files = sorted(path for path in walk_files(folder) if path.suffix.lower() in IMAGES)
        if not files:
            raise DataError(f"--calibrate-on {folder} holds no images ({', '.join(sorted(IMAGES))})")
        threshold = self.model.anomaly_threshold()
        self.model.recalibrate(self.cfg, self._images_to_calibrate(files))
        self._note(CALIBRATE, 0, str(folder), "", len(files), (None, None), threshold)
        logger.info("Threshold from %d images of %s: %s", len(files), folder, self.model.anomaly_threshold())

    def _images_to_calibrate(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        accepted, seen = self.trail.ever_accepted(), dict[str, Path]()
        for file in track(files, label="images to calibrate with"):
            checksum, entry = self._read(file)
            if checksum in accepted:
                raise DataError(
                    f"--calibrate-on: {file} was accepted as image {accepted[checksum].id}, because of its score. "
                    "Images that set the threshold must be drawn at random: remove it, and draw anew"
                )
            if checksum in seen:
                raise DataError(
                    f"--calibrate-on: {file} and {seen[checksum]} have the same pixels, and would count as two images; "
                    "remove one"
                )
            seen[checksum] = file
            yield entry

    def _read(self, file: Path) -> tuple[str, dict[str, Any]]:
        """Checksum of the pixels of an image, and the model's input."""
        rgb = read_image(file)
        entry = self.predict.prepare(np.ascontiguousarray(rgb[:, :, ::-1]))
        return pixels_sha256(rgb), {**entry, "file_name": str(file)}

    def _score(self, entry: Mapping[str, Any]) -> float:
        with torch.no_grad():
            return float(self.predict.model([entry])[0]["anomaly_score"])

    def _note(
        self,
        action: str,
        image_id: int,
        file_name: str,
        checksum: str,
        vectors: int,
        scores: tuple[float | None, float | None],
        threshold_before: float | None,
    ) -> None:
        self.trail.records.append(
            AuditRecord(
                action=action,
                id=image_id,
                time_utc=now_utc(),
                by=self.change.by,
                reason=self.change.reason,
                file_name=file_name,
                sha256=checksum,
                vectors=vectors,
                score_before=scores[0],
                score_after=scores[1],
                threshold_before=threshold_before,
                threshold_after=self.model.anomaly_threshold(),
                guarantee=self.model.anomaly_guarantee(),
            )
        )


def change_model(cfg: CfgNode, change: Change, output: Path) -> AuditTrail:
    """Make a changed copy of a model: OUTPUT.pth, its config OUTPUT.yaml, and its audit trail OUTPUT.audit.jsonl.

    The trail is in the checkpoint; the file beside it is a copy to read. Either all of the change is made or nothing.

    Args:
        cfg: of the model, with MODEL.WEIGHTS.
        change: what to do; images are removed, then accepted, and the threshold is set last.
        output: the .pth to write; never the file that is read.
    Returns:
        the whole trail.
    Raises:
        D2RoadError, FileNotFoundError: what is missing or cannot be, with the cure.
    """
    check_change(cfg, change, output)
    files, problems = find_inputs(change.accept)
    videos = [file for file in files if file.suffix.lower() not in IMAGES]
    problems += [f"{file}: no image that could be accepted" for file in videos]
    if problems:
        raise DataError("; ".join(problems))
    make_folder(output.parent)
    check_output(output)
    held = AcceptingModel(Predictor(cfg, fuse=False), cfg, change)
    if change.remove:
        held.remove(change.remove)
    if files:
        held.accept(files)
    if change.calibrate_on:
        held.calibrate(Path(change.calibrate_on))
    held.model.set_audit_trail(held.trail.to_text())
    write_changed(held, output)
    logger.info("The threshold %s: %s", held.model.anomaly_threshold(), held.model.anomaly_guarantee())
    return held.trail


def check_change(cfg: CfgNode, change: Change, output: Path) -> None:
    """Raise ConfigError for a change that says too little, or an output that would replace the model."""
    if output.suffix != ".pth":
        raise ConfigError(f"--output is {output}: expected a file name that ends with .pth")
    weights = Path(cfg.MODEL.WEIGHTS)
    if weights.exists() and output.exists() and weights.resolve() == output.resolve():
        raise ConfigError(f"--output {output} is the model that is read, which stays as it is: choose another name")
    if not (change.accept or change.remove or change.calibrate_on):
        raise ConfigError("nothing to do: name images with --input, ids with --remove or a folder with --calibrate-on")
    for option, text in (("--reason", change.reason), ("--by", change.by)):
        if not text.strip():
            raise ConfigError(f"{option} is empty: the audit trail says who accepts an image, and why")


def write_changed(held: AcceptingModel, output: Path) -> None:
    """Write the checkpoint, which holds the trail, then the files beside it."""
    cfg = held.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(output)
    beside = {output.with_suffix(".audit.jsonl"): held.trail.to_text(), output.with_suffix(".yaml"): cfg.dump()}
    for path in beside:
        check_output(path)
    with atomic_write(output) as file:
        torch.save({"model": held.predict.model.state_dict()}, file)
    for path, content in beside.items():
        with atomic_write(path, "w") as file:
            file.write(content)
    logger.info("Wrote %s, with its config and audit trail beside it", output)
