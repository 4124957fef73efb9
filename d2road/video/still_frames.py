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
        origin, slack = source.decoder.start_s, 0.25 / source.fps
        for wanted in times_s:
            source.decoder.seek(origin + max(wanted, 0.0))
            last = float("-inf")
            for stamp, image in source.decoder:
                last = last + 1 / source.fps if stamp is None else stamp - origin
                if last >= wanted - slack:
                    yield last, image
                    break
