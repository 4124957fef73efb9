"""What the demo draws and writes, by what a model finds: boxes, an anomaly map, or what sentences mean."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances

from d2road.data import class_names_of
from d2road.data.scenes import objects_of, poses_of
from d2road.engine import Predictor
from d2road.structures import Camera
from d2road.structures.boxes3d import box_corners
from d2road.utils.errors import ConfigError
from d2road.utils.io import atomic_write, write_json
from d2road.visualization import SceneObjects, draw_heatmap, draw_scene, draw_sentence, fit_view

logger = logging.getLogger("d2road.demo")

CONFIDENCE = 0.5  # of boxes, where the model does not know better
VIDEO_RANGE_M = 100.0  # of the view from above: all frames of a video need the same
# Colours of anomaly maps begin at 0, which nine in ten values on good pictures are below. They end at twice the
# threshold, or without one here: good pictures hardly exceed 0.1.
NO_THRESHOLD_END = 0.5
SCORE_COLUMNS = ("file", "frame", "score", "threshold", "verdict", "teacher")


class Annotator:
    """Predicts on pictures, draws what is found and collects it.

    Args:
        cfg: frozen config with MODEL.WEIGHTS.
        confidence: boxes below are neither drawn nor written; None takes 0.5, or the threshold that a model of
            sentences has.
        sentences: for models that answer sentences.
    Raises:
        FileNotFoundError, ValueError: the weights, or a model that is not ready to predict.
    """

    def __init__(self, cfg: CfgNode, confidence: float | None, sentences: Sequence[str] = ()):
        self.predict = Predictor(cfg)
        self.cfg, self.confidence = cfg, confidence
        self.extra: dict[str, Any] = {}
        if sentences:
            self.extra["expressions"] = [{"id": number, "text": text} for number, text in enumerate(sentences)]
        self.finds: Boxes | HeatMaps | Answers | None = None  # the first prediction decides

    def __call__(
        self, image_bgr: np.ndarray, camera: Camera | None = None, fixed_view: bool = False, **origin: Any
    ) -> np.ndarray:
        """The annotated copy of a (H, W, 3) uint8 BGR picture.

        Args:
            camera: that took it, for models that estimate 3D.
            fixed_view: keep the size and range of the view from above, as a video needs.
            origin: file_name, and of a video frame; written with each prediction.
        """
        output = self.predict(image_bgr, **({} if camera is None else {"camera": camera}), **self.extra)
        if self.finds is None:
            self.finds = self._kind(output)
        drawn = self.finds.draw(image_bgr[:, :, ::-1], output, origin, camera, fixed_view)
        return np.ascontiguousarray(drawn[:, :, ::-1])

    def _kind(self, output: Mapping[str, Any]) -> "Boxes | HeatMaps | Answers":
        if "groundings" in output:
            if not self.extra:
                raise ConfigError("this model answers sentences: give them by --text or --text-file")
            confidence = self.predict.model.score_threshold if self.confidence is None else self.confidence
            return Answers(self.cfg, confidence, [e["text"] for e in self.extra["expressions"]])
        if self.extra:
            raise ConfigError(
                f"--text: {self.cfg.MODEL.META_ARCHITECTURE} answers no sentences; take a config of Mono3DVG"
            )
        return (
            Boxes(self.cfg, CONFIDENCE if self.confidence is None else self.confidence)
            if "instances" in output
            else HeatMaps()
        )

    def write(self, folder: Path) -> str:
        """Write what was found so far; returns what to say about it."""
        return self.finds.write(folder) if self.finds is not None else "nothing predicted"


class Boxes:
    """Detections, of FOLDER/predictions.json as COCO results."""

    def __init__(self, cfg: CfgNode, confidence: float):
        self.confidence = confidence
        self.class_names, self.category_ids = class_lists(cfg)
        self.results: list[dict] = []
        self.num_images = 0

    def draw(
        self,
        image_rgb: np.ndarray,
        output: Mapping[str, Any],
        origin: Mapping[str, Any],
        camera: Camera | None = None,
        fixed_view: bool = False,
    ) -> np.ndarray:
        """The picture with boxes, in 3D with the scene from above beside it."""
        found: Instances = output["instances"]
        found = found[found.scores >= self.confidence]
        objects, poses = objects_of(found), poses_of(found, camera)
        rows = zip(objects.boxes_xyxy.tolist(), objects.scores.tolist(), objects.class_ids.tolist(), poses)
        for (left, top, right, bottom), score, index, pose in rows:
            result = {"image_id": self.num_images, **origin, "category_id": self.category_ids.get(index, index)}
            if index < len(self.class_names):
                result["category_name"] = self.class_names[index]
            result.update(bbox=[left, top, right - left, bottom - top], score=score, **pose)
            self.results.append(result)
        self.num_images += 1
        view = None
        if fixed_view and camera is not None and found.has("pred_boxes3d"):
            height, width = image_rgb.shape[:2]
            view = fit_view(height, camera, (width, height), (), VIDEO_RANGE_M)
        return draw_scene(image_rgb, objects, self.class_names, camera=camera, view=view)

    def write(self, folder: Path) -> str:
        write_json(folder / "predictions.json", self.results)
        return f"{len(self.results)} predictions in {folder / 'predictions.json'}"


class HeatMaps:
    """Anomaly maps over the pictures, and FOLDER/scores.csv with a line for each."""

    def __init__(self):
        self.rows: list[dict] = []

    def draw(
        self, image_rgb: np.ndarray, output: Mapping[str, Any], origin: Mapping[str, Any], *unused: Any
    ) -> np.ndarray:
        """A grey copy with the map in colours, the same for all pictures; a line around what is above the threshold."""
        score = float(output["anomaly_score"])
        threshold = float(output["anomaly_threshold"]) if "anomaly_threshold" in output else None
        verdict = "" if threshold is None else "anomalous" if score > threshold else "good"
        row = {"score": score, "threshold": "" if threshold is None else threshold, "verdict": verdict}
        self.rows.append(
            {"file": origin.get("file_name", ""), "frame": origin.get("frame", ""), **row}
            | {"teacher": output.get("teacher", "")}
        )
        if "frame" not in origin:
            logger.info("%s: score %.4g%s", origin.get("file_name", ""), score, verdict and f", {verdict}")
        # Where the score is more than the maximum of the map, its threshold says nothing of pixels.
        of_map = threshold if "map_score" not in output else None
        end = 2 * of_map if of_map is not None and of_map > 0 else NO_THRESHOLD_END
        heat = output["anomaly_map"].numpy()
        return draw_heatmap(image_rgb, heat, score, (0.0, end), of_map, alarm=verdict == "anomalous")

    def write(self, folder: Path) -> str:
        columns = [c for c in SCORE_COLUMNS if c != "frame" or any(row["frame"] != "" for row in self.rows)]
        with atomic_write(folder / "scores.csv", "w") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        alarms = sum(row["verdict"] == "anomalous" for row in self.rows)
        return f"{len(self.rows)} scores in {folder / 'scores.csv'}, {alarms} of them above the threshold"


class Answers:
    """What sentences mean, of FOLDER/predictions.json: an entry for each picture and sentence."""

    def __init__(self, cfg: CfgNode, confidence: float, sentences: Sequence[str]):
        self.confidence, self.sentences = confidence, list(sentences)
        self.class_names = list(cfg.MODEL.MONO3DVG.CLASSES) or class_lists(cfg)[0]
        self.results: list[dict] = []

    def draw(
        self,
        image_rgb: np.ndarray,
        output: Mapping[str, Any],
        origin: Mapping[str, Any],
        camera: Camera | None = None,
        fixed_view: bool = False,
    ) -> np.ndarray:
        """For each sentence the picture with the boxes meant, the scene from above, and the words over it, shaded by
        their relevance; one below the other."""
        view = None
        height, width = image_rgb.shape[:2]
        if fixed_view and camera is not None:
            view = fit_view(height, camera, (width, height), (), VIDEO_RANGE_M)
        panels = [self._draw_one(image_rgb, g, origin, camera, view) for g in output["groundings"]]
        widest = max(panel.shape[1] for panel in panels)
        filled = [
            np.pad(panel, ((0, 0), (0, widest - panel.shape[1]), (0, 0)), constant_values=255) for panel in panels
        ]
        return np.concatenate(filled)

    def _draw_one(self, image_rgb, grounding: Mapping[str, Any], origin, camera, view) -> np.ndarray:
        text = self.sentences[grounding["expression_id"]]
        kept = np.flatnonzero(np.asarray(grounding["scores"]) >= self.confidence)
        rows, scores = (np.asarray(grounding[name], dtype=np.float64)[kept] for name in ("boxes", "scores"))
        boxes, classes = np.asarray(grounding["boxes_xyxy"])[kept], np.asarray(grounding["classes"])[kept]
        spans, relevance = grounding["spans"], grounding["relevance"]
        words = [
            {"text": text[start:end], "span": [start, end], "relevance": value}
            for (start, end), value in zip(spans, relevance)
        ]
        names = [self.class_names[i] if i < len(self.class_names) else str(i) for i in classes.tolist()]
        self.results.append(
            {**origin, "text": text, "boxes": rows.tolist(), "scores": scores.tolist(), "boxes_xyxy": boxes.tolist()}
            | {"category_names": names, "words": words}
        )
        frame = camera.ground_rotation() if camera is not None else None
        objects = SceneObjects(classes, boxes, scores, box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame))
        picture = draw_scene(image_rgb, objects, self.class_names, camera=camera, view=view)
        size = max(14, round(image_rgb.shape[0] / 30))
        strip = draw_sentence(text, picture.shape[1], spans, relevance, size, note=f"{len(kept)} found")
        return np.concatenate([strip, picture])

    def write(self, folder: Path) -> str:
        write_json(folder / "predictions.json", self.results)
        found = sum(len(result["boxes"]) for result in self.results)
        return f"{len(self.results)} answers with {found} boxes in {folder / 'predictions.json'}"


def class_lists(cfg: CfgNode) -> tuple[list[str], dict[int, int]]:
    """Class names, and the data set's category ids by class index; both empty where no data set tells them."""
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        try:
            names = class_names_of(name)
        except (ValueError, FileNotFoundError) as error:
            logger.info("No class names from %s (%s)", name, error)
            continue
        to_contiguous = MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id") or {}
        return names, {index: category for category, index in to_contiguous.items()}
    logger.info("DATASETS tell no class names: classes are written as numbers")
    return [], {}
