"""Alarms of both tests on rendered clips, and their delays where the camera is turned by 0.2 degrees."""

from copy import deepcopy
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.traffic.drift_streams import SEED
from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.camera_turn import AXES, turned_ground, turned_homography
from d2road.traffic.calibration.turn_test import TurnWatch
from d2road.traffic.events.alarms import rate_interval
from d2road.traffic.tracking.track_files import CSV, read_track_blocks
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json
from d2road.video.background_watch import EVERY_S, BackgroundWatch
from d2road.video.video_file import VideoFile

TURN_DEG = 0.2
FOUND_S = 120.0  # after a turn frames are looked at for so long
STEP_S = 5.0  # of the video, between blocks of tracks


def list_clips(clips: Path) -> list[tuple[str, str]]:
    """Kinds and names of the clips that are complete.

    Raises:
        DataError: there are none.
    """
    found = sorted((path.parts[-4], path.parts[-2]) for path in clips.glob("*/test/*/video.mp4"))
    found = [(kind, name) for kind, name in found if (clips / kind / "test" / name / "camera.yaml").is_file()]
    if not found:
        raise DataError(f"{clips} holds no clips KIND/test/test_NNN: make them with d2road make-data traffic-video")
    return found


def judge_clip(kind: str, folder: Path, tracked: Path, kept: Path) -> dict[str, object]:
    """Alarms and delays of a clip; of tracks where they are there. What the video says is kept, since it takes long."""
    camera = read_roadside_camera(folder)
    seed = sum(map(ord, kind)) + int(folder.name[-3:])
    rng = np.random.default_rng([SEED, seed])
    seconds = float(pd.read_csv(folder / "frames.csv")["t"].max())
    begin = float(rng.uniform(seconds / 2, seconds - FOUND_S))
    turns = TURN_DEG * np.eye(3) * rng.choice((-1, 1), 3)[:, None]
    if not kept.is_file():
        write_json(kept, judge_video(folder / "video.mp4", camera, begin, turns))
    tracks = judge_tracks(tracked, camera, begin, turns, seconds) if (tracked / CSV).is_file() else None
    name = f"{kind}_{folder.name}"
    return {"clip": name, "hours": seconds / 3600, "turned_at": begin, "video": read_json(kept), "tracks": tracks}


def judge_video(path: Path, camera: RoadsideCamera, begin: float, turns: np.ndarray) -> dict[str, object]:
    """Background registration: alarms of the clip as it is, and delays of turns (3, 3)."""
    still, turned, due = BackgroundWatch(camera), [], 0.0
    for frame in VideoFile(path):
        if frame.t < due - 1e-3:
            continue
        due = frame.t + EVERY_S
        if frame.t >= begin and not turned:
            turned = [deepcopy(still) for _ in AXES]
        still.add(frame.image_bgr, frame.t)
        if turned and frame.t <= begin + FOUND_S:
            for watch, turn in zip(turned, turns):
                if not watch.reports:
                    watch.add(turned_image(frame.image_bgr, camera, turn), frame.t)
    delays = {axis: watch.reports[0].t - begin if watch.reports else None for axis, watch in zip(AXES, turned)}
    found = {axis: list(watch.reports[0].turn_deg) if watch.reports else None for axis, watch in zip(AXES, turned)}
    return {
        "alarms": len(still.reports), "registered": still.registered, "lost": still.lost,
        "highest_deg": still.highest_deg, "shaken_deg": still.shaken_deg, "delays_s": delays, "turns_found_deg": found,
    }  # fmt: skip


def turned_image(image: np.ndarray, camera: RoadsideCamera, turn_deg: np.ndarray) -> np.ndarray:
    """What the turned camera would see of a scene far away: (H, W, 3)."""
    if camera.distortion.any():
        v, u = np.mgrid[: camera.height, : camera.width] + 0.5
        ideal = camera.undistort(np.stack([u, v], axis=-1)).reshape(-1, 2)
        back = np.column_stack([ideal, np.ones(len(ideal))]) @ np.linalg.inv(turned_homography(camera.K, turn_deg)).T
        source = (camera.distort(back[:, :2] / back[:, 2:]) - 0.5).reshape(camera.height, camera.width, 2)
        maps = source[..., 0].astype(np.float32), source[..., 1].astype(np.float32)
        return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    size = (camera.width, camera.height)
    H = turned_homography(camera.K, turn_deg)
    return cv2.warpPerspective(image, H, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def judge_tracks(
    folder: Path, camera: RoadsideCamera, begin: float, turns: np.ndarray, seconds: float
) -> dict[str, object]:
    """The test of tracks, which takes its reference from the clip's first vehicles, as `judge_video`."""
    rows = pd.concat([block.rows for block in read_track_blocks(folder / CSV)], ignore_index=True)
    still = watch_rows(rows, camera, seconds)
    delays: dict[str, float | None] = {}
    for axis, turn in zip(AXES, turns):
        late, xy = (rows["t"] >= begin).to_numpy(), rows[["x", "y"]].to_numpy()
        moved = np.where(late[:, None], turned_ground(camera, xy, turn), xy)
        reports = watch_rows(
            rows.assign(x=moved[:, 0], y=moved[:, 1]).dropna(subset=["x", "y"]), camera, seconds
        ).reports
        after = [one.t - begin for one in reports if one.t >= begin]
        delays[axis] = after[0] if after else None
    return {
        "alarms": len(still.reports), "passages_compared": still.passages, "highest": still.highest, "delays_s": delays,
        "good_passages": still.paths.passages if still.paths else 0, "tracks": int(rows["track"].nunique()),
    }  # fmt: skip


def watch_rows(rows: pd.DataFrame, camera: RoadsideCamera, seconds: float) -> TurnWatch:
    """A watch after all rows."""
    watch, t = TurnWatch(camera), rows["t"].to_numpy()
    for number in count():
        now = STEP_S * (number + 1)
        watch.add(rows.iloc[slice(*np.searchsorted(t, (now - STEP_S, now)))], now)
        if now > seconds + 10:
            return watch
    raise AssertionError


def frames_summary(rows: list[dict]) -> dict[str, object]:
    """False alarms an hour with their interval, and delays, of both tests."""
    found: dict[str, object] = {"clips": rows}
    for way in ("video", "tracks"):
        own = [row for row in rows if row[way]]
        if not own:
            found[way] = {"clips": 0}
            continue
        hours, alarms = sum(row["hours"] for row in own), sum(row[way]["alarms"] for row in own)
        delays = [one for row in own for one in row[way]["delays_s"].values()]
        found[way] = {
            "clips": len(own), "hours": hours, "alarms": alarms,
            "alarms_an_hour": [alarms / hours, *rate_interval(alarms, hours)],
            "turns": len(delays), "within_60_s": sum(one is not None and one <= 60 for one in delays),
        }  # fmt: skip
    return found
