"""What sentences refer to, drawn over an image for each, with the words shaded by their relevance."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from detectron2.config import CfgNode

from d2road.engine import Predictor
from d2road.engine.annotators import ANNOTATORS, Annotator, ImageContext, class_lists, nothing_found
from d2road.structures.upright_boxes import box_corners
from d2road.visualization import SceneObjects, draw_scene, draw_sentence


@ANNOTATORS.register(name="Mono3DVG")
class GroundingAnnotator(Annotator):
    """Referred objects: a row for each image and sentence."""

    answers_sentences = True
    columns: ClassVar[Mapping[str, str]] = {
        "file_name": "text", "frame": "int", "text": "text", "boxes": "list of 7 float", "scores": "list of float",
        "boxes_xyxy": "list of 4 float", "category_names": "list of text", "words": "list of words",
    }  # fmt: skip

    def __init__(self, predict: Predictor, cfg: CfgNode, confidence: float | None, sentences: Sequence[str]):
        super().__init__(predict, cfg, confidence, sentences)
        self.confidence: float = predict.model.score_threshold if confidence is None else confidence
        self.sentences = list(sentences)
        self.class_names = list(cfg.MODEL.MONO3DVG.CLASSES) or class_lists(cfg)[0]

    def model_inputs(self) -> dict[str, Any]:
        return {"expressions": [{"id": number, "text": text} for number, text in enumerate(self.sentences)]}

    def rows(self, output: Mapping[str, Any], context: ImageContext) -> list[dict[str, Any]]:
        """The answer to each sentence, with its words by their relevance."""
        return [self._row(grounding, context) for grounding in output["groundings"]]

    def _row(self, grounding: Mapping[str, Any], context: ImageContext) -> dict[str, Any]:
        text, meant = self.sentences[grounding["expression_id"]], self._meant(grounding)
        words = [
            {"text": text[start:end], "span": [start, end], "relevance": value}
            for (start, end), value in zip(grounding["spans"], grounding["relevance"])
        ]
        names = [self.class_names[i] if i < len(self.class_names) else str(i) for i in meant.classes.tolist()]
        arrays = {"boxes": meant.rows, "scores": meant.scores, "boxes_xyxy": meant.boxes_xyxy}
        found = {name: values.tolist() for name, values in arrays.items()}
        return {**context.origin, "text": text, **found, "category_names": names, "words": words}

    def _meant(self, grounding: Mapping[str, Any]) -> "Meant":
        """The candidates that score `confidence` or more."""
        kept = np.flatnonzero(np.asarray(grounding["scores"]) >= self.confidence)
        rows, scores = (np.asarray(grounding[name], dtype=np.float64)[kept] for name in ("boxes", "scores"))
        return Meant(rows, scores, np.asarray(grounding["boxes_xyxy"])[kept], np.asarray(grounding["classes"])[kept])

    def highest_score(self, output: Mapping[str, Any]) -> float | None:
        scores = [score for grounding in output["groundings"] for score in np.ravel(grounding["scores"]).tolist()]
        return max(scores, default=None)

    def draw(self, image_rgb: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        """For each sentence the image with the boxes meant, the scene from above, and the words over it, shaded by
        their relevance; one below the other."""
        panels = [self._draw_one(image_rgb, grounding, context) for grounding in output["groundings"]]
        widest = max(panel.shape[1] for panel in panels)
        filled = [
            np.pad(panel, ((0, 0), (0, widest - panel.shape[1]), (0, 0)), constant_values=255) for panel in panels
        ]
        return np.concatenate(filled)

    def _draw_one(self, image_rgb: np.ndarray, grounding: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        text, meant = self.sentences[grounding["expression_id"]], self._meant(grounding)
        camera, rows = context.camera, meant.rows
        frame = camera.ground_rotation() if camera is not None else None
        corners = box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame)
        objects = SceneObjects(meant.classes, meant.boxes_xyxy, meant.scores, corners)
        drawn = draw_scene(image_rgb, objects, self.class_names, camera=camera, view=context.view_of(image_rgb))
        size = max(14, round(image_rgb.shape[0] / 30))
        note = f"{len(rows)} found"
        strip = draw_sentence(text, drawn.shape[1], grounding["spans"], grounding["relevance"], size, note=note)
        return np.concatenate([strip, drawn])

    def summary(self, rows: Iterable[Mapping[str, Any]], path: Path, highest: float | None = None) -> str:
        counts = [len(row["boxes"]) for row in rows]
        hint = "" if sum(counts) else nothing_found(highest, self.confidence)
        return f"{len(counts)} answers with {sum(counts)} boxes in {path}{hint}"


class Meant(NamedTuple):
    """Candidates that answer a sentence: rows (N, 7) x, y, z, h, w, l, ry; scores (N,); boxes_xyxy (N, 4); classes
    (N,)."""

    rows: np.ndarray
    scores: np.ndarray
    boxes_xyxy: np.ndarray
    classes: np.ndarray
