"""3D visual grounding from an exported file: sentences to tokens before the graph, the choice of boxes after it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from d2road.export.sentence_tokens import token_arrays
from d2road.runtime.task import Result
from d2road.utils.errors import DataError
from d2road.utils.optional_packages import require_package


@runtime_checkable
class HasProjection(Protocol):
    """A camera, such as `d2road.structures.Camera`: P (3, 4) pixels of the image, ground (4,) or None."""

    @property
    def P(self) -> np.ndarray: ...

    @property
    def ground(self) -> np.ndarray | None: ...


class GroundingTask:
    """Objects that sentences mean, with their 3D boxes.

    Args:
        metadata: of the file.
    Raises:
        ConfigError: tokenizers is not installed.
    """

    most_images = 1

    def __init__(self, metadata: Mapping[str, Any]):
        tokenizers = require_package("tokenizers", "grounding", "grounding")
        vocabulary = metadata["tokenizer"]
        try:
            self.tokenizer = tokenizers.Tokenizer.from_str(vocabulary)
        except Exception as error:  # it raises Exception itself
            raise ValueError(f"a tokenizer that cannot be read: {error}") from error
        self.pad_id = int(metadata["pad_id"])
        size = metadata["image_size"]
        self.size = None if size is None else tuple(map(int, size))
        self.threshold = float(metadata["score_threshold"])

    def inputs(
        self,
        images: Sequence[np.ndarray],
        *,
        sentences: Sequence[str] = (),
        camera: HasProjection | np.ndarray | Sequence | None = None,
        ground: np.ndarray | None = None,
        **extra: Any,
    ) -> dict[str, np.ndarray]:
        """See `RuntimeTask`.

        Args:
            images: one.
            sentences: asked of it.
            camera: of the image: a camera, or its matrix (3, 4) or (3, 3) in pixels.
            ground: (4,) a, b, c, d with a x + b y + c z + d = 0 in the camera frame; None is that of the camera.
            score_threshold: see `results`.
        Raises:
            DataError: no sentence, one without words, no camera, or several images.
        """
        extra.pop("score_threshold", None)
        if extra:
            raise DataError(f"grounding takes sentences, camera, ground and score_threshold, not {', '.join(extra)}")
        if len(images) != 1:
            raise DataError(f"grounding takes one image at a time, got {len(images)}: leave batch_size at 1")
        if self.size is not None and images[0].shape[:2] != tuple(self.size):
            found, expected = (f"{height} x {width}" for height, width in (images[0].shape[:2], self.size))
            raise DataError(
                f"an image of {found} pixels: this file takes {expected} alone, by d2road export --image-size"
            )
        self._check(sentences)
        projection, plane = _camera(camera, ground)
        given = {"images": images[0][None], "projection": projection, "ground_plane": plane}
        return given | token_arrays(self.tokenizer, sentences, self.pad_id)

    def _check(self, sentences: Sequence[str]) -> None:
        if isinstance(sentences, str) or not len(sentences):
            raise DataError(f"sentences are {sentences!r}, expected a list of at least one")
        for text in sentences:
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"a sentence is {text!r}, expected words that say what to find")

    def results(
        self,
        outputs: Mapping[str, np.ndarray],
        images: Sequence[np.ndarray],
        *,
        sentences: Sequence[str],
        score_threshold: float | None = None,
        **extra: Any,
    ) -> list[Result]:
        """{"groundings": [...]} of the image, a dict for each sentence.

        Each has text, and of the M boxes that are meant, best first, M = 0 where nothing is: boxes (M, 7), rows x, y, z
        of the bottom centre in the camera frame, h, w, l in metres, ry in radians; scores (M,); boxes_xyxy (M, 4) in
        pixels; classes (M,). presence is the probability that anything is meant, None where the model does not say it.
        words, their spans of characters and the relevance of each are lists.

        Args:
            score_threshold: boxes from this score on are the answer; None is the model's own, from validation data.
        """
        threshold = self.threshold if score_threshold is None else score_threshold
        presence = outputs.get("presence")
        answers = []
        encodings = self.tokenizer.encode_batch(list(sentences))
        for number, (text, encoding) in enumerate(zip(sentences, encodings, strict=True)):
            parts = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
            spans = [span for span, is_special in parts if not is_special]
            scores = outputs["scores"][number]
            order = np.argsort(-scores, kind="stable")
            kept = order[scores[order] >= threshold]
            answers.append(
                {
                    "text": text,
                    "boxes": outputs["boxes_3d"][kept],
                    "scores": scores[kept],
                    "boxes_xyxy": outputs["boxes"][kept],
                    "classes": outputs["classes"][kept],
                    "presence": None if presence is None else float(presence[number]),
                    "words": [text[start:stop] for start, stop in spans],
                    "spans": spans,
                    "relevance": outputs["relevance"][number, : len(spans)].tolist(),
                }
            )
        return [{"groundings": answers}]


def _camera(
    camera: HasProjection | np.ndarray | Sequence | None, ground: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Projection (3, 4) and plane (4,), zeros for none, float32."""
    if camera is None:
        raise DataError("grounding needs the camera of the image: pass camera, its matrix (3, 4) or (3, 3) in pixels")
    if isinstance(camera, HasProjection):
        matrix, ground = np.asarray(camera.P, dtype=np.float64), camera.ground if ground is None else ground
    else:
        matrix = np.asarray(camera, dtype=np.float64)
    if matrix.shape == (3, 3):
        matrix = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise DataError(f"a camera is a finite 3x4 (or 3x3) matrix with positive focal lengths, got {camera!r}")
    plane = np.zeros(4) if ground is None else np.asarray(ground, dtype=np.float64)
    if plane.shape != (4,) or not np.isfinite(plane).all():
        raise DataError(f"a ground plane has four finite numbers a b c d, got {ground!r}")
    return matrix.astype(np.float32), plane.astype(np.float32)


def make_task(metadata: Mapping[str, Any]) -> GroundingTask:
    """The task of a file."""
    return GroundingTask(metadata)
