"""Predictions on files as samples of FiftyOne, and its app in the browser on them.

Of an image: `predictions`, Detections with what 3D models add as attributes; of anomalies `anomaly_score` and
`anomaly`, a Classification by the verdict; of grounding a Detection for each object meant, with its `sentence`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.engine.prediction_journal import Entry, Journal
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import image_size
from d2road.utils.optional_packages import require_package

logger = logging.getLogger(__name__)

ATTRIBUTES = ("location", "dimensions_hwl", "rotation_y", "depth_std_m")


def require_fiftyone() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    return require_package("fiftyone", "fiftyone", "--fiftyone")


def open_app(output: Path) -> None:
    """Show the predictions of an output folder in FiftyOne's app, until its window is closed.

    Raises:
        ConfigError: FiftyOne is not installed, or has no database.
    """
    fiftyone = require_fiftyone()
    journal = Journal(output)
    journal.open(0, 0)
    samples = samples_of(fiftyone, journal.entries())
    try:
        dataset = fiftyone.Dataset(f"d2road {output.absolute()}", overwrite=True)
        dataset.add_samples(samples)
        session = fiftyone.launch_app(dataset)
    except fiftyone.core.config.FiftyOneConfigError as error:
        raise ConfigError(
            f"FiftyOne keeps its data in MongoDB and has none here ({' '.join(str(error).split())}); the predictions "
            f"are in {output}"
        ) from error
    session.wait()


def samples_of(fiftyone: Any, entries: Iterable[Entry]) -> list[Any]:
    """A sample for each image that is a file; frames of videos and images in archives are counted in the log."""
    samples, others = [], 0
    for entry in entries:
        if entry.number >= 0 or entry.images != 1 or any("frame" in row for row in entry.rows):
            others += 1
            continue
        samples.append(sample_of(fiftyone, entry.file, image_size(entry.file), entry.rows))
    if others:
        logger.info("%d videos and images in archives are no files that FiftyOne could show as images", others)
    return samples


def sample_of(fiftyone: Any, file: str, size_wh: tuple[int, int], rows: Sequence[Mapping[str, Any]]) -> Any:
    """The sample of an image with the rows that were found in it.

    Args:
        size_wh: width and height, pixels.
    """
    sample = fiftyone.Sample(filepath=str(Path(file).absolute()))
    for row in rows:
        if "score" in row and "bbox" not in row:  # of anomalies: one row
            sample["anomaly_score"] = row["score"]
            if "verdict" in row:
                sample["anomaly"] = fiftyone.Classification(label=row["verdict"])
            return sample
    found = [detection for row in rows for detection in _detections(fiftyone, size_wh, row)]
    sample["predictions"] = fiftyone.Detections(detections=found)
    return sample


def _detections(fiftyone: Any, size_wh: tuple[int, int], row: Mapping[str, Any]) -> list[Any]:
    width, height = size_wh
    if "bbox" in row:
        x, y, w, h = row["bbox"]
        more = {name: row[name] for name in ATTRIBUTES if name in row}
        label = str(row.get("category_name", row["category_id"]))
        boxes = [((x, y, w, h), label, row["score"], more)]
    else:
        boxes = [
            ((x1, y1, x2 - x1, y2 - y1), name, score, {"sentence": row["text"], "location": box[:3]})
            for (x1, y1, x2, y2), name, score, box in zip(
                row["boxes_xyxy"], row["category_names"], row["scores"], row["boxes"]
            )
        ]
    return [
        fiftyone.Detection(
            label=label, bounding_box=[x / width, y / height, w / width, h / height], confidence=score, **more
        )
        for (x, y, w, h), label, score, more in boxes
    ]
