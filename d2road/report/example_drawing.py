"""Drawings of the examples that an evaluator chose: labels dashed, predictions solid, heat maps beside their image."""

from pathlib import Path

import cv2
import numpy as np

from d2road.evaluation.plot_data import Boxes, Example
from d2road.structures.camera import Camera
from d2road.utils.image_io import open_image, read_image
from d2road.visualization import SceneObjects, draw_heatmap, draw_mask_outline, draw_scene, draw_sentence, side_by_side

WIDTH_PX, JPEG_QUALITY = 960, 85
LETTERS_PX = 16


def draw_example(example: Example) -> np.ndarray:
    """(H, W, 3) uint8 RGB, at most 960 pixels wide.

    Raises:
        FileNotFoundError, DataError: its image or a mask cannot be read.
        ValueError: its arrays do not fit together.
    """
    image = read_image(example.image)
    if example.heat is not None:
        drawn = _draw_heat(example, image)
    else:
        camera = None
        if example.P is not None:
            camera = Camera(np.array(example.P), None if example.ground is None else np.array(example.ground))
        found = _objects(example.found)
        drawn = draw_scene(image, found, list(example.class_names), _objects(example.truth), camera)
    if drawn.shape[1] > WIDTH_PX:
        size = (WIDTH_PX, max(1, round(drawn.shape[0] * WIDTH_PX / drawn.shape[1])))
        drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    if example.sentence and drawn.shape[1] >= 8 * LETTERS_PX:
        drawn = np.concatenate([draw_sentence(example.sentence, drawn.shape[1], size=LETTERS_PX), drawn])
    return drawn


def as_jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) RGB as a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), options)[1].tobytes()


def _objects(boxes: Boxes | None) -> SceneObjects:
    if boxes is None:
        return SceneObjects([], [])
    return SceneObjects(boxes.classes, boxes.boxes_xyxy, boxes.scores, boxes.corners or None)


def _draw_heat(example: Example, image: np.ndarray) -> np.ndarray:
    assert example.heat is not None
    mask = np.zeros(image.shape[:2], dtype=bool)
    for file in example.mask_files:
        values = np.asarray(open_image(Path(file)))
        inside = (values if values.ndim == 2 else values[..., :3].max(axis=2)) != 0
        if inside.shape != mask.shape:
            inside = cv2.resize(inside.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST) != 0
        mask |= inside
    limits = None if example.heat_range is None else (float(example.heat_range[0]), float(example.heat_range[1]))
    truth = mask if mask.any() else None
    values = example.heat.values()
    heated = draw_heatmap(image, values, value_range=limits, threshold=example.heat_threshold, truth_mask=truth)
    plain = image.copy()
    if truth is not None:
        draw_mask_outline(plain, truth)
    return side_by_side(plain, heated)
