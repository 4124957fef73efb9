"""The tab Video: a short clip of a calibrated roadside camera to tracks and speeds, as `d2road track` finds them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.engine.ground_detector import GroundDetector
from d2road.engine.track_run import VIDEO, TrackRun
from d2road.report.video_figures import paths_from_above
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.track_files import CSV, read_track_blocks
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.traffic.tracking.vehicle_summary import VEHICLE_COLUMNS, summarize_vehicles
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_json
from d2road.video import Frame, VideoFile, with_first_frame
from d2road.web.result_files import ResultFolders, result_stem, write_table
from d2road.web.served_model import ServedModel
from d2road.web.uploads import UploadLimits

VIDEO_TYPES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
CALIBRATION_TYPES = (".yaml", ".yml")
TABLE_COLUMNS = ("track", "cls", "lane", "start_s", "end_s", "speed_kmh", "speed_sd_kmh", "standing_s")
CUT = "cut a shorter one, or use d2road track"

# (frames done, frames in all or 0 where nobody knows) of a request that is worked on.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class VideoUpload:
    """What a request brings: a clip, the camera.yaml of its camera, and the lowest score of a detection, None for the
    tracker's own."""

    video: Path
    calibration: Path
    confidence: float | None = None


@dataclass(frozen=True)
class VideoResult:
    """text: in words; video: annotated; above: all tracks from above; rows: of the table, by TABLE_COLUMNS; files: for
    downloading."""

    text: str
    video: Path
    above: Path
    rows: list[list[str]]
    files: list[Path]


def track_upload(
    model: ServedModel,
    upload: VideoUpload,
    limits: UploadLimits,
    folders: ResultFolders,
    progress: Progress = lambda done, total: None,
) -> VideoResult:
    """Track the vehicles of an uploaded clip.

    Raises:
        D2RoadError, OSError: the clip, its calibration or the model's files cannot be used, or it is too long.
    """
    for path in (upload.video, upload.calibration):
        limits.check_file(path)
    confidence = TrackerOptions().low_score if upload.confidence is None else upload.confidence
    if not 0 <= confidence <= 1:
        raise ConfigError(f"the lowest score is {confidence:g}, expected 0 to 1, or none for the tracker's own")
    folder = folders.new()
    with open_clip(upload.video) as source:
        check_length(source, limits)
        first, frames = with_first_frame(source, "")
        check_size(first, limits, upload.video.name)
        camera = read_roadside_camera(upload.calibration, first.size_wh)
        settings = {"input": upload.video.name, "config": model.config_file, "confidence": confidence}
        with model.alone() as predict:
            detect = GroundDetector(predict, camera, confidence)
            run = TrackRun(folder, source, camera, detect, settings, highest_score=lambda: detect.highest)
            record = run.run(counted(frames, source, limits, progress))
    if not record["frames"]:
        raise DataError(f"{upload.video.name}: {'; '.join(record['problems'])}")
    return _written(upload, folder, camera, record)


def open_clip(path: Path) -> VideoFile:
    """An uploaded clip, called by its name alone.

    Raises:
        DataError: it is no video.
    """
    try:
        source = VideoFile(path)
    except DataError as error:
        raise DataError(f"{path.name} {error}") from error
    source.name = path.name
    return source


def check_length(source: VideoFile, limits: UploadLimits) -> None:
    """Raise DataError for a clip that its container says is too long."""
    duration = source.decoder.duration_s
    if duration > limits.max_seconds + 1 / source.fps:
        raise DataError(f"{source.name} lasts {duration:.1f} s, at most {limits.max_seconds:g} s are taken: {CUT}")
    if source.claimed > limits.max_frames:
        raise DataError(f"{source.name} has {source.claimed} frames, at most {limits.max_frames} are taken: {CUT}")


def check_size(frame: Frame, limits: UploadLimits, name: str) -> None:
    """Raise DataError for frames that are too large."""
    width, height = frame.size_wh
    if width * height > limits.max_pixels:
        raise DataError(
            f"{name} has {width}x{height} pixels, at most {limits.max_pixels / 1e6:.3g} million are taken: shrink it, "
            "or use d2road track"
        )


def counted(frames: Iterator[Frame], source: VideoFile, limits: UploadLimits, progress: Progress) -> Iterator[Frame]:
    """The frames, with progress.

    Raises:
        DataError: there are more than a request may bring, which its container did not say.
    """
    for number, frame in enumerate(frames):
        if frame.t > limits.max_seconds or number >= limits.max_frames:
            raise DataError(
                f"{source.name} goes on after {frame.t:.1f} s and {number} frames, at most {limits.max_seconds:g} s "
                f"and {limits.max_frames} frames are taken: {CUT}"
            )
        progress(number, source.claimed)
        yield frame


def _written(upload: VideoUpload, folder: Path, camera: RoadsideCamera, record: dict[str, Any]) -> VideoResult:
    """Table, pictures and files of a run that has ended."""
    tracks = concat(list(read_track_blocks(folder / CSV)))
    vehicles = vehicles_of(tracks, camera)
    stem = result_stem(upload.video)
    table, listed, above = (folder / f"{stem}_{name}" for name in ("vehicles.csv", "vehicles.json", "from_above.png"))
    rows = [{key: _plain(value) for key, value in row.items()} for row in vehicles.to_dict("records")]
    write_table(table, rows, VEHICLE_COLUMNS)
    write_json(listed, rows)
    write_image(above, paths_from_above(tracks, camera))
    video = (folder / VIDEO).rename(folder / f"{stem}_annotated.mp4")
    shown = [[_cell(row[name]) for name in TABLE_COLUMNS] for row in rows]
    files = [video, above, table, listed, (folder / CSV).rename(folder / f"{stem}_tracks.csv")]
    return VideoResult(_told(record), video, above, shown, files)


def vehicles_of(tracks: GroundTracks, camera: RoadsideCamera) -> pd.DataFrame:
    """`summarize_vehicles` with lanes where the camera knows them."""
    road = camera.road
    known = road is not None and len(road.directions)
    return summarize_vehicles(tracks, to_trajectories(tracks, road, "clip") if known and road is not None else None)


def _plain(value: Any) -> Any:
    """A value as JSON holds it: three digits behind the point, None for what is not known."""
    if isinstance(value, float):
        return round(value, 3) if value == value else None
    return value.item() if hasattr(value, "item") else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _told(record: dict[str, Any]) -> str:
    text = (
        f"{record['tracks']} vehicles in {record['frames']} frames ({record['video_seconds']:.1f} s), "
        f"{record['frames_per_second']:.1f} frames a second"
    )
    return ". ".join([text, *record["notes"], *(f"Attention: {problem}" for problem in record["problems"])])
