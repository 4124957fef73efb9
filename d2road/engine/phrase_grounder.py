"""A model of grounding asked for noun phrases in single frames of a roadside camera."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode

from d2road.engine.annotators import ImageContext, annotator_class
from d2road.engine.ground_detector import PinholeView
from d2road.engine.predictor import Predictor
from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.utils.errors import ConfigError

LEAST_IOU = 0.3  # of a box of the image and that of a track, to be the same vehicle


class PhraseGrounder:
    """Boxes that phrases mean in an image, with the probability of each.

    Args:
        cfg: frozen config of a model that answers sentences, with its weights.
    Raises:
        FileNotFoundError, D2RoadError: as of `Predictor`; a model that answers no sentences.
    """

    def __init__(self, cfg: CfgNode):
        self.annotator = annotator_class(cfg.MODEL.META_ARCHITECTURE)
        if not self.annotator.answers_sentences:
            raise ConfigError(
                f"{cfg.MODEL.META_ARCHITECTURE} answers no sentences: give --config-file of a model of grounding"
            )
        self.predict = Predictor(cfg)

    def __call__(
        self, image_bgr: np.ndarray, view: PinholeView, phrases: Sequence[str]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each phrase boxes (M, 4) in the image as it came and scores (M,).

        Args:
            view: of the camera that took the image (H, W, 3) uint8 BGR.
        """
        annotate = self.annotator(self.predict, self.predict.cfg, 0.0, phrases)
        output = self.predict(view(image_bgr), view.camera.pinhole, **annotate.model_inputs())
        rows = annotate.rows(output, ImageContext(view.camera.pinhole))
        found = ((np.array(row["boxes_xyxy"]).reshape(-1, 4), np.array(row["scores"])) for row in rows)
        return [(view.boxes_in_image(boxes), scores) for boxes, scores in found]


class PhraseScores:
    """How well phrases fit the boxes of tracks, frame by frame; each frame is asked once.

    Args:
        grounder: the model. camera: of the frames.
    """

    def __init__(self, grounder: PhraseGrounder, camera: RoadsideCamera):
        self.grounder, self.view = grounder, PinholeView(camera)

    def __call__(self, image_bgr: np.ndarray, boxes: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
        """(P, N) scores of P phrases for boxes (N, 4): of the best answer that overlaps a box by LEAST_IOU, else 0."""
        found = self.grounder(image_bgr, self.view, phrases)
        return np.stack([overlapping_scores(boxes, *answer) for answer in found])


def overlapping_scores(boxes: np.ndarray, answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(N,) the highest score of the answers (M, 4) that overlap each box (N, 4) by LEAST_IOU; 0 without any."""
    if not len(answers) or not len(boxes):
        return np.zeros(len(boxes))
    own, others = (with_area(torch.from_numpy(np.asarray(one, dtype=np.float64))) for one in (boxes, answers))
    iou = iou_and_giou(own[:, None], others[None])[0].numpy()
    return np.where(iou >= LEAST_IOU, scores, 0.0).max(axis=1)
