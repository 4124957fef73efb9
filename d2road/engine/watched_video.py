"""A video that is watched: its tracks as they become final, its frames for clips, its tracks on the disk.

Tracks are final some seconds after their instant, when no later frame changes them any more; for a watch these are few,
so that an alarm about who stands does not wait until it drives on.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from d2road.engine.ground_detector import Detect
from d2road.engine.track_summary import TrackCounts
from d2road.engine.video_tracking import VideoTracking
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.readers.growing_file import StoppedError
from d2road.traffic.time_space.window_grid import Tick
from d2road.traffic.tracking.camera_detections import in_view
from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.track_files import TrackFiles
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.errors import DataError
from d2road.video.clip_buffer import ClipBuffer
from d2road.video.frame import Frame

WATCHING = TrackerOptions(lost_s=2.0, lag_s=2.5, history_s=3.0)
TAKE_S = 0.5
# Rows that are as old as this have been given out, whatever the tracker still holds.
FINAL_S = WATCHING.history_s + TAKE_S + 0.2


class WatchedVideo:
    """Tracks of a video in blocks, for `d2road.traffic.watch.track_source.TrackSource`.

    Args:
        frames: with rising times. camera: of them. detect: finds vehicles.
        folder: that the tracks are written to, below a name that is free.
        recording: name of the video.
        stop: asked after each frame whether to end.

    Attributes:
        problems: why it ended before its frames did, in words.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        camera: RoadsideCamera,
        detect: Detect,
        folder: Path,
        recording: str,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.camera, self.stop, self.clips = camera, stop, ClipBuffer()
        self.tracking = VideoTracking(
            frames, detect, GroundKalmanTracker(WATCHING, lambda points: in_view(camera, points)), TAKE_S
        )
        self.folder = next(path for i in count(1) if not (path := folder / f"tracks_{i:03d}").exists())
        self.recording, self.counts = recording, TrackCounts()
        self.problems: list[str] = []

    def blocks(self) -> Iterator[GroundTracks | Tick]:
        """Final tracks in order of time, and how far the video is.

        Raises:
            StoppedError: `stop` asks for the end; the tracks up to there are on the disk.
        """
        files = TrackFiles(self.folder, self.camera, self.recording)
        told = float("-inf")
        try:
            for step in self.tracking:
                self.clips.add(step.frame)
                self.counts.add(step)
                if len(step.finished):
                    self._write(files, step.finished)
                    yield step.finished
                if step.frame.t - FINAL_S >= told + TAKE_S:
                    told = step.frame.t - FINAL_S
                    yield Tick(told)
                if self.stop():
                    raise StoppedError
        except DataError as error:  # of a frame: what came before it is watched to its end
            self.problems.append(f"after {self.counts.frames} frames: {error}")
        finally:
            rest = self.tracking.finish()
            self._write(files, rest)
            files.close()
        if len(rest):
            yield rest

    def _write(self, files: TrackFiles, tracks: GroundTracks) -> None:
        files.add(tracks)
        self.counts.rows += len(tracks)
        self.counts.ids.update(tracks.ids)

    def record(self) -> dict[str, Any]:
        """What was counted until now, as `d2road.engine.track_summary.summary` names it."""
        counts = self.counts
        return {
            "tracks_folder": self.folder.name,
            "frames": counts.frames,
            "video_seconds": round(counts.seconds, 3),
            "detections": counts.detections,
            "tracks": len(counts.ids),
            "stage_seconds": {name: round(value, 3) for name, value in self.tracking.times.seconds.items()},
            "notes": counts.notes(None),
        }
