"""Small grey texture tiles, made once per process from a fixed seed: multipliers around 1."""

from functools import lru_cache

import cv2
import numpy as np

GRIME, CARGO, FACADE, FACADE_WIDE, LEAVES = range(5)
TILE = 128


def smooth_noise(rng: np.random.Generator, size: int, octaves: tuple[int, ...]) -> np.ndarray:
    """(size, size) float32 noise that wraps around, mean 0 and deviation 1; `octaves` are cells per tile."""
    total = np.zeros((size, size), dtype=np.float32)
    for cells in octaves:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        # Wrapped by three copies, so that the tile has no seam.
        big = cv2.resize(np.tile(grid, (3, 3)), (3 * size, 3 * size), interpolation=cv2.INTER_CUBIC)
        total += big[size : 2 * size, size : 2 * size]
    total -= total.mean()
    return total / total.std()


@lru_cache(maxsize=1)
def bank() -> list[np.ndarray]:
    """(128, 128) float32 tiles, in the order of the names above. Row 0 is the top of an upright face."""
    rng = np.random.default_rng(20240501)
    grime = 1 + 0.035 * smooth_noise(rng, TILE, (4, 16))
    # Dirt rises from below.
    grime *= np.interp(np.arange(TILE), [0, 80, 127], [1.04, 1.0, 0.82])[:, None]
    cargo = 1 + 0.03 * smooth_noise(rng, TILE, (3, 24))
    cargo[:, ::8] *= 0.88
    cargo *= np.interp(np.arange(TILE), [0, 90, 127], [1.03, 1.0, 0.88])[:, None]
    leaves = 1 + 0.25 * smooth_noise(rng, TILE, (8, 32, 64))
    tiles = [grime, cargo, _facade(rng, 6, 8), _facade(rng, 10, 5), leaves]
    return [np.clip(tile, 0.2, 1.6).astype(np.float32) for tile in tiles]


def _facade(rng: np.random.Generator, columns: int, rows: int) -> np.ndarray:
    """Windows in a plastered wall."""
    wall = 1 + 0.05 * smooth_noise(rng, 4 * TILE, (6, 48))
    size = 4 * TILE
    for row in range(rows):
        for column in range(columns):
            x0, x1 = (column + 0.22) * size / columns, (column + 0.78) * size / columns
            y0, y1 = (row + 0.2) * size / rows, (row + 0.72) * size / rows
            cv2.rectangle(wall, (int(x0) - 3, int(y0) - 3), (int(x1) + 3, int(y1) + 3), 1.25, -1)
            cv2.rectangle(wall, (int(x0), int(y0)), (int(x1), int(y1)), float(rng.uniform(0.25, 0.6)), -1)
            cv2.line(wall, (int((x0 + x1) / 2), int(y0)), (int((x0 + x1) / 2), int(y1)), 1.1, 2)
    return wall


@lru_cache(maxsize=1)
def ground_noise() -> tuple[np.ndarray, np.ndarray]:
    """(1024, 1024) fine grain and (512, 512) large patches, float32, mean 0."""
    rng = np.random.default_rng(20240502)
    fine = smooth_noise(rng, 1024, (512, 128)) * 0.7 + rng.standard_normal((1024, 1024)).astype(np.float32) * 0.7
    return fine, smooth_noise(rng, 512, (4, 16, 48))


@lru_cache(maxsize=1)
def sensor_noise() -> np.ndarray:
    """(640, 1100, 3) float32 unit noise, slightly correlated as after demosaicing; frames take random windows of it."""
    rng = np.random.default_rng(20240503)
    noise = rng.standard_normal((640, 1100, 3)).astype(np.float32)
    noise = 0.75 * noise + 0.45 * noise.mean(axis=2, keepdims=True)
    return cv2.GaussianBlur(noise, (3, 3), 0.5)
