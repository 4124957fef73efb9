"""What a tracker on the ground plane is, and the registry that finds one by name."""

from typing import Protocol

from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.utils.registry import Registry

TRACKER_REGISTRY = Registry("tracker")


class Tracker(Protocol):
    """Multi-object tracker: detections frame by frame in, tracks out. One for each video."""

    def update(self, detections: GroundDetections, t: float, frame: int | None = None) -> GroundTracks:
        """Take the detections of one frame.

        Args:
            detections: of one frame; may be empty.
            t: presentation time of the frame in s, later than that of the frame before.
            frame: its number; None takes that of the detections, or counts on where there are none.
        Returns:
            The confirmed tracks at t, from what has been seen until now.
        Raises:
            DataError: t does not rise, or detections are of another frame.
        """

    def take_finished(self) -> GroundTracks:
        """Smoothed rows that no later frame can change and that have not been taken yet: keeps memory bounded.

        Blocks follow each other in time: all rows of an instant come at once, after those of all earlier ones.
        """

    def finish(self) -> GroundTracks:
        """End the video: the smoothed rows of all tracks that `take_finished` has not given yet."""
