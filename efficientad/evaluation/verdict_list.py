"""Which images an evaluation called anomalous, and whether they were: a list of all, and the counts by label."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2road.evaluation.verdicts import anomaly_verdict
from d2road.utils.output_files import atomic_write
from efficientad.data.dataset_layouts import GOOD, UNLABELLED

NAMED = 5  # images of each mistake that are named on the terminal
COLUMNS = ("file", "label", "score", "threshold", "verdict", "outcome")
MISS, FALSE_ALARM = "miss", "false alarm"
# (is anomalous, is called anomalous) -> outcome.
PLURALS = {"hit": "hits", MISS: "missed", FALSE_ALARM: "false alarms", "correct": "correct"}
OUTCOMES = {(True, True): "hit", (True, False): MISS, (False, True): FALSE_ALARM, (False, False): "correct"}


@dataclass(frozen=True)
class ScoredImage:
    """An image file, its label ("good", the kind of anomaly, or "unlabelled") and its anomaly score."""

    file: str
    label: str
    score: float

    def verdict(self, threshold: float | None) -> str:
        """What the model says of it; "" without a threshold."""
        return anomaly_verdict(self.score, threshold)

    def outcome(self, threshold: float | None) -> str:
        """ "hit", "miss", "false alarm" or "correct"; "" without a threshold or a label."""
        if threshold is None or self.label == UNLABELLED:
            return ""
        return OUTCOMES[self.label != GOOD, self.score > threshold]


def write_list(path: Path, images: Sequence[ScoredImage], threshold: float | None) -> None:
    """Write a line for each image, the highest score first: file, label, score, threshold, verdict, outcome."""
    with atomic_write(path, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for image in sorted(images, key=lambda image: (-image.score, image.file)):
            known = "" if threshold is None else threshold
            verdict, outcome = image.verdict(threshold), image.outcome(threshold)
            table.writerow([image.file, image.label, image.score, known, verdict, outcome])


def counts_text(images: Sequence[ScoredImage], threshold: float) -> str:
    """A table of the labels: images, how many are called anomalous and good; below, the mistakes by name."""
    labels = sorted({image.label for image in images}, key=lambda label: (label != GOOD, label == UNLABELLED, label))
    rows = []
    for label in labels:
        mine = [image.outcome(threshold) or image.verdict(threshold) for image in images if image.label == label]
        if label == UNLABELLED:
            cells = [str(mine.count("anomalous")), str(mine.count(GOOD))]
        else:
            cells = [
                f"{mine.count(word)} {PLURALS[word]}" for word in (OUTCOMES[label != GOOD, c] for c in (True, False))
            ]
        rows.append([label, str(len(mine)), *cells])
    lines = _aligned([["label", "images", "called anomalous", "called good"], *rows])
    for outcome, text in ((MISS, "missed"), (FALSE_ALARM, "false alarms")):
        names = [_short(image.file) for image in sorted(images, key=_by_score) if image.outcome(threshold) == outcome]
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"{text}: {', '.join(names[:NAMED])}{more}")
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _short(file: str) -> str:
    """Name and folder: the kinds of anomalies are folders."""
    return "/".join(Path(file).parts[-2:])


def _by_score(image: ScoredImage) -> float:
    return -image.score
