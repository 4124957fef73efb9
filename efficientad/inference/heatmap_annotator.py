"""Heat maps of anomalies over their images, and a table of scores."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from d2road.engine import Predictor
from d2road.engine.annotators import ANNOTATORS, Annotator, ImageContext
from d2road.evaluation.verdicts import anomaly_verdict
from d2road.utils.output_files import atomic_write
from d2road.visualization import draw_heatmap_figure
from efficientad.conformal import NO_GUARANTEE

logger = logging.getLogger(__name__)

# Colours of anomaly maps begin at what nine in ten values on good images are below: 0, or what the model says. They end
# as far above the threshold as they begin below it, or without one here: good images hardly exceed 0.1.
NO_THRESHOLD_END = 0.5
SCORE_COLUMNS = ("file", "frame", "score", "threshold", "verdict", "teacher", "guarantee")
OPTIONAL_COLUMNS = ("frame", "guarantee")  # left out where no image has any


@ANNOTATORS.register(name="AnomalyFusion")
@ANNOTATORS.register(name="EfficientAD")
@ANNOTATORS.register(name="PatchCore")
class HeatMapAnnotator(Annotator):
    """Anomaly maps over the images, and FOLDER/scores.csv with a line for each."""

    scores_images = True

    def __init__(self, predict: Predictor, cfg: CfgNode, confidence: float | None, sentences: Sequence[str] = ()):
        super().__init__(predict, cfg, confidence, sentences)
        self.rows: list[dict] = []

    def draw(self, image_rgb: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        """A grey copy with the map in colours, the same for all images; a line around what is above the threshold.

        Verdict, score and threshold stand above it, and at its right what the colours mean.
        """
        score, origin = float(output["anomaly_score"]), context.origin
        threshold = float(output["anomaly_threshold"]) if "anomaly_threshold" in output else None
        verdict = anomaly_verdict(score, threshold)
        row = {"score": score, "threshold": "" if threshold is None else threshold, "verdict": verdict}
        self.rows.append(
            {"file": origin.get("file_name", ""), "frame": origin.get("frame", ""), **row}
            | {"teacher": output.get("teacher", ""), "guarantee": output.get("anomaly_guarantee", "")}
        )
        if "frame" not in origin:
            logger.info("%s: score %.4g%s", origin.get("file_name", ""), score, verdict and f", {verdict}")
        # Where the score is more than the maximum of the map, its threshold says nothing of pixels.
        of_map = float(output["map_threshold"]) if "map_threshold" in output else threshold
        if "map_score" in output and "map_threshold" not in output:
            of_map = None
        start = float(output.get("map_start", 0.0))
        end = 2 * of_map - start if of_map is not None and of_map > start else start + NO_THRESHOLD_END
        heat = output["anomaly_map"].numpy()
        title = (
            f"score {score:.3g}" if threshold is None else f"{verdict}: score {score:.3g}, threshold {threshold:.3g}"
        )
        return draw_heatmap_figure(
            image_rgb, heat, (start, end), title, of_map, verdict == "anomalous" if verdict else None
        )

    def write(self, folder: Path) -> str:
        columns = [c for c in SCORE_COLUMNS if c not in OPTIONAL_COLUMNS or any(row[c] != "" for row in self.rows)]
        with atomic_write(folder / "scores.csv", "w") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        alarms = sum(row["verdict"] == "anomalous" for row in self.rows)
        for text in dict.fromkeys(row["guarantee"] for row in self.rows if row["guarantee"]):
            logger.log(logging.WARNING if text.startswith(NO_GUARANTEE) else logging.INFO, "Threshold: %s", text)
        return f"{len(self.rows)} scores in {folder / 'scores.csv'}, {alarms} of them above the threshold"
