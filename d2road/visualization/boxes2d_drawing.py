"""Drawing 2D boxes on images, and images onto one sheet. Arrays in, arrays out."""

import colorsys
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN = 0.618033988749895


def class_color(class_id: int) -> tuple[int, int, int]:
    """RGB colour, 0..255, of a class: the same in every image, and far from those of the classes beside it."""
    # Steps of the golden ratio around the hue circle never meet; brightness alternates so that near hues still differ.
    hue = (0.58 + class_id * GOLDEN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0 if class_id % 2 == 0 else 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_instances(
    image_rgb: np.ndarray,
    boxes_xyxy: np.ndarray,
    class_ids: np.ndarray,
    scores: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    min_score: float = 0.0,
    truth_boxes_xyxy: np.ndarray | None = None,
    truth_class_ids: np.ndarray | None = None,
) -> np.ndarray:
    """A copy of the image with boxes and labels; line width and letters follow its size.

    Args:
        image_rgb: (H, W, 3) uint8.
        boxes_xyxy: (N, 4) pixels; parts outside the image are cut, boxes that are not finite are left out.
        class_ids: (N,) integers.
        scores: (N,) 0..1, written behind the class; None writes the class alone.
        class_names: by class id; a class beyond them is written as its number.
        min_score: boxes below are left out.
        truth_boxes_xyxy: (M, 4) ground truth, drawn as dashed lines without labels under the others.
        truth_class_ids: (M,) classes of these; None draws them in white.
    Raises:
        ValueError: not such an image, or arrays of different lengths.
    """
    canvas = copy_image(image_rgb)
    boxes, classes = _checked("boxes", boxes_xyxy, class_ids)
    values = np.ones(len(boxes)) if scores is None else np.asarray(scores, dtype=float).reshape(-1)
    if len(values) != len(boxes):
        raise ValueError(f"draw_instances: {len(boxes)} boxes but {len(values)} scores")
    width = line_width(canvas)

    if truth_boxes_xyxy is not None:
        count = len(np.asarray(truth_boxes_xyxy).reshape(-1, 4))
        truth_ids = np.full(count, -1) if truth_class_ids is None else truth_class_ids
        truth, truth_classes = _checked("truth boxes", truth_boxes_xyxy, truth_ids)
        for box, class_id in zip(truth, truth_classes):
            if np.isfinite(box).all():
                color = (255, 255, 255) if class_id < 0 else class_color(int(class_id))
                _dashed_rectangle(canvas, box, color, max(1, width // 2))

    shown = [i for i in np.argsort(values, kind="stable") if values[i] >= min_score and np.isfinite(boxes[i]).all()]
    for i in shown:
        left, top, right, bottom = _corners(canvas, boxes[i])
        cv2.rectangle(canvas, (left, top), (right, bottom), class_color(int(classes[i])), width)
    for i in shown:  # above all boxes, the best on top
        name = class_names[classes[i]] if 0 <= classes[i] < len(class_names) else str(classes[i])
        text = name if scores is None else f"{name} {values[i]:.2f}"
        draw_label(canvas, boxes[i], text, class_color(int(classes[i])))
    return canvas


def contact_sheet(
    images: Sequence[np.ndarray], columns: int = 4, cell_width: int = 480, gap: int = 4, background: int = 255
) -> np.ndarray:
    """Images side by side, in rows, each fitted into equal cells.

    Args:
        images: (H_i, W_i, 3) uint8; they keep their proportions.
        columns: images in a row.
        cell_width: pixels; cells are as high as the highest image at this width.
        gap: pixels around cells.
        background: grey value between them.
    Returns:
        (H, W, 3) uint8.
    Raises:
        ValueError: no images, an array that is none, or fewer than one column.
    """
    if not len(images) or columns < 1 or cell_width < 1:
        raise ValueError(f"contact_sheet: {len(images)} images in {columns} columns of {cell_width} pixels")
    tiles = [copy_image(image) for image in images]
    columns = min(columns, len(tiles))
    height = max(max(1, round(tile.shape[0] * cell_width / tile.shape[1])) for tile in tiles)
    height = min(height, 2 * cell_width)  # a very tall image must not blow up every cell
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) + gap, columns * (cell_width + gap) + gap, 3)
    sheet = np.full(shape, background, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        scale = min(cell_width / tile.shape[1], height / tile.shape[0])
        size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
        small = cv2.resize(tile, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        row, column = divmod(index, columns)
        top = gap + row * (height + gap) + (height - size[1]) // 2
        left = gap + column * (cell_width + gap) + (cell_width - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = small
    return sheet


def line_width(image: np.ndarray) -> int:
    """Pixels of a line that is well seen on this image at any size."""
    return max(1, round(min(image.shape[:2]) / 300))


def copy_image(image: np.ndarray) -> np.ndarray:
    """A copy to draw on.

    Raises:
        ValueError: not (H, W, 3) uint8.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected an image of shape (H, W, 3), uint8, RGB; got {got}")
    return np.array(image, order="C")


def _checked(what: str, boxes: np.ndarray, class_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    classes = np.asarray(class_ids, dtype=int).reshape(-1)
    if len(boxes) != len(classes):
        raise ValueError(f"draw_instances: {len(boxes)} {what} but {len(classes)} classes")
    return boxes, classes


def _corners(image: np.ndarray, box: np.ndarray) -> tuple[int, int, int, int]:
    """Corner pixels inside the image. Clipped first: OpenCV overflows on huge coordinates."""
    height, width = image.shape[:2]
    clipped = np.clip(np.round(box), 0, [width - 1, height - 1, width - 1, height - 1])
    left, top, right, bottom = clipped.astype(int).tolist()
    return left, top, right, bottom


def _dashed_rectangle(image: np.ndarray, box: np.ndarray, color: tuple[int, int, int], width: int) -> None:
    left, top, right, bottom = _corners(image, box)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    dash = max(4, 5 * width)
    for (x0, y0), (x1, y1) in pairwise(corners):
        length = max(abs(x1 - x0), abs(y1 - y0))
        for start in range(0, length, 2 * dash):
            ends = np.array([start, min(start + dash, length)]) / length
            (xa, xb), (ya, yb) = x0 + ends * (x1 - x0), y0 + ends * (y1 - y0)
            cv2.line(image, (round(xa), round(ya)), (round(xb), round(yb)), color, width)


def draw_label(image: np.ndarray, box: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
    """Text on a filled field above the box; inside it where the image ends; never outside the image."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's built-in letters
    scale = float(np.clip(min(image.shape[:2]) / 1000, 0.4, 3.0))
    thick = max(1, round(scale * 1.5))
    (text_width, text_height), base = cv2.getTextSize(text, FONT, scale, thick)
    pad = max(1, round(3 * scale))
    field_height, field_width = text_height + base + 2 * pad, text_width + 2 * pad
    left, top, _, _ = _corners(image, box)
    y = top - field_height if top >= field_height else top
    y = max(0, min(y, image.shape[0] - field_height))
    x = max(0, min(left, image.shape[1] - field_width))
    cv2.rectangle(image, (x, y), (x + field_width - 1, y + field_height - 1), color, cv2.FILLED)
    luminance = np.dot(color, [0.299, 0.587, 0.114])
    ink = (0, 0, 0) if luminance > 140 else (255, 255, 255)
    cv2.putText(image, text, (x + pad, y + pad + text_height), FONT, scale, ink, thick, cv2.LINE_AA)
