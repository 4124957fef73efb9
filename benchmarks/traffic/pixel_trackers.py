"""ByteTrack and OC-SORT of the package `trackers`, in pixels, with a homography to the ground: what most people do.

Their boxes go to the ground by the middle of the lower edge ("box"), or by the 3D box of the detection that they hold
("point"). Speeds are slopes of lines through the last second of a track's positions.
"""

import warnings
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmarks.traffic.clip_predictions import BOX
from benchmarks.traffic.clip_truth import Clip
from d2road.traffic.tracking.ground_detections import GroundDetections

SPEED_S = 1.0
FRAMES_A_SECOND = 10.0


@dataclass(frozen=True)
class PixelOptions:
    """Options of both, see `trackers`; `track_activation_threshold` is ByteTrack's alone."""

    lost_track_buffer: int = 30
    high_conf_det_threshold: float = 0.6
    track_activation_threshold: float = 0.7
    minimum_iou_threshold: float = 0.1
    minimum_consecutive_frames: int = 2


def make_tracker(name: str, options: PixelOptions):  # type: ignore[no-untyped-def]
    """A tracker of the package by "bytetrack" or "ocsort"."""
    from trackers import ByteTrackTracker, OCSORTTracker

    given = asdict(options)
    if name == "ocsort":
        given.pop("track_activation_threshold")
    return {"bytetrack": ByteTrackTracker, "ocsort": OCSORTTracker}[name](frame_rate=FRAMES_A_SECOND, **given)


def track_in_pixels(clip: Clip, found: dict[int, GroundDetections], name: str, options: PixelOptions) -> pd.DataFrame:
    """Tracks of a clip: frame, t, track, x, y by the 3D box, box_x, box_y by the lower edge."""
    import supervision as sv

    tracker, pieces = make_tracker(name, options), []
    homography = clip.camera.homography()
    for frame, t in enumerate(clip.times):
        rows = found[frame].rows if frame in found else GroundDetections.empty().rows
        boxes = rows[BOX].to_numpy(dtype=np.float32).reshape(-1, 4)
        given = sv.Detections(
            xyxy=boxes, confidence=rows["score"].to_numpy(dtype=np.float32), class_id=np.arange(len(rows))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = tracker.update(given)
        confirmed = out.tracker_id >= 0 if len(out) else np.zeros(0, dtype=bool)  # -1 is nobody's
        held = rows.iloc[out.class_id[confirmed]] if confirmed.any() else rows[:0]
        foot = np.column_stack([(held["x1"] + held["x2"]) / 2, held["y2"], np.ones(len(held))]) @ homography.T
        place = foot[:, :2] / np.where(foot[:, 2:] > 0, foot[:, 2:], np.nan)
        ids = out.tracker_id[confirmed] + 1 if confirmed.any() else np.zeros(0, dtype=int)
        pieces.append(held[["x", "y"]].assign(frame=frame, t=t, track=ids, box_x=place[:, 0], box_y=place[:, 1]))
    return pd.concat(pieces, ignore_index=True)


def with_speed(tracks: pd.DataFrame) -> pd.DataFrame:
    """The same with `speed` from the positions of the last second of each track, and `speed_sd` unknown."""
    parts = [tracks[:0].assign(speed=np.nan)]
    for _, rows in tracks.sort_values("t").groupby("track"):
        t, xy = rows["t"].to_numpy(), rows[["x", "y"]].to_numpy()
        speed = np.full(len(t), np.nan)
        for k in range(len(t)):
            near = (t <= t[k]) & (t >= t[k] - SPEED_S)
            if near.sum() >= 3:
                speed[k] = np.linalg.norm(np.polyfit(t[near] - t[k], xy[near], 1)[0])
        parts.append(rows.assign(speed=speed))
    return pd.concat(parts, ignore_index=True).assign(speed_sd=np.nan)


def filled(tracks: pd.DataFrame, clip: Clip, longest_s: float = 3.0) -> pd.DataFrame:
    """The same with gaps of a track up to `longest_s` filled in straight lines, as offline variants do."""
    parts = [tracks]
    for track, rows in tracks.sort_values("frame").groupby("track"):
        frames, t = rows["frame"].to_numpy(), rows["t"].to_numpy()
        missing = np.setdiff1d(np.arange(frames[0], frames[-1] + 1), frames)
        after = np.searchsorted(frames, missing)
        missing = missing[t[after] - t[after - 1] <= longest_s]
        new = pd.DataFrame({"frame": missing, "t": clip.times[missing], "track": track})
        for name in ("x", "y", "box_x", "box_y"):
            new[name] = np.interp(new["t"], t, rows[name])
        parts.append(new)
    return pd.concat(parts, ignore_index=True)
