"""The tab Inspect: anomaly scores, heat maps and verdicts of images, beside the scores of good ones."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2road.engine.prediction_inputs import IMAGES
from d2road.evaluation.verdicts import anomaly_verdict
from d2road.utils.errors import DataError
from d2road.utils.image_io import write_image
from d2road.utils.input_files import read_text
from d2road.utils.natural_order import natural_key
from d2road.utils.output_files import write_json
from d2road.web.result_files import ResultFolders, result_stem, write_table
from d2road.web.score_histogram import draw_histogram, draw_roc
from d2road.web.served_model import Request, ServedModel
from d2road.web.uploads import UploadLimits

COLUMNS = ("file", "score", "threshold", "verdict")


@dataclass(frozen=True)
class InspectResult:
    """text: verdicts in words; images: heat maps with their captions; rows: (file, score, threshold, verdict);
    histogram: of scores of good images with these marked, None without any; roc: of these against them, None unless
    these are said to be anomalous; files: for downloading."""

    text: str
    images: list[tuple[Path, str]]
    rows: list[tuple[str, float, float | None, str]]
    histogram: Path | None
    roc: Path | None
    files: list[Path]


def inspect(
    model: ServedModel,
    images: Sequence[Path],
    limits: UploadLimits,
    folders: ResultFolders,
    good_scores: Path | None = None,
    all_anomalous: bool = False,
) -> InspectResult:
    """Score uploaded images.

    Args:
        good_scores: scores.csv that `d2road predict` wrote of good images with the same model; None takes those that
            the model's threshold was taken from, where it knows them.
        all_anomalous: the images are known to be anomalous, so that a ROC curve can be drawn.
    Raises:
        D2RoadError, OSError: what was uploaded, or the model's files, cannot be used.
    """
    limits.check_count(len(images))
    good = [] if good_scores is None else read_good_scores(good_scores)
    pixels = [limits.read_image(path) for path in images]
    folder = folders.new()
    heat_maps: list[tuple[Path, str]] = []
    rows: list[tuple[str, float, float | None, str]] = []
    guarantees: list[str] = []
    for number, (path, image_bgr) in enumerate(zip(images, pixels), 1):
        answer = model.ask(Request(image_bgr, origin={"file_name": path.name}))
        output = answer.output
        score = float(output["anomaly_score"])
        threshold = float(output["anomaly_threshold"]) if "anomaly_threshold" in output else None
        verdict = anomaly_verdict(score, threshold) or "no threshold"
        drawn = folder / f"{number:02d}_{result_stem(path)}_heat_map.png"
        write_image(drawn, answer.image_rgb)
        heat_maps.append((drawn, f"{path.name}: {verdict}, score {score:.4g}"))
        rows.append((path.name, score, threshold, verdict))
        guarantees.append(str(output.get("anomaly_guarantee", "")))
    table = [dict(zip(COLUMNS, row)) | {"guarantee": text} for row, text in zip(rows, guarantees)]
    write_table(folder / "scores.csv", table)
    write_json(folder / "scores.json", table)
    files = [path for path, _ in heat_maps] + [folder / "scores.json", folder / "scores.csv"]
    histogram = roc = None
    good = good or model.good_scores()
    if good:
        histogram = folder / "histogram.png"
        write_image(histogram, draw_histogram(good, [row[1] for row in rows], rows[0][2]))
        files.append(histogram)
    if good and all_anomalous:
        roc = folder / "roc.png"
        write_image(roc, draw_roc(good, [row[1] for row in rows], rows[0][2]))
        files.append(roc)
    return InspectResult(_summary(rows, guarantees), heat_maps, rows, histogram, roc, files)


def images_of_folder(files: Sequence[Path]) -> tuple[list[Path], str]:
    """The images of an uploaded folder in their natural order, and what is to be said of its other files, if any.

    Raises:
        DataError: it has files, and none of them is an image.
    """
    images = sorted((path for path in files if path.suffix.lower() in IMAGES), key=lambda path: natural_key(path.name))
    others = len(files) - len(images)
    if files and not images:
        raise DataError(f"no images in this folder of {others} file(s); they end with {', '.join(sorted(IMAGES))}")
    return images, f"{others} other file(s) of the folder are left out." if others else ""


def read_good_scores(path: Path) -> list[float]:
    """The column `score` of a CSV file.

    Raises:
        DataError: no such column, a value that is no number, or no row.
    """
    try:
        lines = list(csv.DictReader(read_text(path, "scores of good images", None).splitlines()))
    except (OSError, ValueError) as error:
        raise DataError(str(error).replace(str(path), path.name)) from error
    scores = []
    for number, line in enumerate(lines, 2):
        text = line.get("score")
        try:
            score = float(text or "")
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise DataError(
                f"{path.name}, line {number}: score is {text!r}, expected a number; take the scores.csv that "
                "d2road predict writes of good images"
            )
        scores.append(score)
    if not scores:
        raise DataError(f"{path.name} holds no score; take the scores.csv that d2road predict writes of good images")
    return scores


def _summary(rows: Sequence[tuple[str, float, float | None, str]], guarantees: Sequence[str]) -> str:
    if rows[0][2] is None:
        return "This model has no threshold: scores can be compared, and nothing is called anomalous."
    anomalous = [row for row in rows if row[3] == "anomalous"]
    if len(rows) == 1:
        name, score, threshold, verdict = rows[0]
        text = f"{name} is {verdict}: score {score:.4g}, threshold {threshold:.4g}."
    else:
        text = f"{len(anomalous)} of {len(rows)} images are anomalous, threshold {rows[0][2]:.4g}."
    return f"{text} Threshold: {guarantees[0]}" if guarantees[0] else text
