"""Shapes of pasted defects: Perlin noise, blobs, turned rectangles, bent lines."""

import cv2
import numpy as np

SUBPIXELS = 4  # bits of cv2's fixed-point coordinates


def perlin_noise(shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Perlin's gradient noise, about -1 to 1, 0 at the corners of its cells.

    Args:
        shape: (H, W) of the result.
        cells: of the lattice in height and width.
    Returns:
        (H, W) float32.
    Source: Perlin, Improving Noise, SIGGRAPH 2002: fade 6t^5 - 15t^4 + 10t^3, unit gradients, scaled by sqrt(2).
    """
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    gradients = np.stack([np.sin(angles), np.cos(angles)], 2)  # (rows + 1, columns + 1, 2), y first
    places = [(np.arange(length) + 0.5) / length * count for length, count in zip(shape, cells)]
    corners = [np.minimum(place.astype(int), count - 1) for place, count in zip(places, cells)]
    (y, x), (row, column) = np.meshgrid(*places, indexing="ij"), np.meshgrid(*corners, indexing="ij")
    dy, dx = y - row, x - column

    def of_corner(down: int, right: int) -> np.ndarray:
        gradient = gradients[row + down, column + right]
        return gradient[..., 0] * (dy - down) + gradient[..., 1] * (dx - right)

    fade_y, fade_x = (t * t * t * (t * (6 * t - 15) + 10) for t in (dy, dx))
    top = of_corner(0, 0) * (1 - fade_x) + of_corner(0, 1) * fade_x
    bottom = of_corner(1, 0) * (1 - fade_x) + of_corner(1, 1) * fade_x
    return (np.sqrt(2) * (top * (1 - fade_y) + bottom * fade_y)).astype(np.float32)


def blob(shape: tuple[int, int], center_xy: tuple[float, float], size: float, rng: np.random.Generator) -> np.ndarray:
    """A blot of about `size` pixels across whose rim is moved by Perlin noise; (H, W) bool."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    stretch, angle = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    dx, dy = x - center_xy[0], y - center_xy[1]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    distance = np.hypot(along, across / stretch) / max(size / 2, 0.5)
    side = max(int(np.ceil(2 * size)), 8)
    cells = int(rng.integers(3, 7))
    noise = perlin_noise((side, side), (cells, cells), rng)
    column = np.clip(dx + side / 2, 0, side - 1).astype(int)
    row = np.clip(dy + side / 2, 0, side - 1).astype(int)
    return distance + 0.6 * noise[row, column] < 1


def rectangle(
    shape: tuple[int, int], center_xy: tuple[float, float], size_wh: tuple[float, float], degrees: float
) -> np.ndarray:
    """A rectangle, turned counter-clockwise as seen; (H, W) bool."""
    corners = cv2.boxPoints((center_xy, size_wh, -degrees))
    canvas = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(canvas, np.round(corners * 2**SUBPIXELS).astype(np.int32), 1, shift=SUBPIXELS)
    return canvas > 0


def bent_line(
    shape: tuple[int, int], center_xy: tuple[float, float], length: float, width: float, rng: np.random.Generator
) -> np.ndarray:
    """A line that wanders about its direction and thins out at its ends; (H, W) float32 coverage from 0 to 1."""
    count = 24
    heading = (
        rng.uniform(0, 2 * np.pi)
        + np.cumsum(rng.normal(0, 0.09, count))
        + np.linspace(-1, 1, count) * rng.normal(0, 0.25)
    )
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * length / count
    points = np.cumsum(steps, 0)
    points += np.asarray(center_xy) - points[count // 2]
    canvas = np.zeros(shape, np.uint8)
    fixed = np.round(points * 2**SUBPIXELS).astype(np.int32)
    for i in range(count - 1):
        thickness = max(round(float(width * np.sin(np.pi * (i + 1) / count) ** 0.5)), 1)
        cv2.line(canvas, fixed[i].tolist(), fixed[i + 1].tolist(), 255, thickness, cv2.LINE_AA, SUBPIXELS)
    return canvas.astype(np.float32) / 255
