"""Foreground of an image whose background is plain: objects on a table, a belt or a sheet of paper."""

from dataclasses import dataclass

import cv2
import numpy as np

RING = 32  # the shorter side over the width of the border that is taken for background
PLAIN = 30.0  # grey levels from a plane that 19 of 20 pixels of a plain background's border keep to
NEAR = 14.0  # grey levels from the plane that still are background
OBJECT_SHARES = (0.005, 0.75)  # of the image that an object takes
SPECK = 0.002  # parts smaller than this share of the image are no objects
FIT_ROUNDS = 3


@dataclass(frozen=True)
class Foreground:
    """Where things can be defective, and what lies behind them.

    mask: (H, W) bool, everywhere True where the background is not plain.
    background: (H, W, 3) float32 in grey levels, with the grain of the border, or None where it is not plain.
    """

    mask: np.ndarray
    background: np.ndarray | None = None


def find_foreground(image: np.ndarray) -> Foreground:
    """Tell an object from a plain background by the plane of colour through the border of the image.

    Args:
        image: (H, W, 3) uint8.
    Returns:
        the whole image where the border is not plain, or nothing or nearly everything differs from it.
    """
    height, width = image.shape[:2]
    whole = Foreground(np.ones((height, width), bool))
    pixels = image.astype(np.float32)
    thickness = max(2, min(height, width) // RING)
    ring = np.ones((height, width), bool)
    ring[thickness:-thickness, thickness:-thickness] = False
    plane, residuals = _fit_plane(pixels, ring)
    if np.quantile(np.abs(residuals).max(1), 0.95) > PLAIN:
        return whole
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    soft = cv2.GaussianBlur(pixels, (0, 0), max(min(height, width) / 256, 0.5))
    distance = np.abs(soft - plane).max(2)
    # Shadows lie between background and object: Otsu's threshold between the two leaves most of them out.
    levels = distance.clip(0, 255).astype(np.uint8)
    between = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]
    differs = (distance > max(NEAR, 4 * spread, between)).astype(np.uint8)
    mask = _without_specks(cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)))
    if not OBJECT_SHARES[0] <= mask.mean() <= OBJECT_SHARES[1]:
        return whole
    near = residuals[np.abs(residuals).max(1) <= max(NEAR, 4 * spread)]
    # Which residual a pixel gets is decided by its place: the same image has the same background always.
    grain = near[np.random.default_rng(0).integers(len(near), size=height * width)].reshape(height, width, 3)
    return Foreground(mask, (plane + grain).astype(np.float32))


def _fit_plane(pixels: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares plane of each channel, what lies far from it left out; (H, W, 3), residuals (N, 3) of `where`."""
    height, width = where.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / width, y / height], 2)
    inside, values = terms[where], pixels[where]
    keep = np.ones(len(values), bool)
    coefficients = np.zeros((3, 3), np.float32)
    coefficients[0] = np.median(values, 0)
    for _ in range(FIT_ROUNDS):
        distance = np.abs(values - inside @ coefficients).max(1)
        keep = distance <= max(3 * float(np.median(distance)), 1.0)
        coefficients = np.linalg.lstsq(inside[keep], values[keep], rcond=None)[0].astype(np.float32)
    return terms @ coefficients, values - inside @ coefficients


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool without the small parts of a mask, its small holes filled."""
    for value in (1, 0):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=8)
        small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < SPECK * mask.size]
        mask = np.where(np.isin(labels, small), 1 - value, mask).astype(np.uint8)
    return mask > 0
