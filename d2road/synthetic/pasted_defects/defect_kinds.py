"""Kinds of pasted defects: each alters a good image; what may be seen of it is found out afterwards.

Letters: H x W pixels of three channels, grey levels from 0 to 255 as float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d2road.synthetic.pasted_defects.defect_shapes import bent_line, blob, perlin_noise, rectangle
from d2road.synthetic.pasted_defects.foreground import Foreground
from d2road.utils.registry import Registry

DEFECT_KINDS = Registry("kind of pasted defect")
DEFECT_KINDS.__doc__ = "Functions of a `Canvas` and a generator to the altered image (H, W, 3) float32."
GREY = 3.0  # grey levels between the channels of an image that has no colour
STRONG_EDGES = 0.9  # quantile of the gradient from which on a place counts as an edge


@dataclass(frozen=True)
class Canvas:
    """What a defect is pasted on.

    image: (H, W, 3) float32; foreground: where to; textures: other images, at least one, uint8.
    size: of the defect in pixels; contrast: in grey levels.
    """

    image: np.ndarray
    foreground: Foreground
    textures: Sequence[np.ndarray]
    size: float
    contrast: float

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def place(self, rng: np.random.Generator) -> tuple[float, float]:
        """(x, y) of a pixel of the foreground."""
        return _pick(self.foreground.mask, rng)

    def edge(self, rng: np.random.Generator) -> tuple[float, float]:
        """(x, y) of a pixel of the foreground where the image changes most."""
        grey = cv2.GaussianBlur(self.image.mean(2), (0, 0), max(min(self.shape) / 256, 0.5))
        strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        mask = self.foreground.mask
        return _pick(mask & (strength >= np.quantile(strength[mask], STRONG_EDGES)), rng)


def _pick(where: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """(x, y) of one of the True pixels."""
    chosen = np.flatnonzero(where)[rng.integers(np.count_nonzero(where))]
    return float(chosen % where.shape[1]), float(chosen // where.shape[1])


def _moved_piece(canvas: Canvas, size_wh: tuple[float, float], degrees: float, rng: np.random.Generator) -> np.ndarray:
    """The image with a rectangle of itself, its colours a little off, turned and laid somewhere else."""
    (from_x, from_y), to = canvas.place(rng), canvas.place(rng)
    matrix = cv2.getRotationMatrix2D((from_x, from_y), degrees, 1.0)
    matrix[:, 2] += np.array([to[0] - from_x, to[1] - from_y])
    size = (canvas.shape[1], canvas.shape[0])
    piece = cv2.warpAffine(canvas.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    inside = rectangle(canvas.shape, to, size_wh, degrees)
    brightness, contrast, saturation = rng.uniform(0.9, 1.1, 3)
    middle = piece[inside].mean(0) if inside.any() else 0.0
    piece = (piece - middle) * contrast + middle * brightness
    grey = piece.mean(2, keepdims=True)
    return np.where(inside[..., None], grey + (piece - grey) * saturation, canvas.image)


@DEFECT_KINDS.register(name="cut_patch")
def cut_patch(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """CutPaste: a rectangle of the image at another place, aspect 0.3 to 3.3, colours within a tenth.

    Source: Li et al., CutPaste, CVPR 2021. Differs: cut from and laid on the foreground where the background is plain.
    """
    stretch = np.exp(rng.uniform(np.log(0.3), np.log(3.3))) ** 0.5
    return _moved_piece(canvas, (canvas.size * stretch, canvas.size / stretch), 0.0, rng)


@DEFECT_KINDS.register(name="cut_scar")
def cut_scar(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """CutPaste-Scar: a long thin rectangle of the image at another place, turned by up to 45 degrees.

    Source: Li et al., CutPaste, CVPR 2021: 2 to 16 by 10 to 25 pixels of 256, here by the size of the defect.
    """
    length = canvas.size * rng.uniform(1.0, 2.0)
    return _moved_piece(canvas, (length * rng.uniform(0.12, 0.4), length), float(rng.uniform(-45, 45)), rng)


@DEFECT_KINDS.register(name="texture")
def texture(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """DRAEM: a foreign texture, blended in where Perlin noise says.

    Source: Zavrtanik et al., DRAEM, ICCV 2021. Differs: the noise bounds one blot of a given size instead of being
    thresholded all over the image, the opacity follows the contrast, and textures are other images or drawn ones.
    """
    inside = blob(canvas.shape, canvas.place(rng), canvas.size, rng) & canvas.foreground.mask
    if not inside.any():
        return canvas.image
    drawn = rng.random() < 0.5
    pattern = drawn_texture(canvas.shape, rng) if drawn else found_texture(canvas.textures, canvas.shape, rng)
    if np.ptp(canvas.image[inside], axis=1).mean() < GREY:
        pattern = np.repeat(pattern.mean(2, keepdims=True), 3, 2)  # colour would give itself away
    distance = float(np.abs(pattern - canvas.image).max(2)[inside].mean())
    opacity = np.clip(canvas.contrast / max(distance, 1.0), 0.15, 1.0) * inside[..., None]
    return canvas.image * (1 - opacity) + pattern * opacity


def found_texture(images: Sequence[np.ndarray], shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32: an image, enlarged, turned or mirrored, moved, its channels scaled."""
    image = np.rot90(images[int(rng.integers(len(images)))], int(rng.integers(4)))
    image = image[:, ::-1] if rng.random() < 0.5 else image
    scale = rng.uniform(1.0, 2.5)
    size = (int(np.ceil(shape[1] * scale)), int(np.ceil(shape[0] * scale)))
    large = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_LINEAR)
    top, left = rng.integers(size[1] - shape[0] + 1), rng.integers(size[0] - shape[1] + 1)
    part = large[top : top + shape[0], left : left + shape[1]].astype(np.float32)
    return (part * rng.uniform(0.5, 1.5, 3) + rng.uniform(-30, 30)).clip(0, 255).astype(np.float32)


