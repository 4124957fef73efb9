"""A heat map as a figure that explains itself: verdict in words above it, a bar of its colours at its right."""

import cv2
import numpy as np

from d2road.visualization.boxes2d_drawing import FONT, copy_image
from d2road.visualization.heatmap_drawing import ALARM, CALM, draw_heatmap

SMALLEST = 512  # pixels of the shorter side: smaller images are enlarged
INK, PAPER = (40, 40, 40), (255, 255, 255)
NEUTRAL = (90, 90, 90)


def draw_heatmap_figure(
    image_rgb: np.ndarray,
    heat: np.ndarray,
    value_range: tuple[float, float],
    title: str,
    threshold: float | None = None,
    alarm: bool | None = None,
    truth_mask: np.ndarray | None = None,
) -> np.ndarray:
    """A heat map (see `draw_heatmap`) with a title on red or green over it and the bar of its colours beside it.

    The size depends on that of the image alone, so that frames of a video agree.

    Args:
        image_rgb: (H, W, 3) uint8; enlarged to `SMALLEST` pixels on the shorter side.
        heat: (h, w) any range.
        value_range: (low, high) values of the ends of the colours.
        title: one line; what does not fit the width is cut off.
        threshold: of the map: a line around what lies above it, and a mark at the bar.
        alarm: the title is on red if True, on green if False, on grey if it is not known.
        truth_mask: (H, W), not 0 inside; its outline is drawn in white.
    Returns:
        (H', W', 3) uint8, larger than the image.
    """
    image, masks = enlarged(image_rgb, *([] if truth_mask is None else [truth_mask]))
    drawn = draw_heatmap(image, heat, None, value_range, threshold, masks[0] if masks else None)
    bar = _color_bar(image.shape[0], value_range, threshold, _letters(image))
    return with_title(np.concatenate([drawn, bar], axis=1), title, alarm)


def enlarged(image_rgb: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A copy of an image, and masks of it, of at least `SMALLEST` pixels on the shorter side."""
    image = copy_image(image_rgb)
    scale = max(1.0, SMALLEST / min(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    large = [np.asarray(mask) != 0 for mask in masks]
    if scale > 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        large = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) != 0 for mask in large]
    return image, large


def with_title(image: np.ndarray, text: str, alarm: bool | None = None) -> np.ndarray:
    """The image below a line of text on red (`alarm`), green (False) or grey (None); what does not fit is cut off."""
    letters = _letters(image)
    color = NEUTRAL if alarm is None else ALARM if alarm else CALM
    strip = np.full((round(52 * letters), image.shape[1], 3), color, np.uint8)
    _write(strip, text, (round(10 * letters), round(34 * letters)), PAPER, letters)
    return np.concatenate([strip, image])


def _letters(image: np.ndarray) -> float:
    """Size of letters for an image (H, W, 3), relative to those for 850 pixels."""
    return max(0.5, min(image.shape[:2]) / 850)


def _color_bar(height: int, value_range: tuple[float, float], threshold: float | None, letters: float) -> np.ndarray:
    """(height, W, 3): the colours from the low end at the foot to the high end, and what the values are."""
    low, high = value_range
    panel = np.full((height, round(190 * letters), 3), PAPER, np.uint8)
    pad, left, right = round(30 * letters), round(10 * letters), round(38 * letters)
    levels = np.linspace(255, 0, height - 2 * pad).round().astype(np.uint8)[:, None]
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    panel[pad : height - pad, left:right] = colors
    values = {high: "", low: ""}
    if threshold is not None and low < threshold < high:
        values[threshold] = "threshold"
    for value, word in values.items():
        share = (value - low) / (high - low) if high > low else 0.0
        y = round(height - pad - 1 - share * (height - 2 * pad - 1))
        line = ALARM if word else INK
        cv2.line(panel, (left, y), (right + round(8 * letters), y), line, max(1, round(2 * letters)))
        _write(panel, f"{value:.3g}", (right + round(12 * letters), y + round(8 * letters)), line, letters)
        if word:
            _write(panel, word, (right + round(12 * letters), y + round(32 * letters)), line, letters)
    return panel


def _write(image: np.ndarray, text: str, place: tuple[int, int], color: tuple[int, int, int], letters: float) -> None:
    text = text.encode("ascii", "replace").decode()  # OpenCV's built-in letters
    cv2.putText(image, text, place, FONT, 0.75 * letters, color, max(1, round(1.4 * letters)), cv2.LINE_AA)
