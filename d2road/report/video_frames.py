"""Images of a tracked video for its page: frames with their tracks drawn, and small copies of clips of alarms."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from d2road.engine.track_run import VIDEO, TracksDrawer
from d2road.engine.video_tracking import TrackedFrame
from d2road.report.video_run import VideoRun
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.utils.errors import DataError
from d2road.video import Frame, VideoFile, VideoWriter
from d2road.video.still_frames import frames_at

WIDTH_PX = 960
CLIP_WIDTH_PX, CLIP_CRF = 480, 32
LARGEST_CLIP = 1 << 20  # bytes; a larger one is named alone


def busiest_times(tracks: GroundTracks, count: int) -> list[float]:
    """So many times over the video, in each part of it the one at which most vehicles are seen."""
    seen = tracks.rows.loc[tracks.rows["seen"], "t"]
    if not len(seen):
        return []
    vehicles = seen.groupby(seen).size()
    part = np.minimum(count * (vehicles.index - vehicles.index[0]) / max(np.ptp(vehicles.index), 1e-9), count - 1)
    return sorted(float(t) for t in vehicles.groupby(part.astype(int)).idxmax())


def annotated_frames(run: VideoRun, count: int) -> Iterator[tuple[float, np.ndarray]]:
    """Times, and frames with their tracks (H, W, 3) uint8 RGB, of the video, else of annotated.mp4 where that is left.

    Raises:
        DataError, OSError: neither video can be read, or there is none.
    """
    times = busiest_times(run.tracks, count)
    if run.video is not None and run.camera is not None:
        draw = TracksDrawer(run.camera)
        rows = run.tracks.rows
        instants = np.unique(rows["t"].to_numpy())
        for t, image in frames_at(run.video, times):
            nearest = instants[np.abs(instants - t).argmin()]
            tracks = GroundTracks(rows[rows["t"] == nearest].reset_index(drop=True))
            step = TrackedFrame(Frame(0, t, image), GroundDetections.empty(), tracks, GroundTracks.empty())
            yield t, fitted(draw(step)[:, :, ::-1])
        return
    drawn = None if run.tracks_folder is None else run.tracks_folder / VIDEO
    if drawn is None or not drawn.is_file():
        raise DataError(f"neither the video nor {VIDEO} is there, so no frame can be shown")
    for t, image in frames_at(drawn, times):
        yield t, fitted(image[:, :, ::-1])


def fitted(image: np.ndarray) -> np.ndarray:
    """An image of at most WIDTH_PX."""
    height, width = image.shape[:2]
    if width <= WIDTH_PX:
        return image
    return cv2.resize(image, (WIDTH_PX, max(1, round(height * WIDTH_PX / width))), interpolation=cv2.INTER_AREA)


def small_clip(path: Path) -> bytes | None:
    """A clip again, small enough to stand in a page; None where it is larger than LARGEST_CLIP all the same.

    Raises:
        DataError, OSError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="d2road_clip.") as folder, VideoFile(path) as source:
        target = Path(folder) / "clip.mp4"
        with VideoWriter(target, source.fps, crf=CLIP_CRF) as writer:
            for frame in source:
                height, width = frame.image_bgr.shape[:2]
                scale = min(1.0, CLIP_WIDTH_PX / width)
                size = (max(2, round(width * scale)), max(2, round(height * scale)))
                writer.write(cv2.resize(frame.image_bgr, size, interpolation=cv2.INTER_AREA), frame.t)
        return target.read_bytes() if target.stat().st_size <= LARGEST_CLIP else None
