"""What the demo draws and writes, by what a model finds: boxes, or an anomaly map."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances

from d2ext.data import class_names_of
from d2ext.engine import Predictor
from d2ext.structures import Camera
from d2ext.utils.io import atomic_write, write_json
from d2ext.visualization import draw_heatmap, draw_scene, fit_view
from tools.scenes import objects_of, poses_of

logger = logging.getLogger("d2ext.demo")

VIDEO_RANGE_M = 100.0  # of the view from above: all frames of a video need the same
# Colours of anomaly maps begin at 0, which nine in ten values on good pictures are below. They end at twice the
# threshold, or without one here: good pictures hardly exceed 0.1.
NO_THRESHOLD_END = 0.5
SCORE_COLUMNS = ("file", "frame", "score", "threshold", "verdict", "teacher")


class Annotator:
    """Predicts on pictures, draws what is found and collects it.

    Args:
        cfg: frozen config with MODEL.WEIGHTS.
        confidence: boxes below are neither drawn nor written.
    Raises:
        FileNotFoundError, ValueError: the weights, or a model that is not ready to predict.
    """

    def __init__(self, cfg: CfgNode, confidence: float):
        self.predict = Predictor(cfg)
        self.cfg, self.confidence = cfg, confidence
        self.finds: Boxes | HeatMaps | None = None  # the first prediction decides

    def __call__(
        self, image_bgr: np.ndarray, camera: Camera | None = None, fixed_view: bool = False, **origin: Any
    ) -> np.ndarray:
        """The annotated copy of a (H, W, 3) uint8 BGR picture.

        Args:
            camera: that took it, for models that estimate 3D.
            fixed_view: keep the size and range of the view from above, as a video needs.
            origin: file_name, and of a video frame; written with each prediction.
        """
        output = self.predict(image_bgr, **({} if camera is None else {"camera": camera}))
        if self.finds is None:
            self.finds = Boxes(self.cfg, self.confidence) if "instances" in output else HeatMaps()
        drawn = self.finds.draw(image_bgr[:, :, ::-1], output, origin, camera, fixed_view)
        return np.ascontiguousarray(drawn[:, :, ::-1])

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
