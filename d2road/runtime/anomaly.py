"""Anomaly detection from an exported file: nothing is left to do, maps and verdicts come out of the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.runtime.task import Result
from d2road.utils.errors import DataError


class AnomalyTask:
    """Maps, scores and verdicts.

    Args:
        metadata: of the file.

    Attributes:
        good_scores: of the good images that the threshold was taken from, rising; [] where the file has none.
    """

    most_images = None

    def __init__(self, metadata: Mapping[str, Any]):
        threshold = metadata["threshold"]
        self.threshold: float | None = None if threshold is None else float(threshold)
        self.good_scores = [float(score) for score in metadata.get("good_scores", ())]
        self.size = tuple(map(int, metadata["image_size"]))
        self.takes_any_size: bool = metadata["takes_any_size"]

    def inputs(self, images: Sequence[np.ndarray], **extra: Any) -> dict[str, np.ndarray]:
        """See `RuntimeTask`."""
        if extra:
            raise DataError(f"anomaly detection takes images alone, not {', '.join(extra)}")
        if not self.takes_any_size and images[0].shape[:2] != self.size:
            found, expected = (f"{height} x {width}" for height, width in (images[0].shape[:2], self.size))
            raise DataError(
                f"an image of {found} pixels: this file takes {expected} alone, by d2road export --image-size"
            )
        return {"images": np.stack(images)}

    def results(self, outputs: Mapping[str, np.ndarray], images: Sequence[np.ndarray], **extra: Any) -> list[Result]:
        """Of each image {"anomaly_map": (H, W) float32, "anomaly_score", "is_anomalous", "anomaly_threshold"}."""
        rows = zip(outputs["anomaly_map"], outputs["anomaly_score"], outputs["is_anomalous"], strict=True)
        return [
            {
                "anomaly_map": found,
                "anomaly_score": float(score),
                "is_anomalous": bool(is_anomalous),
                "anomaly_threshold": self.threshold,
            }
            for found, score, is_anomalous in rows
        ]


def make_task(metadata: Mapping[str, Any]) -> AnomalyTask:
    """The task of a file."""
    return AnomalyTask(metadata)
