"""Pasted defects: good images made defective by a seed, with masks of exactly what has changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from d2road.synthetic.pasted_defects.defect_kinds import DEFECT_KINDS, Canvas
from d2road.synthetic.pasted_defects.foreground import find_foreground
from d2road.utils.errors import DataError

KINDS = ("cut_patch", "cut_scar", "texture", "scratch", "missing", "warp")
VISIBLE = 10  # grey levels, in any channel, from which on a pixel has changed for the eye
LEAST_AREA = 12.0  # pixels of an image of 256
LEAST_PART = 0.05  # parts of a defect below this share of its largest one are taken back
ATTEMPTS = 20


@dataclass(frozen=True)
class Difficulty:
    """How hard pasted defects are; each is drawn evenly from its range.

    size: across, as a share of the image's shorter side; contrast: of scratches and textures, in grey levels.
    """

    size: tuple[float, float] = (0.03, 0.12)
    contrast: tuple[float, float] = (20.0, 80.0)


USUAL = Difficulty()


@dataclass(frozen=True)
class PastedDefect:
    """A defective image (H, W, 3) uint8 of a kind, and its mask (H, W) bool: the pixels that differ from the good."""

    image: np.ndarray
    mask: np.ndarray
    kind: str


def paste_defect(
    image: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    difficulty: Difficulty = USUAL,
    textures: Sequence[np.ndarray] = (),
) -> PastedDefect:
    """Make a good image defective.

    On a plain background the defect is on the object. Changes below `VISIBLE` grey levels and specks are taken back,
    so that image and mask agree pixel by pixel; what then is hardly there is drawn again. Where a kind cannot be seen,
    such as a dent in something even, the next kind takes its turn.

    Args:
        image: (H, W, 3) uint8.
        kind: of `DEFECT_KINDS`.
        rng: decides everything.
        textures: (H', W', 3) uint8, other good images; the image itself if empty.
    Raises:
        ConfigError: unknown kind.
        DataError: the image is too small for any defect to be seen.
    """
    DEFECT_KINDS.get(kind)
    foreground, height, width = find_foreground(image), image.shape[0], image.shape[1]
    side = min(height, width)
    order = [kind, *(other for other in KINDS if other != kind)]
    for name in order:
        for _ in range(ATTEMPTS):
            size = float(rng.uniform(*difficulty.size)) * side
            contrast = float(rng.uniform(*difficulty.contrast))
            canvas = Canvas(image.astype(np.float32), foreground, textures or [image], size, contrast)
            altered = DEFECT_KINDS.get(name)(canvas, rng).round().clip(0, 255).astype(np.uint8)
            mask = visible_change(image, altered)
            if mask.sum() >= LEAST_AREA * (side / 256) ** 2:
                return PastedDefect(np.where(mask[..., None], altered, image), mask, name)
    raise DataError(
        f"no defect can be seen on an image of {width}x{height} pixels after {ATTEMPTS} attempts of each kind: give "
        f"larger sizes than {difficulty.size} of its side, or a higher contrast than {difficulty.contrast}"
    )


def visible_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that differ visibly, in parts that are more than specks (8-connected)."""
    changed = np.abs(after.astype(np.int16) - before).max(2) >= VISIBLE
    count, labels, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8), connectivity=8)
    if count < 2:
        return changed
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= max(LEAST_PART * areas.max(), 4))
    return np.isin(labels, kept)
