"""Heat maps: anomaly maps as colours over the image. Arrays in, arrays out."""

import cv2
import numpy as np

from d2road.visualization.boxes2d_drawing import copy_image, draw_label, line_width

ALARM, CALM, TRUTH = (214, 39, 40), (60, 120, 60), (255, 255, 255)


def draw_heatmap(
    image_rgb: np.ndarray,
    heat: np.ndarray,
    score: float | None = None,
    value_range: tuple[float, float] | None = None,
    threshold: float | None = None,
    truth_mask: np.ndarray | None = None,
    opacity: float = 0.75,
    alarm: bool | None = None,
) -> np.ndarray:
    """A grey copy of the image with a map in colours over it: the higher a value, the less of the image is seen.

    Args:
        image_rgb: (H, W, 3) uint8.
        heat: (h, w) any range; enlarged to the image where it is smaller. Values that are not finite are not drawn.
        score: of the image, written into the corner; on red if it is above `threshold`.
        value_range: (low, high) values of the ends of the colours; give the same for images that are compared. None
            takes those of this map, which makes the image's own noise look like a finding if there is none.
        threshold: the line around what lies above it is drawn.
        truth_mask: (H, W), not 0 inside; its outline is drawn in white.
        opacity: of the highest values, 0 to 1.
        alarm: whether the score is written on red, whatever `threshold` is.
    Raises:
        ValueError: not such an image, map, mask, range or opacity.
    """
    canvas = copy_image(image_rgb)
    values = _enlarged(heat, canvas.shape[:2])
    if not 0 <= opacity <= 1:
        raise ValueError(f"draw_heatmap: opacity is {opacity}, expected 0 to 1")
    known = np.isfinite(values)
    low, high = value_range if value_range is not None else _range_of(values[known])
    if not low <= high:
        raise ValueError(f"draw_heatmap: value_range is {value_range}, expected (low, high)")
    spread = max(high - low, 1e-4 * max(abs(low), abs(high)), 1e-30)  # rounding is no content
    level = np.round(255 * np.clip((np.where(known, values, low) - low) / spread, 0, 1)).astype(np.uint8)
    grey = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colors = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    weight = (opacity * (level / 255))[:, :, None]
    canvas = np.round(grey * (1 - weight) + colors * weight).astype(np.uint8)

    width = line_width(canvas)
    if threshold is not None:
        _outline(canvas, np.where(known, values, -np.inf) > threshold, ALARM, width)
    if truth_mask is not None:
        draw_mask_outline(canvas, truth_mask, TRUTH, width)
    if score is not None:
        if alarm is None:
            alarm = threshold is not None and score > threshold
        draw_label(canvas, np.zeros(4), f"{score:.3g}", ALARM if alarm else CALM)
    return canvas


def draw_mask_outline(
    image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = TRUTH, width: int | None = None
) -> None:
    """Draw the line around each region of a mask (H, W) into the image, on a dark one that shows it on any ground.

    Raises:
        ValueError: mask and image differ in size.
    """
    mask = np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask of shape {mask.shape} for an image of shape {image.shape[:2]}")
    width = width or line_width(image)
    _outline(image, mask != 0, (0, 0, 0), width + 1)
    _outline(image, mask != 0, color, width)


def _outline(image: np.ndarray, inside: np.ndarray, color: tuple[int, int, int], width: int) -> None:
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, lines, -1, color, width)


def _enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    heat = np.asarray(heat)
    if heat.ndim != 2 or not heat.size or heat.dtype.kind not in "fiub":
        raise ValueError(f"draw_heatmap: map is {heat.dtype} {heat.shape}, expected numbers of shape (h, w)")
    heat = heat.astype(np.float32)
    return heat if heat.shape == size else cv2.resize(heat, size[::-1], interpolation=cv2.INTER_LINEAR)


def _range_of(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
