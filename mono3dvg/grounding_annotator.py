"""What sentences refer to, drawn over an image for each, with the words shaded by their relevance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from d2road.engine import Predictor
from d2road.engine.annotators import ANNOTATORS, Annotator, ImageContext, class_lists, nothing_found
from d2road.structures.boxes3d import box_corners
from d2road.utils.output_files import write_json
from d2road.visualization import SceneObjects, draw_scene, draw_sentence


@ANNOTATORS.register(name="Mono3DVG")
class GroundingAnnotator(Annotator):
    """Referred objects, of FOLDER/predictions.json: an entry for each image and sentence."""

    answers_sentences = True

    def __init__(self, predict: Predictor, cfg: CfgNode, confidence: float | None, sentences: Sequence[str]):
        super().__init__(predict, cfg, confidence, sentences)
        self.confidence: float = predict.model.score_threshold if confidence is None else confidence
        self.sentences = list(sentences)
        self.class_names = list(cfg.MODEL.MONO3DVG.CLASSES) or class_lists(cfg)[0]
        self.results: list[dict] = []
        self.highest: float | None = None  # score of all candidates, drawn or not

    def model_inputs(self) -> dict[str, Any]:
        return {"expressions": [{"id": number, "text": text} for number, text in enumerate(self.sentences)]}

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
        text = self.sentences[grounding["expression_id"]]
        kept = np.flatnonzero(np.asarray(grounding["scores"]) >= self.confidence)
        scores_and_before = (*np.ravel(grounding["scores"]).tolist(), self.highest)
        self.highest = max((score for score in scores_and_before if score is not None), default=None)
        rows, scores = (np.asarray(grounding[name], dtype=np.float64)[kept] for name in ("boxes", "scores"))
        boxes, classes = np.asarray(grounding["boxes_xyxy"])[kept], np.asarray(grounding["classes"])[kept]
        spans, relevance = grounding["spans"], grounding["relevance"]
        words = [
            {"text": text[start:end], "span": [start, end], "relevance": value}
            for (start, end), value in zip(spans, relevance)
        ]
        names = [self.class_names[i] if i < len(self.class_names) else str(i) for i in classes.tolist()]
        self.results.append(
            {
                **context.origin,
                "text": text,
                "boxes": rows.tolist(),
                "scores": scores.tolist(),
                "boxes_xyxy": boxes.tolist(),
            }
            | {"category_names": names, "words": words}
        )
        camera = context.camera
        frame = camera.ground_rotation() if camera is not None else None
        objects = SceneObjects(classes, boxes, scores, box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame))
        drawn = draw_scene(image_rgb, objects, self.class_names, camera=camera, view=context.view_of(image_rgb))
        size = max(14, round(image_rgb.shape[0] / 30))
        strip = draw_sentence(text, drawn.shape[1], spans, relevance, size, note=f"{len(kept)} found")
        return np.concatenate([strip, drawn])

    def write(self, folder: Path) -> str:
        write_json(folder / "predictions.json", self.results)
        found = sum(len(result["boxes"]) for result in self.results)
        hint = "" if found else nothing_found(self.highest, self.confidence)
        return f"{len(self.results)} answers with {found} boxes in {folder / 'predictions.json'}{hint}"