def drawn_texture(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32: clouds, stripes or dots between two colours."""
    side = min(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.012, 0.06) * side
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = rng.integers(3)
    if kind == 0:
        cells = [int(c) for c in rng.integers((4, 8, 16), (8, 16, 48))]
        share = sum(perlin_noise(shape, (c, c), rng) / 2**i for i, c in enumerate(cells)) * 0.7 + 0.5
    elif kind == 1:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * along / period)
    else:
        share = (np.sin(2 * np.pi * along / period) + np.sin(2 * np.pi * across / period) > 0.7).astype(np.float32)
    first, second = rng.uniform(0, 255, (2, 3))
    return (first + (second - first) * np.clip(share, 0, 1)[..., None]).astype(np.float32)


@DEFECT_KINDS.register(name="scratch")
def scratch(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A bent line, lighter or darker than what it crosses."""
    width = max(min(canvas.shape) / 256, 0.5) * rng.uniform(1.0, 2.6)
    cover = bent_line(canvas.shape, canvas.place(rng), canvas.size * rng.uniform(1.0, 3.0), width, rng)
    cover = cover * canvas.foreground.mask
    under = canvas.image[cover > 0.5].mean() if (cover > 0.5).any() else 128.0
    # A line that the image has no room for in one direction goes in the other.
    sign = 1.0 if under < canvas.contrast else -1.0 if under > 255 - canvas.contrast else rng.choice([-1.0, 1.0])
    return canvas.image + sign * canvas.contrast * rng.uniform(0.85, 1.15, 3) * cover[..., None]


@DEFECT_KINDS.register(name="missing")
def missing(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A part that is not there: the background instead where it is plain, else what the surroundings suggest."""
    inside = blob(canvas.shape, canvas.edge(rng), 1.2 * canvas.size, rng)
    if canvas.foreground.background is not None:
        behind = canvas.foreground.background
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(min(canvas.shape) / 512, 0.4))[..., None]
        return canvas.image * (1 - soft) + behind * soft
    image = canvas.image.round().clip(0, 255).astype(np.uint8)
    filled = cv2.inpaint(image, inside.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return filled.astype(np.float32)


@DEFECT_KINDS.register(name="warp")
def warp(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A dent: what lies within about the defect's size is pushed aside, most in the middle."""
    x0, y0 = canvas.edge(rng)
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    sigma = max(canvas.size / 2, 1.0)
    amount = sigma * rng.uniform(0.2, 0.7) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
    angle = rng.uniform(0, 2 * np.pi)
    from_x, from_y = (x + amount * np.cos(angle)).astype(np.float32), (y + amount * np.sin(angle)).astype(np.float32)
    return cv2.remap(canvas.image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
