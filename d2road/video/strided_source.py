"""Temporal subsampling: every N-th frame of a video, for a model that is slower than the camera."""

from collections.abc import Iterator
from typing import Any

from d2road.utils.errors import ConfigError
from d2road.video.frame import Frame, FrameSource


class StridedSource(FrameSource):
    """Every N-th frame of a source, with its own index and presentation time.

    Args:
        source: a file or folder; closed with this one.
        stride: N, at least 1.
    Raises:
        ConfigError: a live source, of which the newest frame is taken in any case.
    """

    def __init__(self, source: FrameSource, stride: int):
        if source.is_live:
            raise ConfigError(
                f"--stride {stride}: {source.name} is live, and the newest frame is taken whenever the model is ready; "
                "leave --stride away"
            )
        self.source, self.stride = source, stride
        self.name, self.fps, self.claimed = source.name, source.fps / stride, -(-source.claimed // stride)

    def __iter__(self) -> Iterator[Frame]:
        for number, frame in enumerate(self.source):
            if number % self.stride == 0:
                yield frame

    def close(self) -> None:
        self.source.close()

    def problems(self) -> list[str]:
        return self.source.problems()

    def statistics(self) -> dict[str, Any]:
        return self.source.statistics()
