"""Cutting a clip out of a recorded video."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2road.utils.errors import DataError
from d2road.video.video_file import VideoFile
from d2road.video.video_writer import VideoWriter


def cut_clip(
    video: Path,
    start_s: float,
    end_s: float,
    target: Path,
    draw: Callable[[float, np.ndarray], np.ndarray] | None = None,
) -> int:
    """Write the frames of a video from one presentation time to another, encoded anew.

    Args:
        video: a file that may still be growing, in fragments.
        start_s, end_s: s since its first frame; what is beyond its ends is left out.
        target: an mp4 file, whole or not there.
        draw: makes the image (H, W, 3) uint8 BGR of a time (s) that is written instead.
    Returns:
        the number of frames.
    Raises:
        FileNotFoundError, DataError: the video cannot be read, or has no frame there. OutputError: as `VideoWriter`.
    """
    if not start_s <= end_s:
        raise DataError(f"a clip from {start_s:g} to {end_s:g} s: expected an end after the start")
    last = float("-inf")
    with VideoFile(video) as source, VideoWriter(target, source.fps) as writer:
        for t, image in source.frames_from(start_s):
            last = t
            if t > end_s:
                break
            if t >= start_s:
                writer.write(image if draw is None else draw(t, image), t)
    if not writer.count:
        raise DataError(f"{video} has no frame from {start_s:g} to {end_s:g} s: it ends at {last:.1f} s")
    return writer.count
