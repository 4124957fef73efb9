"""Detections on the ground plane, from a model of this project or from a file of an earlier run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from detectron2.structures import Instances

from d2road.engine.predictor import Predictor
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.camera_detections import detections_on_ground
from d2road.traffic.tracking.detection_files import StoredDetections
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.utils.errors import ConfigError
from d2road.video.frame import Frame

Detect = Callable[[Frame], GroundDetections]


class PinholeView:
    """The image that a camera without distortion would take, as models and drawings need it."""

    def __init__(self, camera: RoadsideCamera):
        self.lens = camera
        self.camera = replace(camera, distortion=np.zeros(5))
        self._maps = camera.undistortion_maps() if camera.distortion.any() else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 without distortion; the image itself where there is none.

        Raises:
            DataError: it has not the size that the camera was calibrated for.
        """
        self.lens.require_size(image.shape[1], image.shape[0], "the frame")
        return image if self._maps is None else cv2.remap(image, *self._maps, cv2.INTER_LINEAR)

    def boxes_in_image(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """(N, 4) boxes of the image as it is, around the corners of boxes (N, 4) of this one."""
        if self._maps is None:
            return boxes_xyxy
        corners = self.lens.distort(boxes_xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])  # (N, 4, 2)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def class_names_of(predict: Predictor, user: str) -> list[str]:
    """Names by the class indices of a detector. Raises ConfigError that names its user where it knows none."""
    names = list(predict.metadata.get("thing_classes", [])) if predict.metadata is not None else []
    if not names:
        raise ConfigError(f"{user} needs a detector with classes, which this config has not: MODEL.CLASS_NAMES")
    return names


def instances_of(output: dict[str, Any], user: str) -> Instances:
    """What a detector found. Raises ConfigError that names its user where the model is no detector."""
    if "instances" not in output:
        raise ConfigError(f"{user} needs a detector; this model gives no instances")
    return output["instances"]


class GroundDetector:
    """A detector whose boxes are put on the ground plane of a camera.

    3D boxes stand where the detector's ray to their bottom centre meets the ground. A detector of 2D boxes alone gives
    the point below the middle of their lower edge, no sizes and no headings: coarser, by about half a vehicle.

    The score of a detection is the one that ranks the detector's boxes (`scores`): of a 3D detector the class score
    times the expected 3D overlap, not the class score alone (`scores_2d`). `least_score` and the thresholds of
    `TrackerOptions` are of that score.

    Args:
        predict: the model.
        camera: of the video.
        least_score: of what is kept.
    Raises:
        ConfigError: a model that finds no objects with names.

    Attributes:
        highest: score of all that was seen, kept or not; 0 before.
    """

    def __init__(self, predict: Predictor, camera: RoadsideCamera, least_score: float):
        self.predict, self.least_score = predict, least_score
        self.class_names = class_names_of(predict, "tracking")
        self.view = PinholeView(camera)
        self.highest = 0.0

    def __call__(self, frame: Frame) -> GroundDetections:
        """What is found in a frame. Raises DataError where it has another size than the camera."""
        camera = self.view.camera
        found = instances_of(self.predict(self.view(frame.image_bgr), camera.pinhole), "tracking")
        self.highest = max(self.highest, float(found.scores.max()) if len(found) else 0.0)
        found = found[found.scores >= self.least_score]
        boxes_xyxy = found.pred_boxes.tensor.numpy().astype(np.float64)
        if found.has("pred_boxes3d"):
            boxes = found.pred_boxes3d.to_kitti(camera.pinhole.ground_rotation()).numpy()
        else:
            boxes = _boxes_below(boxes_xyxy, camera)
        names = [self.class_names[i] for i in found.pred_classes.tolist()]
        seen = self.view.boxes_in_image(boxes_xyxy)
        scores = np.clip(found.scores.numpy().astype(np.float64), 0, 1)
        return detections_on_ground(self.view.lens, frame.index, frame.t, boxes, seen, names, scores)


class StoredDetector:
    """Detections of an earlier run, and a model for the frames that it did not reach.

    Args:
        stored: what there is.
        camera: that they were made with.
        detect: for other frames; None where there must be none.
    """

    def __init__(self, stored: StoredDetections, camera: RoadsideCamera, detect: Detect | None = None):
        self.stored, self.camera, self.detect = stored, camera, detect

    def __call__(self, frame: Frame) -> GroundDetections:
        """What was or is found in a frame. Raises DataError where it is that of another video, or of another size."""
        if frame.image_bgr.size:
            self.camera.require_size(*frame.size_wh, "the frame")
        if self.detect is not None and frame.index not in self.stored.times:
            return self.detect(frame)
        return self.stored.at(frame.index, frame.t)


def _boxes_below(boxes_xyxy: np.ndarray, camera: RoadsideCamera) -> np.ndarray:
    """(N, 7) boxes of unknown size and heading on the ground below the middle of the lower edges of 2D boxes (N, 4)."""
    feet = np.stack([boxes_xyxy[:, [0, 2]].mean(axis=1), boxes_xyxy[:, 3]], axis=1)
    place = camera.ground_to_camera(np.pad(camera.image_to_ground(feet), ((0, 0), (0, 1))))
    unknown = np.full((len(place), 4), np.nan)
    return np.concatenate([place, unknown], axis=1)
