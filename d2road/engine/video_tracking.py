"""Detection and tracking of a video, frame by frame: one path for files, streams and stored detections.

    for step in VideoTracking(source, detect, tracker):
        step.frame, step.detections, step.tracks, step.finished

It prints and writes nothing; `track_run` and other programs wrap it.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from d2road.engine.ground_detector import Detect
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.tracker import Tracker
from d2road.video.frame import Frame


class StageTimes:
    """Seconds that the stages of a program took, by name; stages are not nested."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True)
class TrackedFrame:
    """A frame with what is known once it was seen.

    Args:
        detections: of this frame.
        tracks: confirmed tracks at its time, from what has been seen until now; for live drawing.
        finished: smoothed rows of this and earlier frames that nothing changes any more, each given once.
    """

    frame: Frame
    detections: GroundDetections
    tracks: GroundTracks
    finished: GroundTracks


class VideoTracking:
    """Iterates a video's frames with detections and tracks; `finish` has what is left after it.

    Args:
        frames: with rising times.
        detect: finds vehicles on the ground.
        tracker: one for this video.
        take_every_s: of the video, between the times when finished rows are taken.

    Attributes:
        times: seconds of the stages decode (or waiting for a stream), detect and track; callers add theirs.
    """

    def __init__(self, frames: Iterable[Frame], detect: Detect, tracker: Tracker, take_every_s: float = 1.0):
        self.frames, self.detect, self.tracker, self.take_every_s = frames, detect, tracker, take_every_s
        self.times = StageTimes()

    def __iter__(self) -> Iterator[TrackedFrame]:
        frames, taken_t = iter(self.frames), float("-inf")
        while True:
            with self.times.stage("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            with self.times.stage("detect"):
                detections = self.detect(frame)
            with self.times.stage("track"):
                tracks = self.tracker.update(detections, frame.t, frame.index)
                finished = GroundTracks.empty()
                if frame.t - taken_t >= self.take_every_s:
                    finished, taken_t = self.tracker.take_finished(), frame.t
            yield TrackedFrame(frame, detections, tracks, finished)

    def finish(self) -> GroundTracks:
        """The smoothed rows that no `TrackedFrame` had."""
        with self.times.stage("track"):
            return self.tracker.finish()
