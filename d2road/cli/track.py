"""Track the vehicles of a roadside video or stream in metres on the ground, and measure their speeds.

    d2road track --input clip.mp4 --calib camera.yaml --config-file CONFIG --weights MODEL.pth --output output/tracks
    d2road track --input rtsp://user:password@camera/stream --calib camera.yaml ... --output output/live
    d2road track --input clip.mp4 --calib camera.yaml --detections output/tracks --output output/again

INPUT is a video file, a folder of images (frames.csv with the columns frame,t in it, or --fps), an address (rtsp://,
http:// and others), a device (/dev/video0, 0), or FORMAT:NAME of a device of FFmpeg. --calib is the file of
`d2road calibrate-camera`, or KITTI's calibration with --denorm, the ground plane. Speeds come from presentation times:
dropped frames and uneven rates do not change them. --stride N looks at every N-th frame of a file. Of a stream the
newest frame is taken and others are dropped; a lost connection is made again, for --patience seconds. Ctrl-C and
SIGTERM end a run in order.

DIR gets annotated.mp4 (3D boxes, ids, speeds, the scene from above), tracks.csv and .parquet, tracks_mot.txt,
tracks_kitti.txt, trajectories.parquet for `d2road.traffic` where the calibration knows the road, detections.csv with
frames.csv, and summary.json: frames a second, and where the time went. --detections tracks again from a stored file,
without a model; without --input, too. --resume goes on with a file that was interrupted: its detections are not made
again.

Exit code 0; 1 where the video is cut off, changes its size or goes away (what came before is written); 2 for what you
can put right; 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.utils.arguments import ArgumentParser, add_verbose, verb_parser
from d2road.utils.console import start_console
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    from d2road.structures.roadside_camera import RoadsideCamera
    from d2road.traffic.tracking.detection_files import StoredDetections
    from d2road.video import Frame, FrameSource

logger = logging.getLogger("d2road.track")

NO_CALIBRATION = (
    "--calib is missing: metres and speeds need the camera's calibration; `d2road calibrate-camera` makes camera.yaml "
    "from a video"
)


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("track", __doc__)
    parser.add_argument("--input", default="", metavar="INPUT", help="video, folder of images, stream or device")
    parser.add_argument("--calib", default="", metavar="FILE", help="camera.yaml, or calibration with --denorm")
    parser.add_argument("--denorm", default="", metavar="FILE", help="ground plane a b c d, beside a calibration")
    parser.add_argument(
        "--scale-calib", action="store_true", help="the video is the calibrated view at another resolution"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for tracks, video and record")
    parser.add_argument("--detections", default="", metavar="FILE", help="of an earlier run, instead of a model")
    parser.add_argument(
        "--confidence", type=number_option(0, 1), metavar="S", help="least score that is kept (default: the tracker's)"
    )
    parser.add_argument("--fps", type=number_option(1e-3), metavar="N", help="of images without times")
    parser.add_argument("--seconds", type=number_option(0), metavar="S", help="end after so much of the video")
    add_stride(parser)
    parser.add_argument(
        "--patience", type=number_option(0), default=600.0, metavar="S", help="for a stream that is lost; 600"
    )
    parser.add_argument("--no-video", action="store_true", help="write no annotated video")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an interrupted run of a file")
    again.add_argument("--overwrite", action="store_true", help="replace an earlier run in DIR")
    add_verbose(parser)
    parser.add_config()
    return parser


def add_stride(parser: ArgumentParser) -> None:
    """The option for a model that is slower than the camera."""
    parser.add_argument(
        "--stride",
        type=integer_option(1),
        default=1,
        metavar="N",
        help="look at every N-th frame of a file or folder; 1",
    )


def read_calibration(args: argparse.Namespace, size_wh: tuple[int, int] | None) -> RoadsideCamera:
    """The camera of the options, for frames of a size; None where there are no frames.

    Raises:
        ConfigError: no calibration, or one without its ground plane. FileNotFoundError, DataError: files that are not
            there or hold none, or one of another image size.
    """
    from d2road.data.roadside_camera_files import camera_from_text_files, read_roadside_camera

    if not args.calib:
        raise ConfigError(NO_CALIBRATION)
    path = Path(args.calib)
    if path.suffix.lower() in (".yaml", ".yml") or path.is_dir():
        return read_roadside_camera(path, size_wh, args.scale_calib)
    if not args.denorm or size_wh is None:
        raise ConfigError(f"--calib {path} has no ground plane and no image size: give --denorm FILE and --input, too")
    return camera_from_text_files(path, args.denorm, size_wh)


def open_frames(args: argparse.Namespace, stored: StoredDetections | None, stop: Any) -> FrameSource:
    """The source of frames; times alone where there is no --input."""
    from d2road.engine.stored_frames import StoredFrames
    from d2road.video import open_source
    from d2road.video.strided_source import StridedSource

    if not args.input and stored is None:
        raise ConfigError("--input is missing: give a video, a folder, a stream or a device")
    source: FrameSource
    if args.input:
        source = open_source(args.input, args.fps, args.patience, lambda: bool(stop))
    else:
        assert stored is not None
        source = StoredFrames(args.detections, stored.times)
    return StridedSource(source, args.stride) if args.stride > 1 else source


def settings_of(args: argparse.Namespace, camera: RoadsideCamera) -> dict[str, Any]:
    """What decides about detections, for a run that goes on with them."""
    from d2road.video.sources import shown_name

    return {
        "input": shown_name(args.input),
        "camera": camera.digest,
        "config": args.config_file,
        "options": list(args.opts),
        "detections": args.detections,
        "confidence": args.confidence,
        "stride": args.stride,
    }


def earlier_detections(args: argparse.Namespace, settings: dict[str, Any]) -> StoredDetections | None:
    """Those of the run that --resume goes on with; None for a new one.

    Raises:
        ConfigError: the folder holds a run and neither --resume nor --overwrite is given, or one of other settings.
    """
    from d2road.data.tracked_camera import SUMMARY
    from d2road.traffic.tracking.detection_files import DETECTIONS, read_detections
    from d2road.utils.input_files import read_json

    folder = Path(args.output)
    if not (folder / SUMMARY).exists():
        return None
    if not (args.resume or args.overwrite):
        raise ConfigError(f"--output {folder} holds a run: go on with it by --resume, or replace it by --overwrite")
    if not args.resume or not (folder / DETECTIONS).exists():
        return None
    before = read_json(folder / SUMMARY, "record").get("settings", {})
    differs = [name for name, value in settings.items() if before.get(name) != value]
    if differs:
        told = ", ".join(f"{name} {before.get(name)!r} there, {settings[name]!r} now" for name in differs)
        raise ConfigError(f"--resume: {folder} is a run of other settings ({told}): take another --output")
    return read_detections(folder)


def limited(frames: Iterator[Frame], seconds: float | None) -> Iterator[Frame]:
    """Frames up to a time, s."""
    for frame in frames:
        if seconds is not None and frame.t > seconds:
            return
        yield frame


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Track; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.utils.run_lock import lock_folder

    start_console("d2road", verbose=args.verbose)
    if not args.calib:
        read_calibration(args, None)  # says so before anything is opened
    stop = StopRequest()
    with ExitStack() as stack:
        stack.enter_context(stop.listening())
        stack.enter_context(lock_folder(args.output, "tracking", "choose another --output"))
        record = run(args, stop)
    logger.info(told(record, args.output))
    for text in record["notes"]:
        logger.warning(text)
    for text in record["problems"]:
        logger.error(text)
    return stop.exit_code or (1 if record["problems"] else 0)


def run(args: argparse.Namespace, stop: Any) -> dict[str, Any]:
    """The run that a command line asks for; returns its record."""
    from d2road.data.tracked_camera import camera_of_tracks
    from d2road.engine.ground_detector import GroundDetector, StoredDetector
    from d2road.engine.track_run import TrackRun
    from d2road.traffic.tracking.detection_files import read_detections
    from d2road.traffic.tracking.tracker_options import TrackerOptions
    from d2road.video import with_first_frame

    if args.confidence is None:
        args.confidence = TrackerOptions().low_score
    given = read_detections(args.detections) if args.detections else None
    if given is None and not args.config_file:
        raise ConfigError("--config-file is missing: of the detector, or give --detections of an earlier run")
    with open_frames(args, given, stop) as source:
        first, frames = with_first_frame(source)
        camera = read_calibration(args, first.size_wh if first.image_bgr.size else None)
        if given is not None:
            camera = camera_of_tracks(args.detections, camera, "--detections")
        settings = settings_of(args, camera)
        if source.is_live and args.resume:
            raise ConfigError("--resume: a stream does not come again; take another --output, or --overwrite")
        earlier = earlier_detections(args, settings)
        model = load_detector(args, camera) if given is None else None
        detect: Any = StoredDetector(given or earlier, camera, model) if given or earlier else model  # type: ignore[arg-type]
        tracking = TrackRun(
            Path(args.output),
            source,
            camera,
            detect,
            settings,
            draws=not args.no_video and bool(first.image_bgr.size),
            stored=earlier,
            stop=lambda: bool(stop),
            highest_score=lambda: model.highest if isinstance(model, GroundDetector) else None,
        )
        return tracking.run(limited(frames, args.seconds))


def load_detector(args: argparse.Namespace, camera: RoadsideCamera) -> Any:
    """The model of --config-file and --weights, for a camera."""
    from d2road.engine import Predictor
    from d2road.engine.ground_detector import GroundDetector
    from d2road.engine.predictor import read_config

    return GroundDetector(Predictor(read_config(args.config_file, opts=args.opts)), camera, args.confidence)


def told(record: dict[str, Any], folder: str) -> str:
    """What a run found, in a line."""
    shares = {name: share for name, share in record["stage_share"].items() if share >= 0.005}
    times = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
    return (
        f"{record['frames']} frames ({record['video_seconds']:.1f} s), {record['tracks']} vehicles, "
        f"{record['frames_per_second']:.1f} frames/s ({times}); {record['state']}, in {folder}"
    )


if __name__ == "__main__":
    sys.exit(main())
