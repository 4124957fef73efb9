"""A tracking run and its folder: frames in; detections, tracks, an annotated video and a record out.

    annotated.mp4    3D boxes with ids and speeds, the scene from above beside them
    tracks.*, tracks_mot.txt, tracks_kitti.txt, trajectories.parquet   see `d2road.traffic.tracking.track_files`
    detections.csv, frames.csv   what the detector found, to track again without it
    summary.json     state, counts, rates, where the time went, what was wrong

All but the Parquet files grow while it runs, so that a killed run leaves what it had.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from d2road.data.roadside_camera_files import camera_mapping
from d2road.data.tracked_camera import SUMMARY
from d2road.engine.ground_detector import Detect, PinholeView
from d2road.engine.track_summary import COMPLETE, FAILED, RUNNING, STOPPED, TrackCounts, summary
from d2road.engine.video_tracking import TrackedFrame, VideoTracking
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.structures.upright_boxes import box_corners
from d2road.traffic.tracking.camera_detections import in_view
from d2road.traffic.tracking.detection_files import DetectionWriter, StoredDetections
from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.track_files import TrackFiles
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.environment import now, run_environment
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_json
from d2road.utils.progress import format_progress
from d2road.video import Frame, FrameSource, VideoWriter
from d2road.video.background_watch import BackgroundWatch
from d2road.video.sources import recording_name
from d2road.visualization import fit_view
from d2road.visualization.bev_drawing import draw_background
from d2road.visualization.tracks_drawing import DrawnTracks, draw_tracks, track_label

logger = logging.getLogger(__name__)

VIDEO = "annotated.mp4"
RANGE_M = 100.0  # of the view from above
TELL_EVERY_S = 10.0


class TracksDrawer:
    """Draws the tracks of frames of one camera."""

    def __init__(self, camera: RoadsideCamera):
        self.pinhole_view = PinholeView(camera)
        self.camera = self.pinhole_view.camera
        size = (camera.width, camera.height)
        self.bev = fit_view(camera.height, self.camera.pinhole, size, range_m=RANGE_M)
        self.background = draw_background(self.bev, self.camera.pinhole, size)

    def __call__(self, step: TrackedFrame) -> np.ndarray:
        """(H, W', 3) uint8 BGR."""
        rows = step.tracks.rows
        place = self.camera.ground_to_camera(np.pad(rows[["x", "y"]].to_numpy(), ((0, 0), (0, 1))))
        ry = self.camera.ry_of_heading(rows["heading"].to_numpy())
        sizes = rows[["height", "width", "length"]].to_numpy()
        corners = box_corners(place, sizes, ry, self.camera.pinhole.ground_rotation())
        labels = [track_label(*row) for row in zip(rows["track"], rows["cls"], rows["speed"], rows["motion"])]
        drawn = DrawnTracks(rows["track"].to_numpy(), labels, corners, rows[["x1", "y1", "x2", "y2"]].to_numpy())
        image = self.pinhole_view(step.frame.image_bgr)
        return np.ascontiguousarray(
            draw_tracks(image[:, :, ::-1], drawn, self.camera.pinhole, self.bev, self.background)[:, :, ::-1]
        )


class TrackRun:
    """One run of tracking.

    Args:
        folder: that is there, and locked by the caller.
        source: of the frames, for its name, rate and problems.
        camera: of the frames.
        detect: finds vehicles.
        settings: that decide what is found.
        options: of the tracker.
        draws: whether to write the annotated video.
        stored: detections of an earlier run that are kept.
        stop: asked after each frame whether to end.
        highest_score: asked at the end for the highest score that the model saw.
    """

    def __init__(
        self,
        folder: Path,
        source: FrameSource,
        camera: RoadsideCamera,
        detect: Detect,
        settings: Mapping[str, Any],
        options: TrackerOptions | None = None,
        draws: bool = True,
        stored: StoredDetections | None = None,
        stop: Callable[[], bool] = lambda: False,
        highest_score: Callable[[], float | None] = lambda: None,
    ):
        self.folder, self.source, self.camera, self.settings = folder, source, camera, settings
        self.detect, self.stored, self.stop, self.highest_score = detect, stored, stop, highest_score
        self.tracker = GroundKalmanTracker(options, lambda points: in_view(camera, points))
        self.draw = TracksDrawer(camera) if draws else None
        self.counts, self.background = TrackCounts(), BackgroundWatch(camera)
        self.problems: list[str] = []
        self._started = self._told = self._processor = 0.0
        self._about: dict[str, Any] = {}

    def run(self, frames: Iterable[Frame]) -> dict[str, Any]:
        """Track to the end, or until `stop`; returns the record, which is in summary.json too.

        Args:
            frames: of the source.
        Raises:
            OutputError: a file cannot be written; what was written is kept.
        """
        tracking = VideoTracking(frames, self.detect, self.tracker)
        self._started = self._told = time.monotonic()
        self._processor = time.process_time()
        self._about = {"started": now(), "camera": camera_mapping(self.camera), "environment": run_environment()}
        with ExitStack() as stack:
            tracks = TrackFiles(self.folder, self.camera, recording_name(self.source.name), overwrite=True)
            detections = DetectionWriter(self.folder, self.stored)
            video = stack.enter_context(VideoWriter(self.folder / VIDEO, self.source.fps, keep_partial=True))
            self._write_summary(RUNNING, tracking)
            try:
                for step in tracking:
                    self._take(step, tracking, tracks, detections, video)
                    if self.stop():
                        break
            except DataError as error:  # of a frame: what came before it stays
                self.problems.append(f"after {self.counts.frames} frames: {error}")
            with tracking.times.stage("write"):
                detections.flush()
                self._add_tracks(tracks, tracking.finish())
                tracks.close()
        self.problems += self.source.problems()
        return self._write_summary(STOPPED if self.stop() else FAILED if self.problems else COMPLETE, tracking)

    def _take(
        self,
        step: TrackedFrame,
        tracking: VideoTracking,
        tracks: TrackFiles,
        detections: DetectionWriter,
        video: VideoWriter,
    ) -> None:
        times = tracking.times
        self.counts.add(step)
        if step.frame.image_bgr.size:  # else its time alone is known
            self.background.add(step.frame.image_bgr, step.frame.t)
        with times.stage("write"):
            detections.add(step.frame.index, step.frame.t, step.detections)
            self._add_tracks(tracks, step.finished)
        if self.draw is not None:
            with times.stage("draw"):
                image = self.draw(step)
            with times.stage("encode"):
                video.write(image, step.frame.t)
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(step)
            self._write_summary(RUNNING, tracking)

    def _add_tracks(self, files: TrackFiles, tracks: GroundTracks) -> None:
        files.add(tracks)
        self.counts.rows += len(tracks)
        self.counts.ids.update(tracks.ids)

    def _tell(self, step: TrackedFrame) -> None:
        elapsed, done = time.monotonic() - self._started, self.counts.frames
        if self.source.claimed:
            text = format_progress("frames", done, max(done, self.source.claimed), elapsed)
        else:
            text = f"frames {done} {done / elapsed:.1f}/s"
        logger.info("%s, at %.1f s of the video, %d vehicles", text, step.frame.t, len(step.tracks))

    def _write_summary(self, state: str, tracking: VideoTracking) -> dict[str, Any]:
        record = summary(
            state,
            self.counts,
            tracking.times.seconds,
            time.monotonic() - self._started,
            self.settings,
            problems=self.problems,
            notes=[*self.counts.notes(self.highest_score()), *self.background.notes()],
            source=self.source.statistics(),
            processor_seconds=round(time.process_time() - self._processor, 3),
            **self._about,
        )
        write_json(self.folder / SUMMARY, record)
        return record
