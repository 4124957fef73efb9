"""Calibrate a fixed roadside camera: lens, ground plane and how well they are known.

    d2road calibrate-camera --input clip.mp4 --config-file CONFIG --weights MODEL.pth --calib calib.txt --output DIR
    d2road calibrate-camera --observations boxes.csv --size 960x540 --focal 1200 --output DIR
    d2road calibrate-camera --points map.csv --size 960x540 --calib calib.txt --output DIR
    d2road calibrate-camera --observations labels.txt --size 960x540 --length 310,420,655,418,7.0 --output DIR

Ways, each usable alone and used together where more are given: vehicles of usual sizes and their straight tracks (a
video with a detector, or --observations: a table of boxes, KITTI's tracking labels, or a folder that `d2road track`
wrote, of which boxes are read and no metres), --points FILE (columns u,v,x,y of image and map, perhaps z), --length
u1,v1,u2,v2,metres[,deviation] (a known distance on the road).

With a video and a known focal length, the paths and edges of what moves tell horizon and roll; boxes tell the height.

The lens: --calib FILE with P2, or --focal PX, or --exif IMAGE of this camera, each with --focal-std PERCENT if it is
not exact; without any, the focal length is estimated too, and its deviation is told. --distortion k1,k2,p1,p2,k3.

DIR gets camera.yaml (what `d2road track` and `d2road watch` take as --calib), calib.txt and denorm.txt (KITTI's and
Rope3D's), calibration.json (figures, deviations, homography) and, with --input or --image, check.jpg: horizon, metres
on the road, ten vehicles. The common error of all sizes, 3 %, stays in the height unless points or a length are given.

Where are the lanes? `d2road watch` and lanes in tracks need the road, which vehicles tell by where they drive:

    d2road calibrate-camera --road --calib camera.yaml --observations tracks/ --output DIR

TRACKS is a folder that `d2road track` wrote; DIR gets camera.yaml with heading, lane borders and directions.

Has it moved since? --watch compares a camera with its own earlier hours, and changes nothing:

    d2road calibrate-camera --watch --calib camera.yaml --input later.mp4 --image background.png --output DIR
    d2road calibrate-camera --watch --calib camera.yaml --observations tracks/ --reference good_tracks/ --output DIR

--input is a video or stream, whose background is registered with --image (of when the camera stood right; without one,
with its own first half minute), up to --seconds, Ctrl-C or SIGTERM; --observations is a folder that `d2road track`
wrote, whose vehicles are compared with the paths of --reference (without it, of its own first vehicles). Both may be
given together. Each move is a line that begins with MOVED; DIR gets drift.json and background.png.

The exit code is 0, also where the camera has moved; 1 where the video is cut off, damaged or changes its size (what
came before counts); 2 for what cannot be used; 130 after Ctrl-C, 143 after SIGTERM, with what was seen until then.
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from d2road.utils.arguments import ArgumentParser, add_verbose, verb_parser
from d2road.utils.console import start_console
from d2road.utils.errors import ConfigError, DataError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    import numpy as np

    from d2road.traffic.calibration.observations import CalibrationObservations
    from d2road.traffic.calibration.self_calibration import KnownLens
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.video import Frame
    from d2road.video.moving_lines import MovingLines

logger = logging.getLogger("d2road.calibrate_camera")

SENSOR_WIDTH_MM = 36.0  # of the format that EXIF's equivalent focal lengths refer to
EXIF_STD = 0.03


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("calibrate-camera", __doc__)
    parser.add_argument("--input", default="", metavar="VIDEO", help="video, or folder of images")
    parser.add_argument("--observations", default="", metavar="PATH", help="boxes of vehicles, instead of a video")
    parser.add_argument("--points", default="", metavar="FILE", help="table u,v,x,y[,z] of image and map")
    parser.add_argument(
        "--length", action="append", default=[], metavar="U,V,U,V,M[,STD]", help="known length, any number"
    )
    parser.add_argument("--size", type=_size, metavar="WxH", help="pixels of the images, where there is no --input")
    parser.add_argument("--image", default="", metavar="FILE", help="to draw the check on, where there is no --input")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the calibration")
    lens = parser.add_mutually_exclusive_group()
    lens.add_argument("--calib", default="", metavar="FILE", help="camera.yaml, or P2, for K")
    lens.add_argument("--focal", type=number_option(10, 1e6), metavar="PX", help="focal length, pixels")
    lens.add_argument("--exif", default="", metavar="IMAGE", help="photograph of this camera with its focal length")
    parser.add_argument("--focal-std", type=number_option(0, 50), metavar="PERCENT", help="of that; 0, 3 of EXIF")
    parser.add_argument("--distortion", default="", metavar="K1,K2,P1,P2,K3", help="OpenCV's coefficients; none")
    parser.add_argument("--fit-distortion", action="store_true", help="find k1 by the map points")
    parser.add_argument("--fps", type=number_option(1e-3), metavar="N", help="of images without times")
    parser.add_argument("--every", type=integer_option(1), default=2, metavar="N", help="take each N-th frame; 2")
    parser.add_argument("--seconds", type=number_option(1), metavar="S", help="end after so much of the video")
    parser.add_argument("--confidence", type=number_option(0, 1), default=0.18, metavar="S", help="of detections; 0.18")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--road", action="store_true", help="add the road to a camera, by tracks of its vehicles")
    mode.add_argument("--watch", action="store_true", help="say whether the calibrated camera has moved")
    parser.add_argument("--reference", default="", metavar="TRACKS", help="with --watch: tracks of when it stood right")
    add_verbose(parser)
    parser.add_config()
    return parser


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT, such as 960x540") from error
    return width, height


def known_lens(args: argparse.Namespace, size: tuple[int, int]) -> "KnownLens":
    """What the options tell of the lens.

    Raises:
        FileNotFoundError, DataError: files that are not there or tell nothing.
    """
    import numpy as np

    from d2road.data.camera_files import read_calib
    from d2road.data.roadside_camera_files import is_camera_file, read_roadside_camera
    from d2road.structures.lens_distortion import check_distortion
    from d2road.traffic.calibration.self_calibration import KnownLens

    lens, std = KnownLens.unknown(*size), 0.0 if args.focal_std is None else args.focal_std / 100
    K, distortion = lens.K, None
    if args.calib and is_camera_file(args.calib):
        camera = read_roadside_camera(args.calib, size)
        K, distortion = camera.K, camera.distortion
        if args.focal_std is None and camera.deviations is not None:
            std = camera.deviations["focal_px"] / camera.K[0, 0]
    elif args.calib:
        K = read_calib(args.calib)[:, :3]
        if not (0.25 < K[0, 2] / size[0] < 0.75 and 0.25 < K[1, 2] / size[1] < 0.75):
            raise DataError(
                f"--calib {args.calib}: its principal point {K[0, 2]:.0f}, {K[1, 2]:.0f} is not near the middle of "
                f"{size[0]}x{size[1]} images: it was made for another resolution"
            )
    elif args.focal or args.exif:
        K = K.copy()
        K[0, 0] = K[1, 1] = args.focal or _exif_focal(args.exif, size)
        std = EXIF_STD if args.exif and args.focal_std is None else std
    else:
        std = lens.focal_std
    try:
        if distortion is None or args.distortion:
            values = [float(part) for part in args.distortion.split(",") if part.strip()]
            distortion = check_distortion(np.array(values))
    except ValueError as error:
        raise ConfigError(f"--distortion {args.distortion}: {error}") from error
    return KnownLens(K, std, distortion)


def _exif_focal(path: str, size: tuple[int, int]) -> float:
    """Focal length, px, by the 35 mm equivalent that a photograph of the camera tells."""
    from PIL import ExifTags

    from d2road.utils.image_io import open_image

    with open_image(path) as image:
        tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
    focal_mm = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0) or 0)
    if focal_mm <= 0:
        raise DataError(f"--exif {path} tells no focal length of 35 mm film (FocalLengthIn35mmFilm): give --focal")
    return focal_mm / SENSOR_WIDTH_MM * max(size)


class SeenVideo(NamedTuple):
    """Linked observations of a video, its last frame (BGR), the lens, lines of what moves, what was wrong with it, and
    what its user should know."""

    observations: "CalibrationObservations"
    image: "np.ndarray"
    lens: "KnownLens"
    lines: "MovingLines"
    problems: list[str]
    notes: list[str]


def observe_input(args: argparse.Namespace, stop: "StopRequest") -> SeenVideo:
    """What the video of the options shows."""
    from d2road.config import setup_cfg
    from d2road.engine.calibration_detector import observe
    from d2road.engine.predictor import Predictor
    from d2road.engine.track_summary import FrameCounts
    from d2road.traffic.calibration.image_tracks import link_in_image
    from d2road.utils.progress import track
    from d2road.video import open_source, with_first_frame
    from d2road.video.moving_lines import LineCollector

    if not args.config_file:
        raise ConfigError("--input needs a detector: give --config-file and --weights, or --observations FILE instead")
    predict = Predictor(setup_cfg(args, predicts=True))
    last: list[np.ndarray] = []
    problems: list[str] = []
    lines, counts = LineCollector(), FrameCounts()
    with open_source(args.input, args.fps, stop=lambda: bool(stop)) as source:
        first, frames = with_first_frame(source)
        size = first.size_wh
        lens = known_lens(args, size)

        def chosen() -> Any:
            for number, frame in enumerate(usable(frames, size, args.seconds, stop, problems)):
                lines.add(frame.image_bgr)
                if number % args.every == 0:
                    last[:] = [frame.image_bgr]
                    counts.add_frame(frame)
                    yield frame

        seen = chosen()
        if source.claimed:
            seconds = min(args.seconds or math.inf, (source.claimed - 1) / source.fps)
            seen = track(seen, 1 + int(seconds * source.fps) // args.every, "frames")
        observations = observe(predict, seen, lens.K, size, args.confidence)
        problems += source.problems()
    return SeenVideo(link_in_image(observations), last[0], lens, lines.lines(), problems, counts.frame_notes())


def calibrate(args: argparse.Namespace, stop: "StopRequest") -> list[str]:
    """Calibrate by what the options give, and write the folder; returns what was wrong with the video."""
    import numpy as np

    from d2road.engine.calibration_run import calibrate_by_all, write_calibration
    from d2road.traffic.calibration.observation_files import is_tracked, parse_length, read_observations, read_points
    from d2road.utils.image_io import read_pixels

    lengths = [parse_length(text) for text in args.length]
    observations, image, lines = None, read_pixels(args.image) if args.image else None, None
    problems: list[str] = []
    notes: list[str] = []
    if args.input:
        observations, image, lens, lines, problems, notes = observe_input(args, stop)
        for text in notes:  # said also where what came before tells no camera
            logger.warning(text)
        for text in problems:
            logger.error(text)
        size = observations.width, observations.height
    else:
        size = args.size or tracked_size(args.observations)
        lens = known_lens(args, size)
        if args.observations:
            from d2road.traffic.calibration.image_tracks import link_in_image

            observations = read_observations(args.observations, size[0], size[1], least_score=args.confidence)
            if (observations.rows["track"] < 0).all():
                observations = link_in_image(observations)
    if image is not None and (image.shape[1], image.shape[0]) != size:
        raise DataError(f"--image has {image.shape[1]}x{image.shape[0]} pixels, expected {size[0]}x{size[1]}")
    points = read_points(args.points) if args.points else None
    known = np.array(lengths).reshape(-1, 6)
    is_detected = bool(args.input or (args.observations and is_tracked(args.observations)))
    result = calibrate_by_all(observations, points, known, size, lens, args.fit_distortion, lines, is_detected)
    write_calibration(Path(args.output), result, image, notes)
    print(result.to_text())
    print(f"wrote {args.output}")
    return problems


def tracked_size(observations: str) -> tuple[int, int]:
    """Pixels of the images that the tracks of a folder were made of.

    Raises:
        ConfigError: nothing says so. DataError: its record cannot be read.
    """
    from d2road.data.tracked_camera import recorded_camera

    camera = recorded_camera(observations) if observations else None
    if camera is None:
        raise ConfigError("--size WxH is missing: without --input, say how many pixels the images have")
    return camera.width, camera.height


def watch_camera(args: argparse.Namespace, stop: "StopRequest") -> int:
    """Say whether the camera has moved; returns the exit code.

    Raises:
        ConfigError: options do not go together. FileNotFoundError, DataError: files that cannot be used.
    """
    from d2road.data.roadside_camera_files import read_roadside_camera
    from d2road.engine.camera_check import CameraCheck
    from d2road.engine.camera_check_run import check_recordings, good_paths, read_tracks, write_check
    from d2road.traffic.watch.alarm_table import moved_line
    from d2road.utils.image_io import read_pixels
    from d2road.utils.output_files import make_folder
    from d2road.video import open_source, with_first_frame
    from d2road.video.sources import recording_name

    if not args.calib:
        raise ConfigError("--watch needs --calib camera.yaml: the calibration that may not hold any more")
    if not (args.input or args.observations):
        raise ConfigError("--watch has nothing to look at: give --input VIDEO, --observations TRACKS, or both")
    if args.reference and not args.observations:
        raise ConfigError("--reference is compared with --observations TRACKS: give them too")
    camera = read_roadside_camera(args.calib)
    tracks = read_tracks(args.observations, camera, "--observations") if args.observations else ()
    paths = good_paths(args.reference, camera) if args.reference else None
    image = read_pixels(args.image) if args.image else None
    name = recording_name(args.input or args.observations)
    folder = make_folder(args.output)
    check = CameraCheck(camera, name, paths, image, lambda event: print(moved_line(event), flush=True))
    problems: list[str] = []
    if args.input:
        with open_source(args.input, args.fps, stop=lambda: bool(stop)) as source:
            first, frames = with_first_frame(source)
            camera.require_size(*first.size_wh)
            check_recordings(check, tracks, usable(frames, first.size_wh, args.seconds, stop, problems))
            problems += source.problems()
    else:
        check_recordings(check, tracks, ())
    write_check(folder, check)
    print(check.to_text())
    print(f"wrote {args.output}")
    for text in problems:
        logger.error(text)
    return 1 if problems else 0


def add_road(args: argparse.Namespace) -> None:
    """Add the road to a calibration, by the vehicles that were tracked with it.

    Raises:
        ConfigError: options do not go together. FileNotFoundError, DataError: files that cannot be used, or tracks that
            tell no lanes.
    """
    from dataclasses import replace

    import pandas as pd

    from d2road.data.roadside_camera_files import read_roadside_camera, write_camera_folder
    from d2road.engine.camera_check_run import read_tracks
    from d2road.traffic.calibration.road_estimate import estimate_road
    from d2road.utils.output_files import make_folder

    if not (args.calib and args.observations) or args.input:
        raise ConfigError("--road needs --calib camera.yaml and --observations, the tracks of `d2road track` by it")
    camera = read_roadside_camera(args.calib)
    blocks = [block.rows for block in read_tracks(args.observations, camera, "--observations")]
    found = estimate_road(pd.concat(blocks, ignore_index=True), camera)
    write_camera_folder(make_folder(args.output), replace(camera, road=found.road))
    print(found.to_text())
    print(f"wrote {args.output}")


def usable(
    frames: "Iterable[Frame]", size_wh: tuple[int, int], seconds: float | None, stop: "StopRequest", problems: list[str]
) -> "Iterator[Frame]":
    """Frames until a time, s, until somebody asks for the end, or up to one of another size, which `problems` tells."""
    for frame in frames:
        if stop or (seconds is not None and frame.t > seconds):
            return
        if frame.size_wh != size_wh:
            (width, height), before = frame.size_wh, f"{size_wh[0]}x{size_wh[1]}"
            problems.append(
                f"frame {frame.index} at {frame.t:.1f} s has {width}x{height} pixels, those before it {before}: those "
                "before it count alone"
            )
            return
        yield frame


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.traffic.events.stop_request import StopRequest

    stop = StopRequest()
    if args.road:
        start_console("d2road", verbose=args.verbose)
        add_road(args)
        return 0
    if args.watch:
        start_console("d2road", verbose=args.verbose)
        with stop.listening():
            code = watch_camera(args, stop)
        return stop.exit_code or code
    if args.reference:
        raise ConfigError("--reference goes with --watch: tracks that others are compared with")
    if not (args.input or args.observations or args.points):
        raise ConfigError("nothing to calibrate by: give --input VIDEO, --observations FILE or --points FILE")
    if args.input and args.observations:
        raise ConfigError("--input and --observations exclude each other: give one")
    from d2road.utils.output_files import make_folder

    start_console("d2road", verbose=args.verbose)
    make_folder(args.output)
    with stop.listening():
        problems = calibrate(args, stop)
    return stop.exit_code or (1 if problems else 0)


if __name__ == "__main__":
    sys.exit(main())
