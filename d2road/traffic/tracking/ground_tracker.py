"""Kalman tracker on the ground plane: gated assignment by Mahalanobis distance in two stages of scores.

For each frame: predict; assign detections with high scores to all tracks; assign those with low scores to the tracks
that are left, for a vehicle half hidden is found with little confidence (Zhang et al., "ByteTrack", ECCV 2022); begin
tracks of high scores that are left; end tracks that nobody has seen for too long. Differs from ByteTrack: distances are
those of positions in metres under their covariances, times are seconds.
"""

from collections.abc import Callable

import numpy as np

from d2road.traffic.tracking.association import assign, association_costs
from d2road.traffic.tracking.frame_detections import HEADING, UNSEEN, FrameDetections
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.kalman import innovation
from d2road.traffic.tracking.motion_model import OBSERVATION, STATES
from d2road.traffic.tracking.motion_modes import MotionModes, joined, updated
from d2road.traffic.tracking.motion_state import is_moving
from d2road.traffic.tracking.track_history import Step, Track
from d2road.traffic.tracking.track_rows import NOTHING, live_rows, smoothed_rows
from d2road.traffic.tracking.tracker import TRACKER_REGISTRY
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.errors import DataError


@TRACKER_REGISTRY.register(name="ground_kalman")
class GroundKalmanTracker:
    """Tracker of one video, see this module; a `tracker.Tracker`.

    Args:
        options: all of them.
        in_view: from points (N, 2) of the ground to (N,) bool: a track predicted elsewhere ends once it is missed.
    """

    def __init__(
        self, options: TrackerOptions | None = None, in_view: Callable[[np.ndarray], np.ndarray] | None = None
    ):
        self.options = options or TrackerOptions()
        self.in_view = in_view
        self.tracks: list[Track] = []
        self.finished: list[GroundTracks] = []
        self.t, self.frame = -np.inf, -1
        self.next_id = 1

    def update(self, detections: GroundDetections, t: float, frame: int | None = None) -> GroundTracks:
        """As `tracker.Tracker.update` says."""
        frame = self._checked(detections, t, frame)
        dt = t - self.t if np.isfinite(self.t) else 0.0
        self.t, self.frame = t, frame
        found = FrameDetections.of(detections)
        expected, transition = self._predict(dt)
        pairs = self._associate(found, *expected.moments())
        self._take(found, expected, transition, pairs)
        self._begin(found, {j for _, j in pairs})
        self._end()
        self._give_away_old()
        return live_rows([k for k in self.tracks if k.id and t - k.last_seen <= self.options.shown_s])

    def take_finished(self) -> GroundTracks:
        """As `tracker.Tracker.take_finished` says."""
        settled = min((track.steps[0].t for track in self.tracks), default=np.inf)
        if all(table.rows["t"].iat[0] >= settled for table in self.finished):
            return NOTHING
        rows = concat(self.finished).rows
        ready = rows["t"].to_numpy() < settled
        self.finished = [] if ready.all() else [GroundTracks(rows[~ready].reset_index(drop=True))]
        return GroundTracks(rows[ready].reset_index(drop=True))

    def finish(self) -> GroundTracks:
        """As `tracker.Tracker.finish` says."""
        for track in self.tracks:
            self._retire(track)
        self.tracks = []
        return self.take_finished()

    def _checked(self, detections: GroundDetections, t: float, frame: int | None) -> int:
        """The frame's number."""
        if not (np.isfinite(t) and t > self.t):
            raise DataError(
                f"the tracker got a frame at t = {t} s after one at {self.t} s; times must rise: leave out frames that "
                "come late, and begin a new tracker where a video begins anew"
            )
        numbers, times = detections.rows["frame"].to_numpy(), detections.rows["t"].to_numpy()
        if frame is None:
            frame = int(numbers[0]) if len(numbers) else self.frame + 1
        if (numbers != frame).any() or (times != t).any():
            raise DataError(
                f"the tracker got detections of frames {np.unique(numbers).tolist()} at t = "
                f"{np.unique(times).tolist()} s for frame {frame} at t = {t} s; give it one frame after the other"
            )
        return frame

    def _predict(self, dt: float) -> tuple[MotionModes, np.ndarray]:
        """States of all T tracks dt seconds later, and the transition (6, 6)."""
        modes = joined([track.modes for track in self.tracks], STATES)
        noise = np.array([track.noise for track in self.tracks]).reshape(-1, 2, 2)
        return self.options.motion.predicted(modes, noise, dt)

    def _associate(self, found: FrameDetections, means: np.ndarray, covariances: np.ndarray) -> list[tuple[int, int]]:
        """Pairs (track, detection): high scores with all tracks, then low scores with confirmed ones that are left."""
        options = self.options
        if not len(means) or not len(found.score):
            return []
        # All of the noise, not the new part alone: a gate must hold where the model errs about what lasts.
        expected, spread = innovation(means[:, None], covariances[:, None], OBSERVATION, found.noise[None])
        costs, distance = association_costs(found.position - expected, spread, options.new_density)
        other_class = np.array([track.vehicle.cls for track in self.tracks])[:, None] != found.cls
        costs, inside = costs + options.class_cost * other_class, distance <= options.gate
        high = found.score >= options.high_score
        pairs = assign(costs, inside & high)
        taken = {i for i, _ in pairs}
        left = np.array([track.id > 0 and i not in taken for i, track in enumerate(self.tracks)])
        return pairs + assign(costs, inside & left[:, None] & ~high & (found.score >= options.low_score))

    def _take(
        self, found: FrameDetections, expected: MotionModes, transition: np.ndarray, pairs: list[tuple[int, int]]
    ) -> None:
        """Add an instant to each track: corrected by its detection, or predicted."""
        rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
        modes = expected
        if pairs:
            white = self.options.motion.white(found.noise[columns])
            seen = updated(expected[rows], found.position[columns], OBSERVATION, white)
            modes = expected.replaced(rows, seen)
        (means, covariances), (new_means, new_covariances) = expected.moments(), modes.moments()
        detection_of = dict(pairs)
        moving = is_moving(new_means[:, 2:4], new_covariances[:, 2:4, 2:4])
        for i, track in enumerate(self.tracks):
            j = detection_of.get(i)
            numbers = UNSEEN if j is None else found.numbers[j]
            state = (means[i], covariances[i], new_means[i], new_covariances[i], transition)
            track.follow(Step(self.frame, self.t, *state, numbers), modes[i : i + 1], bool(moving[i]))
            if j is not None:
                track.hit(str(found.cls[j]), found.noise[j])
                self._confirm(track)

    def _confirm(self, track: Track) -> None:
        if not track.id and track.hits >= self.options.confirm_hits:
            track.id, self.next_id = self.next_id, self.next_id + 1

    def _begin(self, found: FrameDetections, taken: set[int]) -> None:
        """New tracks from detections with high scores that are left and do not double a vehicle that has one."""
        followed = sorted(taken)
        for j in np.argsort(-found.score, kind="stable"):
            if j in taken or found.score[j] < self.options.high_score:
                continue
            away = np.linalg.norm(found.position[followed] - found.position[j], axis=-1)
            if (away < self.options.duplicate_m).any():
                continue
            followed.append(int(j))
            numbers = found.numbers[j]
            motion = self.options.motion
            state = motion.born(found.position[j], found.noise[j], float(numbers[HEADING]))
            step = Step(self.frame, self.t, *state, *state, np.eye(STATES), numbers)
            track = Track([step], MotionModes.same(motion.start_weights, *state), found.noise[j], self.t)
            track.hit(str(found.cls[j]), found.noise[j])
            self._confirm(track)
            self.tracks.append(track)

    def _end(self) -> None:
        """Tracks that nobody has seen for too long, or that have left the view, end."""
        options, kept = self.options, []
        gone = np.zeros(len(self.tracks), dtype=bool)
        if self.in_view is not None and self.tracks:
            gone = ~self.in_view(np.array([track.last.mean[:2] for track in self.tracks]))
        for track, left in zip(self.tracks, gone):
            lost = self.t - track.last_seen > options.lost_s or (left and track.misses > 0)
            if lost or (not track.id and track.misses > options.candidate_misses):
                self._retire(track)
            else:
                kept.append(track)
        self.tracks = kept

    def _keep(self, rows: GroundTracks) -> None:
        if len(rows):
            self.finished.append(rows)

    def _retire(self, track: Track) -> None:
        if track.id:
            track.trim()
            self._keep(smoothed_rows(track))

    def _give_away_old(self) -> None:
        """Smoothed rows of tracks that have grown long, so that memory stays bounded."""
        until = self.t - self.options.lag_s
        for track in self.tracks:
            if track.id and self.t - track.steps[0].t > self.options.history_s:
                self._keep(smoothed_rows(track, until))
                track.steps = [step for step in track.steps if step.t > until]
