"""Single frames of a video file at given times, without decoding what lies between far apart ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from d2road.video.video_file import VideoFile


def frames_at(video: Path, times_s: Sequence[float]) -> Iterator[tuple[float, np.ndarray]]:
    """The first frame at or after each time: its time, s since the first frame, and (H, W, 3) uint8 BGR.

    Args:
        times_s: rising; those behind the end give nothing.
    Raises:
        FileNotFoundError, DataError: the video cannot be read.
    """
    with VideoFile(video) as source:
        slack = 0.25 / source.fps
        for wanted in times_s:
            for t, image in source.frames_from(wanted):
                if t >= wanted - slack:
                    yield t, image
                    break
