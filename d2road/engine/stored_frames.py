"""Times of the frames of stored detections as a source of frames without images."""

from collections.abc import Iterator, Mapping

import numpy as np

from d2road.video import Frame, FrameSource


class StoredFrames(FrameSource):
    """Frames of which the times alone are known.

    Args:
        name: of the file.
        times: frame -> presentation time, s.
    """

    def __init__(self, name: str, times: Mapping[int, float]):
        self.name, self.times = name, times
        self.claimed = len(times)
        last = max(times.values(), default=0.0)
        self.fps = len(times) / last if last > 0 else 1.0

    def __iter__(self) -> Iterator[Frame]:
        nothing = np.zeros((0, 0, 3), np.uint8)
        for index, t in sorted(self.times.items(), key=lambda item: item[1]):
            yield Frame(index, t, nothing)

    def close(self) -> None:
        pass
