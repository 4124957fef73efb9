"""Heat maps of anomalies over their images, and a table of scores."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from d2road.engine.annotators import ANNOTATORS, Annotator, ImageContext
from d2road.evaluation.verdicts import ANOMALOUS, anomaly_verdict
from d2road.visualization import draw_heatmap_figure
from efficientad.conformal import NO_GUARANTEE

logger = logging.getLogger(__name__)

# Colours of anomaly maps begin at what nine in ten values on good images are below: 0, or what the model says. They end
# as far above the threshold as they begin below it, or without one here: good images hardly exceed 0.1.
NO_THRESHOLD_END = 0.5


@ANNOTATORS.register(name="AnomalyFusion")
@ANNOTATORS.register(name="EfficientAD")
@ANNOTATORS.register(name="PatchCore")
class HeatMapAnnotator(Annotator):
    """Anomaly maps over the images, and a line for each in a table."""

    scores_images = True
    table: ClassVar[str] = "scores.csv"
    columns: ClassVar[Mapping[str, str]] = {
        "file": "text", "frame": "int?", "score": "float", "threshold": "float", "verdict": "text", "teacher": "text",
        "guarantee": "text?",
    }  # fmt: skip

    def rows(self, output: Mapping[str, Any], context: ImageContext) -> list[dict[str, Any]]:
        """One row: score, threshold and verdict where there is one, and what they rest on."""
        score, threshold, verdict = _judged(output)
        file = context.origin.get("file_name", "")
        if "frame" not in context.origin:
            logger.info("%s: score %.4g%s", file, score, verdict and f", {verdict}")
        row = {"file": file, "frame": context.origin.get("frame"), "score": score, "threshold": threshold}
        words = {
            "verdict": verdict,
            "teacher": output.get("teacher", ""),
            "guarantee": output.get("anomaly_guarantee", ""),
        }
        return [{name: value for name, value in {**row, **words}.items() if value not in (None, "")}]

    def draw(self, image_rgb: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        """A grey copy with the map in colours, the same for all images; a line around what is above the threshold.

        Verdict, score and threshold stand above it, and at its right what the colours mean.
        """
        score, threshold, verdict = _judged(output)
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
            image_rgb, heat, (start, end), title, of_map, verdict == ANOMALOUS if verdict else None
        )

    def summary(self, rows: Iterable[Mapping[str, Any]], path: Path, highest: float | None = None) -> str:
        verdicts, guarantees = Counter[str](), dict[str, None]()
        for row in rows:
            verdicts[row.get("verdict", "")] += 1
            guarantees.setdefault(row.get("guarantee", ""))
        for text in filter(None, guarantees):
            logger.log(logging.WARNING if text.startswith(NO_GUARANTEE) else logging.INFO, "Threshold: %s", text)
        return f"{verdicts.total()} scores in {path}, {verdicts[ANOMALOUS]} of them above the threshold"


def _judged(output: Mapping[str, Any]) -> tuple[float, float | None, str]:
    """Score, threshold and verdict of a model's output; no threshold, no verdict."""
    threshold = float(output["anomaly_threshold"]) if "anomaly_threshold" in output else None
    score = float(output["anomaly_score"])
    return score, threshold, anomaly_verdict(score, threshold)
