"""Run a model over pictures and videos, and write annotated copies and one file of all that was found.

    d2road predict --config-file configs/diffusion_det/coco/resnet50.yaml \\
        --input street.jpg "frames/*.png" clip.mp4 --output output/pictures \\
        [--confidence 0.5] [--calib FILE|DIR [--denorm FILE|DIR]] MODEL.WEIGHTS model.pth [KEY VALUE ...]

Of a detector OUTPUT/predictions.json holds COCO results ({"image_id", "category_id", "bbox": [x, y, width, height],
"score"}) with the file name and, for videos, the frame's number. A file that cannot be read is reported, the others are
worked off, and the exit code is 1; it is 2 where the model or the options are wrong.

Models of anomalies give heat maps, in the same colours for all pictures, and OUTPUT/scores.csv with a line for each:
file, (frame,) score, threshold, verdict, teacher. A picture is anomalous if its score is above the threshold that was
calibrated on good pictures.

Models that estimate 3D need the camera: --calib is a file with a line "P2: 12 numbers", --denorm one with the ground
plane "a b c d" (a x + b y + c z + d = 0, camera frame), each for all inputs, or a folder that holds STEM.txt for each.
They draw 3D boxes with the scene from above beside them, and write location (bottom centre, camera frame, m),
dimensions_hwl (m) and rotation_y (rad; about the ground's normal with --denorm, else about the camera's y axis).

Models of grounding answer sentences: --text "..." (several in quotes), --text-file (one a line; empty lines are left
out). Each is drawn over a copy of the picture of its own, its words shaded by their relevance, and OUTPUT/
predictions.json has for each picture and sentence text, boxes (x, y, z, h, w, l, ry), scores, boxes_xyxy,
category_names and words. --confidence is the model's own threshold unless it is given.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger

from d2road.config import setup_cfg
from d2road.data.camera_files import CameraFiles
from d2road.engine.annotators import AnnotatingPredictor
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.image_io import read_picture, write_picture
from d2road.utils.progress import track

logger = logging.getLogger("d2road.demo")

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
# First parts of config keys: with them KEY VALUE pairs are told from the names of inputs before them.
KEY_ROOTS = ("MODEL", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "MODEL_EMA", "SEED", "OUTPUT_DIR")


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files that inputs (files, folders, patterns) name, each once, and what is wrong with the others."""
    found: list[Path] = []
    problems = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES | VIDEOS)
            if not files:
                problems.append(f"{text}: no pictures or videos in this folder")
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
    """Annotate one picture. Raises ValueError where it cannot be read."""
    try:
        image_bgr = read_picture(file, bgr=True)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"cannot be read as a picture: {error.__cause__ or error}") from error
    write_picture(target, annotate(image_bgr, camera, file_name=str(file)), bgr=True)


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
            raise ConfigError("cannot be read as a video: no frame can be decoded")
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
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), fps if 0 < fps < 1000 else 25.0, (width, height))
    if not writer.isOpened():
        raise ConfigError(f"this OpenCV cannot write mp4 video of {width}x{height}")
    return writer


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line; KEY VALUE pairs may follow any option, as ``opts``."""
    parser = argparse.ArgumentParser(
        prog="d2road predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--input", nargs="+", required=True, help="pictures, videos, folders, patterns like 'a/*.png'")
    parser.add_argument("--output", required=True, help="folder for annotated copies and what was found")
    parser.add_argument(
        "--confidence", type=float, help="lowest score of boxes to draw and write (default: 0.5, or the model's own)"
    )
    parser.add_argument("--calib", default="", metavar="FILE|DIR", help="calibration, for models that estimate 3D")
    parser.add_argument("--denorm", default="", metavar="FILE|DIR", help="ground plane in the camera frame")
    parser.add_argument("--text", nargs="+", default=[], metavar="SENTENCE", help="for models of grounding")
    parser.add_argument("--text-file", default="", metavar="FILE", help="sentences, one a line")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], dest="more", help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, e.g. MODEL.WEIGHTS model.pth")
    args = parser.parse_intermixed_args(argv)
    args.input, swallowed = split_pairs(args.input)
    args.text, behind = split_pairs(args.text)
    args.opts = swallowed + behind + args.opts + args.more
    if args.confidence is not None and not 0 <= args.confidence <= 1:
        parser.error(f"--confidence {args.confidence}: expected a number from 0 to 1")
    return args


def split_pairs(inputs: list[str]) -> tuple[list[str], list[str]]:
    """Inputs, and the KEY VALUE pairs that stand behind them."""
    for index, text in enumerate(inputs):
        if text.split(".")[0] in KEY_ROOTS and not Path(text).exists():
            return inputs[:index], inputs[index:]
    return inputs, []


def read_sentences(texts: Sequence[str], file: str = "") -> list[str]:
    """The sentences of --text and of --text-file, one a line.

    Raises:
        FileNotFoundError, ValueError: no such file, not UTF-8, a sentence of --text that is empty, or a file of none.
    """
    empty = [i for i, text in enumerate(texts, 1) if not text.strip()]
    if empty:
        raise ConfigError(f"--text: sentence {empty[0]} of {len(texts)} is empty")
    if not file:
        return list(texts)
    if not Path(file).is_file():
        raise FileNotFoundError(f"--text-file {file} does not exist (looked from {Path.cwd()})")
    try:
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"--text-file {file} is not UTF-8 ({error}); save it as UTF-8") from error
    if not any(lines):
        raise ConfigError(f"--text-file {file} holds no sentence, expected one a line")
    return [*texts, *(line for line in lines if line)]


def run(
    cfg: CfgNode,
    inputs: Sequence[str],
    output: str | Path,
    confidence: float | None = None,
    cameras: CameraFiles | None = None,
    sentences: Sequence[str] = (),
) -> int:
    """Annotate inputs into a folder; returns the number of inputs that failed.

    Raises:
        ValueError, FileNotFoundError: the model or its weights, or an output folder that holds the inputs.
    """
    files, problems = find_inputs(inputs)
    folder = Path(output)
    targets = output_paths(files, folder)
    folder.mkdir(parents=True, exist_ok=True)
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


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run from a command line; returns the exit code."""
    setup_logger(name="d2road")
    args = parse_arguments(argv)
    cameras, sentences = CameraFiles(args.calib, args.denorm), read_sentences(args.text, args.text_file)
    return 1 if run(setup_cfg(args), args.input, args.output, args.confidence, cameras, sentences) else 0


if __name__ == "__main__":
    sys.exit(main())
