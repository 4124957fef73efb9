"""The tab Ask: which objects of an image sentences mean, one, several or none, with the words shaded by relevance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_json
from d2road.web.result_files import ResultFolders, result_stem, write_table
from d2road.web.served_model import Request, ServedModel
from d2road.web.uploads import UploadLimits, camera_of_request

MOST_SENTENCES, LONGEST_SENTENCE = 12, 500
COLUMNS = ("file_name", "text", "found", "category_name", "score")


@dataclass(frozen=True)
class AskUpload:
    """Files, sentences and numbers of a request; see `camera_of_request` and `Request`."""

    image: Path
    text: str
    calib: Path | None = None
    denorm: Path | None = None
    focal_px: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class AskResult:
    """text: the answers in words, a line each; image: drawn, one below the other; files: for downloading."""

    text: str
    image: Path
    files: list[Path]


def ask(model: ServedModel, upload: AskUpload, limits: UploadLimits, folders: ResultFolders) -> AskResult:
    """Answer sentences about an uploaded image.

    Raises:
        D2RoadError, OSError: what was uploaded or typed, or the model's files, cannot be used.
    """
    sentences = sentences_of(upload.text)
    if upload.confidence is not None and not 0 <= upload.confidence <= 1:
        raise ConfigError(f"the lowest score is {upload.confidence:g}, expected 0 to 1, or none for the model's own")
    image_bgr = limits.read_image(upload.image)
    camera = camera_of_request(image_bgr, upload.calib, upload.denorm, upload.focal_px)
    origin = {"file_name": upload.image.name}
    answer = model.ask(Request(image_bgr, camera, upload.confidence, sentences, origin=origin))
    folder = folders.new()
    drawn = folder / f"{result_stem(upload.image)}_answers.png"
    write_image(drawn, answer.image_rgb)
    answers = answer.rows
    write_json(folder / "predictions.json", answers)
    table = folder / "predictions.csv"
    write_table(table, [row for answer in answers for row in answer_rows(answer)], COLUMNS)
    text = "\n".join(in_words(answer) for answer in answers)
    return AskResult(text, drawn, [drawn, folder / "predictions.json", table])


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, one a line; empty lines are left out.

    Raises:
        DataError: none, too many, or one that is too long.
    """
    sentences = [line.strip() for line in text.splitlines() if line.strip()]
    if not sentences:
        raise DataError("no sentence is given: write one a line, such as: the red car on the left")
    if len(sentences) > MOST_SENTENCES:
        raise DataError(f"{len(sentences)} sentences, at most {MOST_SENTENCES} are answered at a time")
    longest = max(sentences, key=len)
    if len(longest) > LONGEST_SENTENCE:
        raise DataError(
            f"a sentence has {len(longest)} characters, at most {LONGEST_SENTENCE} are read; it begins {longest[:40]!r}"
        )
    return sentences


def answer_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each object that a sentence means; one without an object where it means none."""
    begin = {"file_name": answer["file_name"], "text": answer["text"], "found": len(answer["boxes"])}
    objects = zip(answer["category_names"], answer["scores"], answer["boxes_xyxy"], answer["boxes"])
    rows = [
        {**begin, "category_name": name, "score": score, "box_xyxy": corners, "box": box}
        for name, score, corners, box in objects
    ]
    return rows or [{**begin, "category_name": "", "score": ""}]


def in_words(answer: dict[str, Any]) -> str:
    """What an entry of predictions.json says, for people."""
    found: Sequence[str] = [f"{n} {score:.2f}" for n, score in zip(answer["category_names"], answer["scores"])]
    if not found:
        return f"“{answer['text']}”: nothing in this image is meant"
    return f"“{answer['text']}”: {len(found)} found ({', '.join(found)})"
