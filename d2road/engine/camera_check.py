"""Check whether a camera still stands as it was calibrated: background of its video and paths of its vehicles together.

The background is the better witness where there is a video: it tells hundredths of a degree on an empty road too. Paths
of vehicles need no image, and no start at which the camera stood right if good tracks are given. Either one alone tells
a move; where both began together and the background stands still, paths that change are no move of the camera.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.camera_turn import AXES
from d2road.traffic.calibration.lane_paths import LEAST_PASSAGES, LanePaths
from d2road.traffic.calibration.turn_test import WINDOWS, TurnReport, TurnWatch
from d2road.traffic.events.stream_output import clock
from d2road.traffic.watch.alarm_table import CAMERA_MOVED
from d2road.video.background_watch import RECENT, BackgroundReport, BackgroundWatch
from d2road.video.frame import Frame

MOVED, STEADY, NO_EVIDENCE = "moved", "steady", "no evidence"
WAYS = {"yaw": ("right", "left"), "pitch": ("down", "up"), "roll": ("counter-clockwise", "clockwise")}
LEAST_TOLD_DEG = 0.02
FRESH_S = 60.0  # a background that was registered so lately speaks for the present

Tell = Callable[[Mapping[str, Any]], None]
logger = logging.getLogger(__name__)


class CameraCheck:
    """Takes frames and tracks of one camera, each in order of time, and tells when it has moved.

    Args:
        camera: that the tracks were lifted with. recording: its name, for events.
        paths: of good tracks; None takes the first vehicles.
        image: of when it stood right; None takes the first frames.
        tell: called with each event, as JSON has it.
    Raises:
        DataError: an image or paths of another size.
    """

    def __init__(
        self,
        camera: RoadsideCamera,
        recording: str,
        paths: LanePaths | None = None,
        image: np.ndarray | None = None,
        tell: Tell = lambda event: None,
    ):
        if paths is not None:
            camera.require_size(*paths.view, "what the good tracks were seen in")
        self.camera, self.recording, self.tell = camera, recording, tell
        self.background, self.tracks = BackgroundWatch(camera, image), TurnWatch(camera, paths)
        self.begins_together = paths is None or image is not None
        self.events: list[dict[str, Any]] = []
        self.contradicted = self.frames = self.rows = 0
        self._seen_t = -np.inf

    def add_frame(self, frame: Frame) -> None:
        """Take a frame in.

        Raises:
            DataError: it has another size than the camera.
        """
        if not frame.image_bgr.size:
            return  # its time alone is known
        self.camera.require_size(*frame.size_wh, "the frame")
        self.frames += 1
        before = self.background.registered
        report = self.background.add(frame.image_bgr, frame.t)
        if self.background.registered > before:
            self._seen_t = frame.t
        if report is not None:
            self._tell("video", report)

    def add_tracks(self, rows: pd.DataFrame, now: float) -> None:
        """Take rows of `GroundTracks` in, up to `now` (s).

        Raises:
            DataError: they are none.
        """
        self.rows += len(rows)
        report = self.tracks.add(rows, now)
        if report is None:
            return
        if self._background_stands(report.t):
            self.contradicted += 1
            logger.warning(
                "at %s vehicles leave their usual paths, but the background stands still: works on the road, or "
                "detections that have changed; the camera has not moved", clock(report.t),
            )  # fmt: skip
            return
        self._tell("tracks", report)

    def _background_stands(self, t: float) -> bool:
        """Whether the background tells, for the same start and the present, that nothing has moved."""
        known = self.background.turn()
        if not self.begins_together or known is None or abs(t - self._seen_t) > FRESH_S:
            return False
        return not self.background.reports and bool(np.abs(known[0]).max() < self.background.limit_deg)

    def _tell(self, way: str, report: TurnReport | BackgroundReport) -> None:
        turn, spread = report.turn_deg, report.sd_deg
        numbers = {f"{axis}_deg": None if turn is None else round(turn[k], 4) for k, axis in enumerate(AXES)}
        spreads = {f"{axis}_sd_deg": None if spread is None else round(spread[k], 4) for k, axis in enumerate(AXES)}
        event = {
            "kind": CAMERA_MOVED, "recording": self.recording, "t": round(report.t, 3), "since": round(report.since, 3),
            "by": way, **numbers, **spreads, "sentence": sentence(way, report),
        }  # fmt: skip
        self.events.append(event)
        self.tell(event)

    @property
    def verdict(self) -> str:
        """MOVED, STEADY or NO_EVIDENCE."""
        if self.events:
            return MOVED
        compared = self.tracks.passages >= WINDOWS[0] or self.background.registered >= RECENT
        return STEADY if compared else NO_EVIDENCE

    def record(self) -> dict[str, Any]:
        """All of it, for drift.json."""
        background, tracks = self.background, self.tracks
        video = {
            "registered": background.registered, "not_comparable": background.lost,
            "largest_turn_deg": background.highest_deg, "shaken_deg": background.shaken_deg,
            "limit_deg": background.limit_deg,
        }  # fmt: skip
        vehicles = {
            "reference_passages": tracks.paths.passages if tracks.paths else 0, "compared": tracks.passages,
            "highest_statistic": tracks.highest, "limit": tracks.limit, "contradicted_by_video": self.contradicted,
        }  # fmt: skip
        return {
            "verdict": self.verdict, "camera": self.camera.digest, "events": self.events,
            "video": video if self.frames else None, "tracks": vehicles if self.rows else None,
        }  # fmt: skip

    def to_text(self) -> str:
        """The verdict in a few lines."""
        lines = [] if self.verdict != MOVED else ["the camera has moved: its calibration does not hold"]
        if self.verdict == STEADY:
            lines.append("the camera stands as it did")
        if self.verdict == NO_EVIDENCE:
            lines.append(
                "no evidence: neither enough vehicles nor enough of the background to tell whether it has moved"
            )
        if self.frames:
            one = self.background
            lines.append(
                f"video: {one.registered} frames registered ({one.lost} not comparable), largest turn "
                f"{one.highest_deg:.3f} degrees, shaken by {one.shaken_deg:.3f}"
            )
            lines += one.notes()
        if self.rows:
            lines.append(self._tracks_text())
        return "\n".join(lines)

    def _tracks_text(self) -> str:
        if self.tracks.paths is None:
            return f"tracks: too few vehicles have passed to know their paths, {LEAST_PASSAGES} are needed: no evidence"
        return (
            f"tracks: {self.tracks.passages} vehicles compared with the paths of {self.tracks.paths.passages}, highest "
            f"statistic {self.tracks.highest:.1f} of {self.tracks.limit:g}"
        )


def sentence(way: str, report: TurnReport | BackgroundReport) -> str:
    """What has happened and what to do, for people."""
    by = f"the paths of {report.passages} vehicles say" if isinstance(report, TurnReport) else "the background shows"
    if report.turn_deg is None:
        moved = "has moved far, or traffic is led elsewhere"
    else:
        parts = [
            f"{abs(value):.2f} degrees {WAYS[axis][value < 0]}"
            for axis, value in zip(AXES, report.turn_deg)
            if abs(value) >= LEAST_TOLD_DEG
        ]
        moved = f"has turned ({', '.join(parts)})"
    cure = "its calibration does not hold; turn it back or calibrate anew"
    return f"At {clock(report.t)} the camera {moved}, as {by}: {cure}."
