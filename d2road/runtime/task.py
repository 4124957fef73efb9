"""What a task adds to the runtime: model inputs from images, and results from outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Result = dict[str, Any]


class RuntimeTask(Protocol):
    """A task of an exported file; the module of its name beside this one makes it by `make_task(metadata)`.

    `make_task` reads all that it needs of the metadata; damaged ones may raise KeyError, TypeError or ValueError there.
    """

    most_images: int | None  # that pass through together; None for any number

    def inputs(self, images: Sequence[np.ndarray], **extra: Any) -> dict[str, np.ndarray]:
        """Inputs by name, of images (H, W, 3) uint8 in RGB order and of one size.

        Raises:
            DataError: images, or extra inputs, that the file does not take.
        """

    def results(self, outputs: Mapping[str, np.ndarray], images: Sequence[np.ndarray], **extra: Any) -> list[Result]:
        """What is said of each image."""
