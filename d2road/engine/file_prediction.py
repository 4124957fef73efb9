"""Prediction on files: images, videos, folders and patterns become annotated copies and a file of all results."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from d2road.data.camera_files import CameraFiles
from d2road.engine.annotators import AnnotatingPredictor
from d2road.engine.meta_arch import needs_camera
from d2road.engine.prediction_inputs import VIDEOS, find_inputs, output_paths, renamed_text
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, DataError, OutputError
from d2road.utils.image_io import frame_count, read_image, write_image
from d2road.utils.output_files import make_folder
from d2road.utils.progress import track
from d2road.video import VideoFile, VideoWriter

logger = logging.getLogger(__name__)


def predict_files(
    cfg: CfgNode,
    inputs: Sequence[str],
    output: str | Path,
    confidence: float | None = None,
    cameras: CameraFiles | None = None,
    sentences: Sequence[str] = (),
) -> int:
    """Predict on inputs and write annotated copies and what was found into a folder.

    Args:
        cfg: frozen config with MODEL.WEIGHTS.
        inputs: files, folders and patterns.
        output: the folder, made if it is missing.
        confidence: lowest score of what is drawn and written; None takes the default, or the model's own.
        cameras: give the camera of a file, for models that estimate 3D.
        sentences: for models of grounding.
    Returns:
        the number of inputs that failed; each is logged.
    Raises:
        D2RoadError, FileNotFoundError: the model or its weights, a camera that it needs, an output folder that holds
            the inputs, or an output that cannot be written.
    """
    require_camera(cfg, cameras is not None and bool(cameras.calib))
    files, problems = find_inputs(inputs)
    folder = Path(output)
    targets = output_paths(files, folder)
    make_folder(folder)
    if renamed := renamed_text(files, targets):
        logger.info(renamed)
    written, found = 0, "nothing predicted"
    if files:
        annotate = AnnotatingPredictor(cfg, confidence, sentences)
        for file, target in track(list(zip(files, targets)), label="files"):
            try:
                draw = annotate_video if file.suffix.lower() in VIDEOS else annotate_image
                draw(annotate, file, target, cameras(file) if cameras else None)
                written += 1
            except OutputError:  # it would hit the next ones alike
                raise
            except (OSError, ValueError, MemoryError, torch.OutOfMemoryError) as error:
                text = str(error) or type(error).__name__
                logger.error("%s: %s", file, text)
                problems.append(f"{file}: {text}")
        found = annotate.write(folder)
    logger.info("%s; %d annotated file%s in %s", found, written, "s" * (written != 1), folder)
    if problems:
        logger.error("%d of the inputs failed:\n  %s", len(problems), "\n  ".join(problems))
    return len(problems)


def require_camera(cfg: CfgNode, has_camera: bool) -> None:
    """Raise ConfigError where a model cannot work without a camera and none is given."""
    if not has_camera and needs_camera(cfg):
        raise ConfigError(
            f"--calib is missing: {cfg.MODEL.META_ARCHITECTURE} as configured finds 3D boxes, which need the camera; "
            "give --calib FILE (a line 'P2: 12 numbers') for all inputs, or a folder with STEM.txt for each"
        )


def annotate_image(annotate: AnnotatingPredictor, file: Path, target: Path, camera: Camera | None = None) -> None:
    """Annotate one image. Raises DataError where it cannot be read, or moves."""
    write_image(target, annotate(read_still_image(file), camera, file_name=str(file)), bgr=True)


def read_still_image(file: Path) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image as every prediction reads it.

    Raises:
        DataError: it cannot be read, or moves; the message leaves the file's name to the caller.
    """
    try:
        frames = frame_count(file)
        image_bgr = read_image(file, bgr=True)
    except (OSError, ValueError) as error:
        raise DataError(str(error).removeprefix(f"image {file} ")) from error
    if frames > 1:
        raise DataError(
            f"holds {frames} frames: make a video of it, e.g. ffmpeg -i {file.name} {file.stem}.mp4, or single images"
        )
    return image_bgr


def annotate_video(annotate: AnnotatingPredictor, file: Path, target: Path, camera: Camera | None = None) -> None:
    """Annotate a video frame by frame.

    Raises:
        FileNotFoundError, DataError: it cannot be read, or not to its end; what could be read is annotated.
        OutputError: the copy cannot be written.
    """
    with VideoFile(file) as video, VideoWriter(target, video.fps) as writer:
        for frame in track(video, total=video.claimed, label=file.name):
            drawn = annotate(frame.image_bgr, camera, fixed_view=True, file_name=str(file), frame=frame.index)
            writer.write(drawn, frame.t)
    video.raise_if_cut_off()
