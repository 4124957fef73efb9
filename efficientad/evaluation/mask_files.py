"""Masks of defects as files: which pixels are marked, in every way that programs store them.

A mask has 0 outside and one value inside, or a small number for each kind of defect (VisA). What else it holds is grey:
of lossy compression, of smoothed edges, or of something that is no mask. Grey near the background or near the defect is
rounded to it and reported; much grey between them is refused.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from d2road.utils.errors import DataError
from d2road.utils.image_io import open_image

logger = logging.getLogger(__name__)

LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
LARGEST_NUMBER = 31  # of a kind of defect; higher values are grey levels
FEW_VALUES = 8  # of a lossless mask: numbers of kinds or areas; smoothed edges and noise have more
NEAR = 1 / 8  # of the range: so near to the background or to the defect grey is rounded without doubt
MIDDLE_SHARE = 0.25  # of grey between them, relative to all that is not background
FRAME_SHARE = 0.95  # of the pixels along the sides of an inverted mask
SHOWN = 6


@dataclass(frozen=True)
class MaskFacts:
    """What is odd about a mask: `rounded` pixels of grey, no marked pixel, or marked around instead of inside."""

    path: str
    rounded: int = 0
    is_empty: bool = False
    is_inverted: bool = False


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """A mask (H, W), numbers as stored, 0 outside; of colours the largest channel counts.

    Alpha counts where it is not the same everywhere: what is transparent is outside.

    Raises:
        FileNotFoundError, DataError: no such file, or not an image.
    """
    return _values(open_image(path))


def read_marked(path: str | os.PathLike) -> tuple[np.ndarray, MaskFacts]:
    """(H, W) bool, True inside defects, and what is odd about the mask.

    Raises:
        FileNotFoundError: no such file.
        DataError: not an image, or not a mask of background and defect: names the file and its values.
    """
    image = open_image(path)
    lossy = _format_of(path) in LOSSY
    values = _values(image)
    marked, rounded = marked_pixels(values, lossy, str(path))
    edges = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    inverted = bool(marked.mean() > 0.5 and not marked.all() and edges.mean() >= FRAME_SHARE)
    return marked, MaskFacts(str(path), rounded, not marked.any(), inverted)


def marked_pixels(values: np.ndarray, lossy: bool, name: str) -> tuple[np.ndarray, int]:
    """Which pixels of a mask are marked, (H, W) bool, and how many were grey and rounded.

    Args:
        values: (H, W) as stored.
        lossy: the file's compression changes values.
        name: of the file, for messages.
    Raises:
        DataError: values that are neither those of a background nor of a defect.
    """
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and values.min() >= 0):
        raise DataError(f"mask {name} has values below 0 or not finite: expected 0 outside and one value inside")
    if values.dtype.kind == "i" and values.min() < 0:
        raise DataError(f"mask {name} has values below 0: expected 0 outside and one value inside")
    found, counts = np.unique(values, return_counts=True)
    highest = found[-1]
    if (found != 0).sum() <= 1 or (not lossy and values.dtype.kind != "f" and highest <= LARGEST_NUMBER):
        return values != 0, 0
    share = found.astype(np.float64) / float(highest)
    low, high = share <= NEAR, share >= 1 - NEAR
    middle = int(counts[~low & ~high].sum())
    areas = not lossy and len(found) <= FEW_VALUES and found[0] == 0 and bool((low & (found != 0)).any())
    if highest <= LARGEST_NUMBER and values.dtype.kind != "f":
        cause = "so small numbers do not outlast its compression"
    elif areas or middle > MIDDLE_SHARE * counts[~low].sum():
        cause = f"{middle} pixels are neither background nor defect"
    elif not low.any():
        cause = "no pixel is background"
    else:
        return values >= 0.5 * highest, int(counts[(found != 0) & (found != highest)].sum())
    raise DataError(
        f"mask {name} is no mask of one defect: its values are {_listed(found, counts)}; {cause}. Store it without "
        "loss (PNG) with 0 outside and 255 inside"
    )


def report_masks(masks: Sequence[MaskFacts]) -> None:
    """Say once what is odd about the masks of a data set.

    Raises:
        DataError: all of them, three or more, are inverted.
    """
    groups = {
        "have values that are neither 0 nor their largest one (JPEG, smoothed edges): from half of the largest on, "
        "pixels count as defect. Store them as PNG with 0 and 255": [m for m in masks if m.rounded],
        "of anomalous images mark no pixel": [m for m in masks if m.is_empty],
        "mark all around and leave the middle out: are they inverted?": [m for m in masks if m.is_inverted],
    }
    for text, found in groups.items():
        if found:
            pixels = f" ({sum(m.rounded for m in found)} pixels)" if found[0].rounded and "neither" in text else ""
            logger.warning("%d of %d masks%s %s; the first is %s", len(found), len(masks), pixels, text, found[0].path)
    inverted = sum(mask.is_inverted for mask in masks)
    if inverted == len(masks) and inverted >= 3:
        raise DataError(
            f"all {inverted} masks mark the surroundings and leave the middle out, {masks[0].path} first: they are "
            "inverted; store 0 outside defects and 255 inside"
        )


def _values(image: Image.Image) -> np.ndarray:
    transparent = image.mode == "PA" or (image.mode in ("P", "L", "RGB") and "transparency" in image.info)
    if transparent or image.mode in ("P", "CMYK"):
        image = image.convert("RGBA" if transparent else "RGB")
    alpha = None
    if image.mode in ("LA", "RGBA", "La", "RGBa"):
        alpha = np.asarray(image.getchannel(image.getbands()[-1]))
        image = image.convert("L" if image.mode.startswith("L") else "RGB")
    mask = np.asarray(image)
    mask = mask if mask.ndim == 2 else mask.max(axis=2)
    if alpha is None or alpha.min() == alpha.max():
        return mask
    seen = (mask.astype(np.float64) * alpha / 255).round().astype(np.uint8)
    return seen if seen.any() else alpha  # painted in black on nothing


def _format_of(path: str | os.PathLike) -> str:
    with Image.open(path) as image:
        return image.format or ""


def _listed(found: np.ndarray, counts: np.ndarray) -> str:
    """The most frequent values with their pixels, in order."""
    kept = sorted(np.argsort(counts)[::-1][:SHOWN].tolist())
    more = f" and {len(found) - len(kept)} more" if len(found) > len(kept) else ""
    return ", ".join(f"{found[i]:g} ({counts[i]} pixels)" for i in kept) + more
