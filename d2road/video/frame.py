"""Frames of a video with their presentation times, and what every source of them has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Source = TypeVar("Source", bound="FrameSource")


@dataclass(frozen=True)
class Frame:
    """One image of a video.

    Args:
        index: number in the video, from 0; of a stream, frames that were dropped are counted too.
        t: presentation time, s since the first frame; it rises from frame to frame.
        image_bgr: (H, W, 3) uint8; (0, 0, 3) where its time alone is known.
    """

    index: int
    t: float
    image_bgr: np.ndarray

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]


class FrameSource(ABC):
    """Frames in the order of their times; a context.

    Attributes:
        name: what it was called by.
        fps: nominal frames a second.
        claimed: frames that it claims to have; 0 where it does not say.
        is_live: frames come whether they are taken or not, and some are dropped then.
    """

    name: str
    fps: float
    claimed: int = 0
    is_live: bool = False

    def __enter__(self: Source) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def problems(self) -> list[str]:
        """What was wrong with it as far as it was read, in words: cut off, damaged, frames that cannot be read."""
        return []

    def statistics(self) -> dict[str, Any]:
        """What it counted beside frames, for the record of a run."""
        return {}
