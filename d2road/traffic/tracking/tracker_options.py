"""Options of the Kalman tracker on the ground plane."""

from dataclasses import dataclass, field

from d2road.traffic.tracking.motion_model import MotionModel
from d2road.utils.errors import ConfigError


@dataclass(frozen=True)
class TrackerOptions:
    """Options of `ground_tracker.GroundKalmanTracker`; the defaults were chosen on validation clips.

    Args:
        high_score, low_score: detections from the one on may begin a track, from the other on may continue one. They
            are of the score that ranks a detector's boxes (`scores`); of a 3D detector that is its class score times
            the expected 3D overlap, which is lower. Another detector may need other values.
        gate: squared Mahalanobis distance of a detection to a track, at most; 20 leaves out one of twenty thousand.
        new_density: new vehicles and false detections a frame and m^2: the less, the more a track reaches out.
        class_cost: added to the squared distance where the class is not that of the track.
        confirm_hits: detections that make a track of a candidate.
        candidate_misses: frames without a detection in a row, after which a candidate is dropped.
        lost_s: s without a detection, after which a track ends.
        shown_s: s without a detection for which `update` still tells where a track should be.
        duplicate_m: a detection so near to a track that has another one begins none.
        history_s: s that a track is kept to be smoothed; of a longer one all but the newest lag_s are given away.
        lag_s: s after which later frames change smoothed rows no more.
        motion: the motion model.
    """

    high_score: float = 0.18
    low_score: float = 0.08
    gate: float = 20.0
    new_density: float = 1e-4
    class_cost: float = 2.0
    confirm_hits: int = 3
    candidate_misses: int = 2
    lost_s: float = 3.0
    shown_s: float = 0.5
    duplicate_m: float = 2.0
    history_s: float = 60.0
    lag_s: float = 10.0
    motion: MotionModel = field(default_factory=MotionModel)

    def __post_init__(self) -> None:
        if not 0 <= self.low_score <= self.high_score <= 1:
            raise ConfigError(
                f"low_score is {self.low_score}, high_score {self.high_score}: expected 0 <= low_score <= high_score "
                "<= 1"
            )
        if not 0 < self.lost_s < self.lag_s < self.history_s:
            raise ConfigError(
                f"lost_s is {self.lost_s}, lag_s {self.lag_s}, history_s {self.history_s}: expected 0 < lost_s < lag_s "
                "< history_s"
            )
