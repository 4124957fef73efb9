"""Boxes written by another convention than their format's, found by comparing shares with what should be there.

Corners in place of width and height, centres in place of corners, fractions in place of pixels: each such file reads
without an error, and as a whole it looks like no right one. Single boxes prove nothing, and boxes that reach a little
beyond their image, or tiny ones, are usual, so every verdict needs most boxes of a file.
"""

import numpy as np

# What reaches no further beyond an image than this is rounding, or a box that was labelled generously.
MARGIN_PX, MARGIN_SHARE = 2.0, 0.01
FRACTION_SHARE = 0.99  # of boxes that are below a pixel
MIN_ODD = 3  # boxes that contradict the convention ...
ODD_SHARE = 0.10  # ... and their share,
FIT_SHARE = 0.95  # while this share fits another one
CENTRE_ODD_SHARE, CENTRE_FIT_SHARE, CENTRE_MIN = 0.05, 0.995, 30  # right boxes often fit this one too
BEYOND_SHARE, BEYOND_MIN = 0.5, 20  # boxes beyond their image, whatever they are

LAYOUTS = {"xywh": "[x, y, width, height]", "xyxy": "[x1, y1, x2, y2]"}


def convention_defect(boxes: np.ndarray, sizes: np.ndarray, layout: str) -> str:
    """What contradicts that boxes are of a layout and in pixels, or "".

    Args:
        boxes: (N, 4) as the file has them, finite.
        sizes: (N, 2) width and height of their images.
        layout: "xywh" (left, top, width, height) or "xyxy" (left, top, right, bottom).
    """
    if not len(boxes):
        return ""
    start, end = boxes[:, :2], boxes[:, 2:]
    side = end if layout == "xywh" else end - start
    small = (side.max(1) < 1) | (boxes.max(1) <= 1)
    if small.mean() >= FRACTION_SHARE and sizes.min() > 2:
        return (
            f"{small.sum()} of {len(boxes)} boxes are below 1 pixel: fractions of the image? Multiply them by its "
            "width and height"
        )
    margin = np.maximum(MARGIN_PX, MARGIN_SHARE * sizes)
    found = _as_xywh(start, end, sizes, margin) if layout == "xywh" else _as_xyxy(start, end, sizes, margin)
    if found:
        return found
    right = start + end if layout == "xywh" else end
    beyond = ((start < -margin) | (right > sizes + margin)).any(1)
    if len(boxes) >= BEYOND_MIN and beyond.mean() >= BEYOND_SHARE:
        return (
            f"{beyond.sum()} of {len(boxes)} boxes reach beyond their images: of another resolution than the width and "
            "height of the images say, or in another order?"
        )
    return ""


def _as_xywh(start: np.ndarray, end: np.ndarray, sizes: np.ndarray, margin: np.ndarray) -> str:
    beyond = (start + end > sizes + margin).any(1)
    share = beyond.mean()
    corners = ((end > start) & (start >= -margin) & (end <= sizes + margin)).all(1)
    what = f"{beyond.sum()} of {len(start)} boxes reach beyond their images, and"
    if beyond.sum() >= MIN_ODD and share >= ODD_SHARE and corners.mean() >= FIT_SHARE:
        return f"{what} as corners [x1, y1, x2, y2] they lie within: subtract x1 and y1 from x2 and y2"
    centres = ((start - end / 2 >= -margin) & (start + end / 2 <= sizes + margin)).all(1)
    if len(start) >= CENTRE_MIN and share >= CENTRE_ODD_SHARE and centres.mean() >= CENTRE_FIT_SHARE:
        return (
            f"{what} with their centre in front, [x, y] of it, they lie within: subtract half of the width and height"
        )
    return ""


def _as_xyxy(start: np.ndarray, end: np.ndarray, sizes: np.ndarray, margin: np.ndarray) -> str:
    negative = (end <= start).any(1)
    sides = ((end > 0) & (start >= -margin) & (start + end <= sizes + margin)).all(1)
    if negative.sum() >= MIN_ODD and negative.mean() >= ODD_SHARE and sides.mean() >= FIT_SHARE:
        return (
            f"{negative.sum()} of {len(start)} boxes have their right edge left of the left one, or the bottom above "
            "the top, and as [x, y, width, height] they lie within their images: add x and y to width and height"
        )
    return ""
