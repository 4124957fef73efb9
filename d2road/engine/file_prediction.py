"""Prediction on files: images, videos, folders and patterns become annotated copies and a file of all results."""

import logging
import os
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

import cv2
import numpy as np
from detectron2.config import CfgNode

from d2road.data.camera_files import CameraFiles
from d2road.engine.annotators import AnnotatingPredictor
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import read_image, write_image
from d2road.utils.output_files import make_folder
from d2road.utils.progress import track

logger = logging.getLogger(__name__)

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


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
        ValueError, FileNotFoundError: the model or its weights, or an output folder that holds the inputs.
    """
    files, problems = find_inputs(inputs)
    folder = Path(output)
    targets = output_paths(files, folder)
    make_folder(folder)
    written, found = 0, "nothing predicted"
    if files:
        annotate = AnnotatingPredictor(cfg, confidence, sentences)
        for file, target in track(list(zip(files, targets)), label="files"):
            try:
                draw = annotate_video if file.suffix.lower() in VIDEOS else annotate_image
                draw(annotate, file, target, cameras(file) if cameras else None)
                written += 1
            except (ValueError, FileNotFoundError) as error:
                logger.error("%s: %s", file, error)
                problems.append(f"{file}: {error}")
        found = annotate.write(folder)
    logger.info("%s; %d annotated files in %s", found, written, folder)
    if problems:
        logger.error("%d of the inputs failed:\n  %s", len(problems), "\n  ".join(problems))
    return len(problems)


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files that inputs (files, folders, patterns) name, each once, and what is wrong with the others."""
    found: list[Path] = []
    problems = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES | VIDEOS)
            if not files:
                problems.append(f"{text}: no images or videos in this folder")
        elif path.is_file():
            files = [path]
        else:
            files = sorted(Path(p) for p in glob(text, recursive=True) if Path(p).is_file())
            if not files:
                problems.append(f"{text}: no such file, and no file fits it as a pattern")
        found.extend(files)
    return list(dict.fromkeys(found)), problems


def output_paths(files: Sequence[Path], folder: Path) -> list[Path]:
    """Where each annotated copy goes: the same stem, numbered where several have it.

    Raises:
        ValueError: a copy would replace one of the inputs.
    """
    taken: set[str] = set()
    targets = []
    for file in files:
        kind = file.suffix.lower()
        suffix = ".mp4" if kind in VIDEOS else kind if kind in (".jpg", ".jpeg", ".png") else ".png"
        stem, number = file.stem, 1
        while f"{stem}{suffix}" in taken:
            number += 1
            stem = f"{file.stem}_{number}"
        taken.add(f"{stem}{suffix}")
        targets.append(folder / f"{stem}{suffix}")
    overwritten = {f.resolve() for f in files} & {t.resolve() for t in targets}
    if overwritten:
        raise ConfigError(f"--output {folder} holds the inputs, which would be replaced; name another folder")
    return targets


def annotate_image(annotate: AnnotatingPredictor, file: Path, target: Path, camera: Camera | None = None) -> None:
    """Annotate one image. Raises ValueError where it cannot be read."""
    try:
        image_bgr = read_image(file, bgr=True)
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"cannot be read as an image: {error.__cause__ or error}") from error
    write_image(target, annotate(image_bgr, camera, file_name=str(file)), bgr=True)


def annotate_video(annotate: AnnotatingPredictor, file: Path, target: Path, camera: Camera | None = None) -> None:
    """Annotate a video frame by frame, without holding it in memory. Raises ValueError where it cannot be read."""
    video = cv2.VideoCapture(str(file))
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")  # OpenCV picks the format by suffix
    writer = None
    try:
        frames = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))  # what the file claims; can be wrong
        for index, frame in enumerate(track(_frames(video), total=frames, label=file.name)):
            drawn = annotate(frame, camera, fixed_view=True, file_name=str(file), frame=index)
            # Video codecs take even sizes only.
            odd_rows, odd_columns = drawn.shape[0] % 2, drawn.shape[1] % 2
            drawn = cv2.copyMakeBorder(drawn, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
            if writer is None:
                writer = _open_writer(str(temporary), video.get(cv2.CAP_PROP_FPS), drawn.shape[1], drawn.shape[0])
            writer.write(drawn)
        if writer is None:
            raise DataError("cannot be read as a video: no frame can be decoded")
        writer.release()
        os.replace(temporary, target)
    finally:
        video.release()
        temporary.unlink(missing_ok=True)


def _frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        good, frame = video.read()
        if not good:
            return
        yield frame


def _open_writer(path: str, fps: float, width: int, height: int) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), fps if 0 < fps < 1000 else 25.0, (width, height))
    if not writer.isOpened():
        raise ConfigError(f"this OpenCV cannot write mp4 video of {width}x{height}")
    return writer
