"""The record of a tracking run: frames, rates, where the time goes, and what its user should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from d2road.engine.video_tracking import TrackedFrame
from d2road.video.frame import Frame

RUNNING, COMPLETE, STOPPED, FAILED = "running", "complete", "stopped", "failed"
SLOW_STEP_S = 0.4  # between frames: a vehicle at 15 m/s moves 6 m, more than its length
DARK = 35.0  # mean of 0..255
SAMPLE_EVERY = 5  # frames, of those whose brightness is taken


@dataclass
class FrameCounts:
    """What was counted of the frames that a detector looked at."""

    frames: int = 0
    seconds: float = 0.0  # of the video
    longest_step_s: float = 0.0
    _steps: list[float] = field(default_factory=list)  # the newest ones, for their median
    _brightness: list[float] = field(default_factory=list)

    def add_frame(self, frame: Frame) -> None:
        """Count a frame; one without an image has its time alone."""
        if self.frames:
            gap = frame.t - self.seconds
            self.longest_step_s = max(self.longest_step_s, gap)
            self._steps = [*self._steps[-999:], gap]
        if self.frames % SAMPLE_EVERY == 0 and frame.image_bgr.size:
            self._brightness = [*self._brightness[-999:], float(frame.image_bgr[::8, ::8].mean())]
        self.frames += 1
        self.seconds = frame.t

    @property
    def median_step_s(self) -> float:
        """Between frames, of the newest thousand; 0 of a single frame."""
        return float(np.median(self._steps)) if self._steps else 0.0

    @property
    def brightness(self) -> float | None:
        """Mean of 0..255 over frames; None where there were no images."""
        return float(np.mean(self._brightness)) if self._brightness else None

    def frame_notes(self) -> list[str]:
        """What the user should know of the frames: too far apart, or dark."""
        found = []
        if self.median_step_s > SLOW_STEP_S:
            found.append(
                f"frames are {self.median_step_s:.2f} s apart: a vehicle at 15 m/s moves {15 * self.median_step_s:.0f} "
                "m between two of them, so that tracks break; 5 frames a second or more are needed"
            )
        if self.brightness is not None and self.brightness < DARK:
            found.append(f"the frames are dark (mean {self.brightness:.0f} of 255): expect vehicles to be missed")
        return found


@dataclass
class TrackCounts(FrameCounts):
    """What a run counted so far."""

    detections: int = 0
    rows: int = 0  # of tracks
    ids: set[int] = field(default_factory=set)

    def add(self, step: TrackedFrame) -> None:
        """Count a frame."""
        self.add_frame(step.frame)
        self.detections += len(step.detections)

    def notes(self, highest_score: float | None) -> list[str]:
        """What the user should know about the video, in words.

        Args:
            highest_score: of all that the model saw, kept or not; None where no model ran.
        """
        found = self.frame_notes()
        if self.frames and not self.detections:
            seen = "" if highest_score is None else f"; the highest score is {highest_score:.2g}"
            found.append(
                f"no vehicle was found in {self.frames} frames{seen}: an empty road, or a view unlike training"
            )
        elif self.frames and not self.ids:
            found.append(f"{self.detections} detections, but no vehicle was found often enough to be tracked")
        return found


def summary(
    state: str,
    counts: TrackCounts,
    stages: Mapping[str, float],
    wall_s: float,
    settings: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The record as JSON holds it.

    Args:
        state: RUNNING, COMPLETE, STOPPED or FAILED.
        stages: seconds by stage; what the wall clock has beyond their sum is "other".
        wall_s: of the whole run, without loading the model.
        settings: that decide what is found; a resumed run must have the same.
        more: further entries.
    """
    seconds = {**stages, "other": max(0.0, wall_s - sum(stages.values()))}
    total = sum(seconds.values())  # more than the wall clock has, where a stage began before it
    return {
        "state": state,
        "settings": dict(settings),
        "frames": counts.frames,
        "video_seconds": round(counts.seconds, 3),
        "median_step_s": round(counts.median_step_s, 4),
        "longest_step_s": round(counts.longest_step_s, 4),
        "detections": counts.detections,
        "tracks": len(counts.ids),
        "track_rows": counts.rows,
        "wall_seconds": round(wall_s, 3),
        "frames_per_second": round(counts.frames / wall_s, 3) if wall_s > 0 else None,
        "stage_seconds": {name: round(value, 3) for name, value in seconds.items()},
        "stage_share": {name: round(value / total, 4) for name, value in seconds.items()} if total > 0 else {},
        **more,
    }
