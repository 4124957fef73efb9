"""Annotated images: what a model finds, as rows of a table and drawn over its input, by META_ARCHITECTURE.

Boxes in 2D or 3D are drawn for every model that gives `instances`; a model with other outputs registers an annotator:

    @ANNOTATORS.register(name="MyArchitecture")
    class MyAnnotator(Annotator): ...
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from torch import Tensor

from d2road.checkpoint.stored_classes import stored_class_names
from d2road.data import class_names_of
from d2road.data.class_names import with_class_names
from d2road.data.scene_objects import poses_as_json, predicted_objects
from d2road.engine import Predictor
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, D2RoadError
from d2road.utils.registry import Registry
from d2road.visualization import BevView, draw_scene, fit_view

logger = logging.getLogger(__name__)

CONFIDENCE = 0.5  # of boxes, where the model does not know better
VIDEO_RANGE_M = 100.0  # of the view from above: all frames of a video need the same

ANNOTATORS = Registry("annotator of meta-architecture")


@dataclass(frozen=True)
class ImageContext:
    """What is known of an image beside its pixels.

    Args:
        camera: that took it, for models that estimate 3D.
        fixed_view: keep the size and range of the view from above, as a video needs.
        origin: file_name, and of a video frame; written with each prediction.
        image_id: of rows that carry one.
    """

    camera: Camera | None = None
    fixed_view: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)
    image_id: int = 0

    def view_of(self, image_rgb: np.ndarray, is_empty: bool = False) -> BevView | None:
        """The view from above that all frames of a video share; None, for one that fits the objects, of single images.

        None without a camera too. An image in which nothing was found gets a view, so that all have one.
        """
        if self.camera is None or not (self.fixed_view or is_empty):
            return None
        height, width = image_rgb.shape[:2]
        return fit_view(height, self.camera, (width, height), range_m=VIDEO_RANGE_M)


class Annotator(ABC):
    """Tells the outputs of a meta-architecture as rows of a table, and draws them.

    Args:
        predict: the model.
        confidence: lowest score of what is drawn and written; None takes the default, or the model's own.
        sentences: what the model is asked.
    Raises:
        ConfigError: sentences for a model that answers none, or none for one that does.
    """

    answers_sentences: ClassVar[bool] = False
    scores_images: ClassVar[bool] = False  # gives "anomaly_score", and "anomaly_threshold" where there is one
    table: ClassVar[str] = "predictions.json"  # what the rows go to where no other format is asked for
    columns: ClassVar[Mapping[str, str]]  # of the rows and their kinds, see `d2road.engine.prediction_tables`

    def __init__(self, predict: Predictor, cfg: CfgNode, confidence: float | None, sentences: Sequence[str]):
        if self.answers_sentences and not sentences:
            raise ConfigError("this model answers sentences: give them by --text or --text-file")
        if sentences and not self.answers_sentences:
            raise ConfigError(
                f"--text: {cfg.MODEL.META_ARCHITECTURE} answers no sentences; take a config of a model of grounding"
            )

    def model_inputs(self) -> dict[str, Any]:
        """Model inputs beside image and camera, the same for every image."""
        return {}

    @abstractmethod
    def rows(self, output: Mapping[str, Any], context: ImageContext) -> list[dict[str, Any]]:
        """What was found in an image, as JSON can hold it: keys of `columns`, those without a value left out."""

    @abstractmethod
    def draw(self, image_rgb: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        """The (H, W, 3) uint8 image with what was found."""

    def highest_score(self, output: Mapping[str, Any]) -> float | None:
        """Of all that was found in an image, written or not; None where nothing was."""
        return None

    @abstractmethod
    def summary(self, rows: Iterable[Mapping[str, Any]], path: Path, highest: float | None = None) -> str:
        """What to say about all rows, which are in the file `path`; highest: of all images, see `highest_score`."""


@dataclass(frozen=True)
class Found:
    """What was found in an image: rows for the table; highest: see `Annotator.highest_score`; drawn: (H, W', 3) uint8
    BGR, None where no drawing was asked for."""

    rows: list[dict[str, Any]]
    highest: float | None
    drawn: np.ndarray | None


class AnnotatingPredictor:
    """Predicts on images, tells what is found as rows and draws it.

    Args:
        cfg: frozen config with MODEL.WEIGHTS.
        confidence, sentences: as of `Annotator`.
        batch_size: images that pass through the network together; see `Predictor`.
        draws: whether copies are drawn.
        classes: words to find instead of the classes of the training, see `Predictor.set_classes`.
    Raises:
        FileNotFoundError, D2RoadError: the weights, or a model that is not ready to predict.
    """

    def __init__(
        self,
        cfg: CfgNode,
        confidence: float | None = None,
        sentences: Sequence[str] = (),
        batch_size: int = 1,
        draws: bool = True,
        classes: Sequence[str] = (),
    ):
        cfg = with_class_names(cfg, stored_class_names(cfg.MODEL.WEIGHTS))
        self.batch_size, self.draws = batch_size, draws
        self.predict = Predictor(cfg, batch_size=batch_size)
        if classes:
            self.predict.set_classes(classes)
            cfg = self.predict.cfg
        self.annotator = annotator_class(cfg.MODEL.META_ARCHITECTURE)(self.predict, cfg, confidence, sentences)

    def __call__(self, images_bgr: Sequence[np.ndarray], contexts: Sequence[ImageContext]) -> list[Found]:
        """What is found in each of a list of (H, W, 3) uint8 BGR images."""
        cameras = [context.camera for context in contexts]
        known = {"camera": cameras} if any(camera is not None for camera in cameras) else {}
        outputs = self.predict(list(images_bgr), **known, **self.annotator.model_inputs())
        return [self._tell(*each) for each in zip(images_bgr, outputs, contexts)]

    def _tell(self, image_bgr: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> Found:
        rows, highest = self.annotator.rows(output, context), self.annotator.highest_score(output)
        drawn = None
        if self.draws:
            drawn = np.ascontiguousarray(self.annotator.draw(image_bgr[:, :, ::-1], output, context)[:, :, ::-1])
        return Found(rows, highest, drawn)


class DetectionAnnotator(Annotator):
    """Detections as COCO results, with what 3D models add.

    Those in 3D are drawn and written from a confidence of their boxes in the image on: their scores are that times the
    expected overlap in 3D, which ranks them and is low even where there is an object for sure.
    """

    columns: ClassVar[Mapping[str, str]] = {
        "image_id": "int", "file_name": "text", "frame": "int", "category_id": "int", "category_name": "text",
        "bbox": "4 float", "score": "float", "location": "3 float", "dimensions_hwl": "3 float",
        "rotation_y": "float", "depth_std_m": "float",
    }  # fmt: skip

    def __init__(self, predict: Predictor, cfg: CfgNode, confidence: float | None, sentences: Sequence[str] = ()):
        super().__init__(predict, cfg, confidence, sentences)
        self.meta_arch = cfg.MODEL.META_ARCHITECTURE
        self.confidence = CONFIDENCE if confidence is None else confidence
        self.class_names, self.category_ids = class_lists(cfg)

    def _instances(self, output: Mapping[str, Any]) -> Instances:
        if "instances" not in output:
            raise ConfigError(f"{self.meta_arch} gives no instances, and no annotator is registered for what it gives")
        return output["instances"]

    def rows(self, output: Mapping[str, Any], context: ImageContext) -> list[dict[str, Any]]:
        """COCO results, one for each object that scores `confidence` or more."""
        found = self._instances(output)
        found = found[sure_of(found) >= self.confidence]
        objects, poses = predicted_objects(found), poses_as_json(found, context.camera)
        results = []
        rows = zip(objects.boxes_xyxy.tolist(), found.scores.tolist(), objects.class_ids.tolist(), poses)
        for (left, top, right, bottom), score, index, pose in rows:
            result = {"image_id": context.image_id, **context.origin}
            result["category_id"] = self.category_ids.get(index, index)
            if index < len(self.class_names):
                result["category_name"] = self.class_names[index]
            result.update(bbox=[left, top, right - left, bottom - top], score=score, **pose)
            results.append(result)
        return results

    def highest_score(self, output: Mapping[str, Any]) -> float | None:
        return max(sure_of(self._instances(output)).tolist(), default=None)

    def draw(self, image_rgb: np.ndarray, output: Mapping[str, Any], context: ImageContext) -> np.ndarray:
        """The image with boxes, in 3D with the scene from above beside it."""
        found = self._instances(output)
        found = found[sure_of(found) >= self.confidence]
        view = context.view_of(image_rgb, is_empty=not len(found)) if found.has("pred_boxes3d") else None
        return draw_scene(image_rgb, predicted_objects(found), self.class_names, camera=context.camera, view=view)

    def summary(self, rows: Iterable[Mapping[str, Any]], path: Path, highest: float | None = None) -> str:
        count = sum(1 for _ in rows)
        return f"{count} predictions in {path}{'' if count else nothing_found(highest, self.confidence)}"


def sure_of(found: Instances) -> Tensor:
    """What a confidence is compared with: scores (D,), of 3D models those of their boxes in the image."""
    return found.scores_2d if found.has("scores_2d") else found.scores


def nothing_found(highest: float | None, confidence: float) -> str:
    """What to say where no score reaches the confidence: the highest one, and which confidence would show some.

    Args:
        highest: None where the model gives nothing at all.
    """
    if highest is None:
        return ": the model gave nothing at any score"
    lower = math.floor(80 * highest) / 100  # what is a fifth less sure than the best is seen too
    return f": the highest score is {highest:.2g}, below {confidence:g}; try --confidence {lower:g}"


def annotator_class(meta_arch: str) -> type[Annotator]:
    """The annotator registered for a META_ARCHITECTURE, else that of detections."""
    return ANNOTATORS.get(meta_arch) if meta_arch in ANNOTATORS else DetectionAnnotator


def class_lists(cfg: CfgNode) -> tuple[list[str], dict[int, int]]:
    """Class names of the model, and a data set's category ids by class index; both empty where nothing tells them.

    Args:
        cfg: with MODEL.CLASS_NAMES where config or weights tell them.
    """
    classes = list(cfg.MODEL.get("CLASS_NAMES", ()))
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        try:
            names = class_names_of(name)
        except (D2RoadError, FileNotFoundError) as error:
            logger.info("No class names from %s (%s)", name, error)
            continue
        if classes and not set(classes) <= set(names):  # its category ids say nothing of the model's classes
            continue
        to_contiguous = MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id") or {}
        category_of = {names[index]: category for category, index in to_contiguous.items()}
        classes = classes or names
        return classes, {i: category_of[c] for i, c in enumerate(classes) if c in category_of}
    if not classes:
        logger.info("Neither weights nor DATASETS tell class names: classes are written as numbers")
    return classes, {}
