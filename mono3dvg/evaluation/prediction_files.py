"""The prediction file: what was answered to each sentence.

    {"score_threshold": T,
     "predictions": [{"expression_id": ..., "boxes": [[x, y, z, h, w, l, ry], ...], "scores": [...]}, ...]}

Boxes are as in the annotations: bottom centre in the camera frame, m, and `ry` about the axis that the data's
`info.rotation_y` names. Those with a score of at least T are the answer; the best one is the
top-1, whatever its score.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2road.utils.errors import DataError, raise_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json


@dataclass(frozen=True)
class Answer:
    """Boxes (K, 7) and scores (K,) of one sentence, K may be 0."""

    boxes: np.ndarray
    scores: np.ndarray


NO_ANSWER = Answer(np.zeros((0, 7)), np.zeros(0))


@dataclass(frozen=True)
class Predictions:
    """Answers by expression id; `score_threshold` is None where the file does not tell."""

    score_threshold: float | None
    answers: Mapping[Any, Answer]


def read_predictions(path: str | Path, known_ids: Iterable[Any]) -> Predictions:
    """Read and check a prediction file.

    Args:
        known_ids: expressions of the data; an answer to another one is an error.
    Raises:
        FileNotFoundError: it is not there.
        DataError: not JSON or not of this form, NaN or infinity, an unknown expression, two answers to one.
    """
    raw = read_json(path, "prediction file", nan=True)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("predictions"), list):
        raise DataError(f'{path}: expected {{"score_threshold": T, "predictions": [...]}}')
    threshold = raw.get("score_threshold")
    if threshold is not None and not _is_finite(threshold):
        raise DataError(f"{path}: score_threshold is {threshold!r}, expected a finite number")
    answers: dict[Any, Answer] = {}
    found, known = [], set(known_ids)
    for index, entry in enumerate(raw["predictions"]):
        try:
            key, answer = _answer(entry, known, answers)
        except DataError as error:
            found.append(f"predictions[{index}]{error}")
            continue
        answers[key] = answer
    raise_errors(found, str(path))
    return Predictions(None if threshold is None else float(threshold), answers)


def write_predictions(path: str | Path, score_threshold: float, answers: Mapping[Any, Answer]) -> None:
    """Write a prediction file, atomically.

    Raises:
        DataError: a box or score is not finite.
    """
    entries = []
    for key, answer in answers.items():
        boxes, scores = np.asarray(answer.boxes, float).reshape(-1, 7), np.asarray(answer.scores, float)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise DataError(f"the answer to expression {key!r} is not finite")
        rows = [[round(v, 6) for v in row] for row in boxes.tolist()]
        entries.append({"expression_id": key, "boxes": rows, "scores": scores.tolist()})
    write_json(path, {"score_threshold": float(score_threshold), "predictions": entries}, indent=None)


def _answer(entry: Any, known: set, answers: Mapping) -> tuple[Any, Answer]:
    """The messages of its errors go on after "predictions[i]"."""
    if not isinstance(entry, Mapping) or "expression_id" not in entry:
        raise DataError(": expected an object with expression_id, boxes and scores")
    key = entry["expression_id"]
    if isinstance(key, (bool, float)) or not isinstance(key, (int, str)) or key not in known:
        like = next((k for k in known if str(k) == str(key)), None)
        cure = f"; write it as {like!r}" if like is not None else ""
        raise DataError(f": unknown expression_id {key!r}: no sentence of the data has it{cure}")
    where = f" (expression {key!r})"
    if key in answers:
        raise DataError(f"{where}: duplicate: this expression was answered before")
    boxes, scores = entry.get("boxes"), entry.get("scores")
    if not isinstance(boxes, list) or not isinstance(scores, list) or len(boxes) != len(scores):
        count = [len(v) if isinstance(v, list) else type(v).__name__ for v in (boxes, scores)]
        raise DataError(f"{where}: expected as many boxes as scores, in lists; got {count[0]} and {count[1]}")
    for i, (box, score) in enumerate(zip(boxes, scores)):
        if not isinstance(box, list) or len(box) != 7 or not all(isinstance(v, (int, float)) for v in box):
            raise DataError(f"{where}: boxes[{i}] is {box!r}, expected 7 numbers x, y, z, h, w, l, ry")
        if not all(map(_is_finite, box)):
            raise DataError(f"{where}: boxes[{i}] is not finite: {box}")
        if min(box[3:6]) <= 0:
            raise DataError(f"{where}: boxes[{i}] has h, w, l {box[3:6]}, expected all above 0")
        if not _is_finite(score):
            raise DataError(f"{where}: scores[{i}] is {score!r}, expected a finite number")
    return key, Answer(np.array(boxes, float).reshape(-1, 7), np.array(scores, float).reshape(-1))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
