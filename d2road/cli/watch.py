"""Watch a roadside camera: alarms with time, place, vehicles, image, clip and one sentence each.

    d2road watch --input tracks/ --calib camera.yaml --calibration rules.json --output watched \\
        --sink mqtt://broker/road/alarms --sink https://example.org/alarms
    d2road watch --input traffic.mp4 --calib camera.yaml --config-file CONFIG --weights MODEL --calibration rules.json

INPUT is a folder that `d2road track` wrote, its tracks.csv, or any trajectories along the camera's road (READER:PATH);
with a detector (--config-file) or --detections of an earlier run it is a video, a folder of images, a stream or a
device. Recorded tracks and a camera that runs go the same way: windows of what this camera sees, rules and a learned
forecast at its scale, alarms.

CALIB is the camera's calibration with its road (docs/watch.md). A threshold comes from good traffic of this camera:

    d2road watch --calib camera.yaml --good GOOD_TRACKS --input MORE_GOOD_TRACKS --calibrate rules.json --rate 1

counts on at least 10 hours the lowest one with at most --rate false alarms an hour; a calibration holds the rules too.
Without one, --good fits the rules and extrapolates, a first guess.

OUTPUT/alarms.jsonl has every alarm before anybody is told of it, OUTPUT/alarms.csv the same as a table, images/ and
clips/ what they show, watch.json what was watched, tracks_001/ (and so on, run by run) the tracks of a video;
`d2road report OUTPUT` makes one page of it. --sink hands alarms to an MQTT broker
or a webhook besides, each at least once and in order, also when nobody answers for a while or the run is killed: the
same command with the same output goes on. Of a video it is watched whether the camera itself moves, by its background
and by the paths of vehicles (against those of --reference, a folder of `d2road track`): a line that begins with MOVED,
and a record of kind camera_moved among the alarms. The exit code is 0 at the end of the input, 1 where a video was
damaged, 130 after Ctrl-C, 143 after SIGTERM, 2 for what cannot be used.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.cli.score_stream import calibration_path, shipped_calibration
from d2road.cli.track import NO_CALIBRATION, add_stride
from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import number_option

if TYPE_CHECKING:
    from d2road.structures.roadside_camera import RoadsideCamera
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.traffic.events.stream_options import StreamOptions
    from d2road.traffic.watch.camera_watch import CameraWatch, ClipWriter
    from d2road.traffic.watch.delivery import AlarmReceiver
    from d2road.traffic.watch.track_source import TrackSource

OUTPUT = Path("output/watch")

logger = logging.getLogger("d2road.watch")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("watch", __doc__)
    parser.add_argument("--input", required=True, metavar="INPUT", help="tracks, trajectories, a video or a stream")
    parser.add_argument("--calib", default="", metavar="FILE", help="camera.yaml, or its folder")
    parser.add_argument(
        "--scale-calib", action="store_true", help="the video is the calibrated view at another resolution"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help=f"folder of the alarms; {OUTPUT}")
    parser.add_argument("--good", action="append", default=[], metavar="INPUT", help="good tracks to fit rules on")
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=number_option(), help="a window that scores above it alarms")
    threshold.add_argument(
        "--calibration", type=calibration_path, metavar="FILE", help="that --calibrate wrote, or zoo:NAME"
    )
    threshold.add_argument("--calibrate", type=Path, metavar="FILE", help="write a threshold from these good tracks")
    parser.add_argument(
        "--rate", type=number_option(1e-6), default=1.0, help="false alarms an hour that --calibrate allows; 1"
    )
    parser.add_argument("--scores", type=Path, metavar="FILE", help="write the score of every window as CSV")
    parser.add_argument("--sink", action="append", default=[], metavar="ADDRESS", help="mqtt:// or http(s):// address")
    parser.add_argument("--video", type=Path, metavar="FILE", help="of recorded tracks, to cut clips from")
    parser.add_argument("--detections", default="", metavar="FILE", help="of an earlier run, instead of a model")
    parser.add_argument(
        "--confidence", type=number_option(0, 1), default=0.08, metavar="S", help="least score that is kept; 0.08"
    )
    parser.add_argument("--fps", type=number_option(1e-3), metavar="N", help="of images without times")
    add_stride(parser)
    parser.add_argument(
        "--patience", type=number_option(0), default=600.0, metavar="S", help="for a stream that is lost; 600"
    )
    parser.add_argument(
        "--reference", default="", metavar="TRACKS", help="of a video: tracks of when the camera stood right"
    )
    parser.add_argument("--near", type=number_option(0), default=10.0, help="m; vehicles are looked at from there; 10")
    parser.add_argument("--far", type=number_option(1), default=80.0, help="m; and up to there; 80")
    parser.add_config()
    parser.set_defaults(denorm="")
    return parser


def options_of(args: argparse.Namespace) -> StreamOptions:
    """The run over the stream that a command line asks for.

    Raises:
        ConfigError: options do not go together.
    """
    from d2road.traffic.events.stream_options import RULES_CAMERA, StreamOptions

    calibration = shipped_calibration(args.calibration) or args.calibration
    return StreamOptions(
        input=args.input, method=RULES_CAMERA, good=tuple(trajectories_of(one) for one in args.good),
        threshold=args.threshold, calibration=calibration, calibrate=args.calibrate, rate=args.rate, scores=args.scores,
    )  # fmt: skip


def trajectories_of(text: str) -> str:
    """What a reader of trajectories reads: of a folder that `d2road track` wrote its trajectories."""
    from d2road.traffic.tracking.track_files import TRAJECTORIES

    folder = Path(text)
    return str(folder / TRAJECTORIES) if (folder / TRAJECTORIES).is_file() else text


def tracks_of(text: str, camera: RoadsideCamera) -> TrackSource | None:
    """The tracks that an input names, None for trajectories.

    Raises:
        FileNotFoundError, DataError: they cannot be read.
    """
    from d2road.traffic.tracking.track_files import CSV, TRAJECTORIES, read_track_blocks
    from d2road.traffic.watch.track_source import TrackSource

    path = Path(text)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (path / CSV).is_file() and not (path / TRAJECTORIES).is_file():
        path = path / CSV  # of a run that was killed
    if path.name != CSV or not path.is_file():
        return None
    assert camera.road is not None, "the watch asked for it"
    return TrackSource(folder.name, read_track_blocks(path), camera.road)


def receivers_of(addresses: Sequence[str]) -> list[AlarmReceiver]:
    """Who is told of alarms.

    Raises:
        ConfigError: an address is of no such kind, or stands there twice.
    """
    from d2road.traffic.watch.mqtt_sink import MqttSink
    from d2road.traffic.watch.webhook import Webhook

    found: list[AlarmReceiver] = []
    for address in addresses:
        scheme = address.partition("://")[0]
        if scheme in ("mqtt", "mqtts"):
            found.append(MqttSink(address))
        elif scheme in ("http", "https"):
            found.append(Webhook(address))
        else:
            raise ConfigError(f"--sink takes mqtt://, mqtts://, http:// or https://, got {scheme[:20]!r}")
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ConfigError("--sink: one address stands there twice; leave one out")
    return found


def clips_of(video: Path | None) -> ClipWriter | None:
    """What cuts clips of a video.

    Raises:
        FileNotFoundError: there is no such video.
    """
    if video is None:
        return None
    if not video.is_file():
        raise FileNotFoundError(f"--video {video} does not exist: clips of alarms are cut from it")
    from d2road.video.clip_cutter import cut_clip

    return lambda start_s, end_s, path: cut_clip(video, start_s, end_s, path) > 0


def watch_of(
    args: argparse.Namespace,
    camera: RoadsideCamera,
    clip: ClipWriter | None,
    counts: Callable[[], Mapping[str, Any]] = dict,
) -> CameraWatch:
    """The watch that a command line asks for, checked before anything is read.

    Args:
        counts: of the input, for the record.
    Raises:
        ConfigError, DataError: the sinks or the camera cannot be used.
    """
    from d2road.data.roadside_camera_files import camera_mapping
    from d2road.traffic.watch.camera_watch import CameraWatch
    from d2road.traffic.watch.watch_record import WatchAbout
    from d2road.video.sources import shown_name

    names = ("config_file", "opts", "detections", "confidence", "stride", "near", "far")
    settings = {name: getattr(args, name) for name in names}
    video = None if args.video is None else str(args.video)
    about = {"input": shown_name(args.input), "video": video, "settings": settings, "camera": camera_mapping(camera)}
    watch = CameraWatch(
        camera, args.output, receivers_of(args.sink), clip, args.near, args.far, about=WatchAbout(about, counts)
    )
    watch.grid()
    return watch


def watch_tracks(args: argparse.Namespace, stop: StopRequest) -> int:
    """Watch recorded tracks; returns the exit code."""
    from d2road.data.roadside_camera_files import read_roadside_camera
    from d2road.data.tracked_camera import camera_of_tracks

    camera = camera_of_tracks(args.input, read_roadside_camera(args.calib), "--input")
    for good in args.good:
        camera_of_tracks(good, camera, "--good")
    watch = watch_of(args, camera, clips_of(args.video))
    source = tracks_of(args.input, camera)
    args.input = trajectories_of(args.input)
    return watch.run(options_of(args), source, stop)


def watch_video(args: argparse.Namespace, stop: StopRequest) -> int:
    """Detect, track and watch a video or a stream; returns the exit code."""
    from d2road.cli.track import load_detector, open_frames, read_calibration
    from d2road.data.tracked_camera import camera_of_tracks
    from d2road.engine.camera_check import CameraCheck
    from d2road.engine.camera_check_run import checked_blocks, checked_frames, good_paths
    from d2road.engine.ground_detector import StoredDetector
    from d2road.engine.watched_video import WatchedVideo
    from d2road.traffic.tracking.detection_files import read_detections
    from d2road.traffic.watch.track_source import TrackSource
    from d2road.video import with_first_frame
    from d2road.video.sources import recording_name

    video_input, args.input = args.input, "csv:video"  # of no reader: it comes from the tracker
    options = options_of(args)
    args.input = video_input
    given = read_detections(args.detections) if args.detections else None
    with open_frames(args, given, stop) as source:
        first, frames = with_first_frame(source)
        camera = read_calibration(args, first.size_wh)
        if given is not None:
            camera_of_tracks(args.detections, camera, "--detections")
        for good in args.good:
            camera_of_tracks(good, camera, "--good")
        detect = load_detector(args, camera) if given is None else StoredDetector(given, camera)
        name = recording_name(args.input)
        check = CameraCheck(camera, name, good_paths(args.reference, camera) if args.reference else None)
        seen = checked_frames(check, frames)
        video = WatchedVideo(seen, camera, detect, args.output, name, lambda: bool(stop))

        def problems() -> list[str]:
            return [*video.problems, *source.problems()]

        def counts() -> Mapping[str, Any]:
            seen = video.record()
            notes = [*seen["notes"], *check.background.notes()]
            return {**seen, "notes": notes, "problems": problems()}

        watch = watch_of(args, camera, video.clips.write, counts)
        watch = replace(watch, check=check)
        assert camera.road is not None, "the watch asked for it"
        code = watch.run(options, TrackSource(name, checked_blocks(check, video.blocks()), camera.road), stop)
        for note in check.background.notes():
            logger.warning(note)
        for problem in problems():
            logger.error(problem)
        return code or (1 if problems() else 0)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Watch, tell, write; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.traffic.readers.growing_file import StoppedError

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    if args.reference and not (args.config_file or args.detections):
        raise ConfigError(
            "--reference goes with a video; of recorded tracks: d2road calibrate-camera --watch --observations TRACKS"
        )
    if not args.calib:
        raise ConfigError(NO_CALIBRATION)
    if not args.near < args.far:
        raise ConfigError(f"--near is {args.near:g} m and --far {args.far:g} m: expected the first one smaller")
    stop = StopRequest()
    with stop.listening():
        try:
            is_video = args.config_file or args.detections
            return watch_video(args, stop) if is_video else watch_tracks(args, stop)
        except StoppedError:  # while rules were fitted: there is nothing to save
            return stop.exit_code


if __name__ == "__main__":
    sys.exit(main())
