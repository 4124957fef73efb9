"""Detection from an exported file: the noise that a detector starts from, and the selection where the file leaves it.

Letters: S reported steps, N boxes, K classes, M candidates, D objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.runtime.task import Result
from d2road.utils.errors import DataError


class DetectionTask:
    """Boxes, scores and classes.

    Args:
        metadata: of the file.
    """

    most_images = 1

    def __init__(self, metadata: Mapping[str, Any]):
        self.metadata = metadata
        self.names: list[str] = list(metadata["classes"])
        size = metadata["image_size"]
        self.size = None if size is None else tuple(map(int, size))
        self.noise = tuple(map(int, metadata["noise"]))
        if metadata["nms"] != "inside":
            for key in ("several_classes_a_box", "nms_thresh"):
                metadata[key]

    def inputs(
        self,
        images: Sequence[np.ndarray],
        *,
        seed: int = 0,
        score_threshold: float = 0.0,
        noise: np.ndarray | None = None,
        **extra: Any,
    ) -> dict[str, np.ndarray]:
        """See `RuntimeTask`.

        Args:
            score_threshold: see `results`.
            noise: to start from instead of that of the seed, float32 of the shape `metadata["noise"]`; a file in which
                nothing is random has no rows of it.
            seed: of the noise. Another one gives other random boxes to start from, and about the same objects. The
                numbers are numpy's, not those of `Predictor`, whose random boxes are others still.
        """
        if extra:
            raise DataError(f"detection takes images, a seed, noise and a score_threshold, not {', '.join(extra)}")
        if not 0 <= score_threshold <= 1:
            raise DataError(f"score_threshold is {score_threshold!r}, expected 0 to 1")
        if len(images) > 1:
            raise DataError(f"{len(images)} images at once: a detector's file takes one, so leave batch_size at 1")
        if self.size is not None and images[0].shape[:2] != self.size:
            found, expected = (f"{height} x {width}" for height, width in (images[0].shape[:2], self.size))
            raise DataError(
                f"an image of {found} pixels: this file takes {expected} alone, by d2road export --image-size"
            )
        if noise is None:
            noise = np.random.default_rng(seed).standard_normal(self.noise, dtype=np.float32)
        elif noise.shape != self.noise or noise.dtype != np.float32:
            raise DataError(f"noise is {noise.shape} {noise.dtype}, expected {self.noise} float32")
        return {"images": images[0][None]} | ({"noise": noise} if self.noise[0] else {})

    def results(
        self,
        outputs: Mapping[str, np.ndarray],
        images: Sequence[np.ndarray],
        *,
        score_threshold: float = 0.0,
        **extra: Any,
    ) -> list[Result]:
        """Of the image {"boxes": (D, 4) float32 x1, y1, x2, y2 in pixels, "scores": (D,) float32, "classes": (D,)
        int64, "names": D class names}, best first; without names where the file knows none.

        Args:
            score_threshold: objects from this score on; 0 gives all that the file reports.
        """
        objects = objects_of(outputs, self.metadata, *images[0].shape[:2])
        kept = objects["scores"] >= score_threshold
        found: Result = {name: values[kept] for name, values in objects.items()}
        if self.names:
            found["names"] = [self.names[c] for c in found["classes"]]
        return [found]


def make_task(metadata: Mapping[str, Any]) -> DetectionTask:
    """The task of a file."""
    return DetectionTask(metadata)


def objects_of(
    outputs: Mapping[str, np.ndarray], metadata: Mapping[str, Any], height: int, width: int
) -> dict[str, np.ndarray]:
    """The objects of an image of this size, best first.

    Args:
        outputs: of the file, with suppression inside or outside.
    Returns:
        boxes (D, 4) float32 x1, y1, x2, y2 in pixels, scores (D,) float32, classes (D,) int64.
    """
    if metadata["nms"] == "inside":
        return {name: outputs[name] for name in ("boxes", "scores", "classes")}
    boxes, scores, classes = best_candidates(outputs["boxes"], outputs["scores"], metadata["several_classes_a_box"])
    thresh = metadata["nms_thresh"]
    kept = np.argsort(-scores, kind="stable") if thresh is None else suppress(boxes, scores, classes, thresh)
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    filled = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {"boxes": boxes[filled], "scores": scores[filled], "classes": classes[filled]}


def best_candidates(
    boxes: np.ndarray, scores: np.ndarray, several_classes: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best N scores of each step, with their boxes (M, 4) and classes (M,).

    Args:
        boxes: (S, N, 4); scores: (S, N, K).
        several_classes: one box may be reported with several classes; else with its best alone.
    """
    if not several_classes:
        return boxes.reshape(-1, 4), scores.max(-1).reshape(-1), scores.argmax(-1).reshape(-1)
    steps, count, num_classes = scores.shape
    flat = scores.reshape(steps, -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, :count]  # (S, N)
    step = np.arange(steps)[:, None]
    return (
        boxes[step, best // num_classes].reshape(-1, 4),
        flat[step, best].reshape(-1),
        (best % num_classes).reshape(-1),
    )


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, thresh: float) -> np.ndarray:
    """Non-maximum suppression of each class: indices (D,) of what is left, best first."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[order, :2])
        sides = np.clip(np.minimum(boxes[best, 2:], boxes[order, 2:]) - corner, 0, None)
        shared = sides[:, 0] * sides[:, 1]
        union = area[best] + area[order] - shared
        order = order[(classes[order] != classes[best]) | (shared <= thresh * union)]
    return np.array(kept, np.int64)
