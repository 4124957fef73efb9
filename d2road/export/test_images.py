"""Two generated test images, for an export to which none are given: no image of anybody is in the file then.

Smooth colours with discs and bars of hard edges, of different sizes, neither of which a network takes as it is. They
are the same on every machine; they look like no data set, so images of one's own test a detector better.
"""

import numpy as np

SIZES = ((214, 287), (181, 150))  # height, width


def generated_images() -> tuple[np.ndarray, np.ndarray]:
    """Two images (H, W, 3) uint8."""
    first, second = (_image(height, width, number) for number, (height, width) in enumerate(SIZES))
    return first, second


def _image(height: int, width: int, number: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 32.0
    phases = np.arange(3) * 2.1 + number
    image = 128 + 60 * np.sin(x[..., None] * (0.7 + 0.3 * number) + phases) * np.cos(y[..., None] * 0.9 - phases)
    for part in range(5):  # discs
        row, column = height * (0.15 + 0.17 * part), width * ((0.23 + 0.37 * (part + number)) % 0.9 + 0.05)
        inside = (y * 32 - row) ** 2 + (x * 32 - column) ** 2 < (6 + 5 * part) ** 2
        image[inside] = ((part * 97 + 31) % 256, (part * 53 + 180) % 256, (part * 151 + number * 70) % 256)
    image[height // 2 : height // 2 + 3] = 20
    image[:, width // 3 : width // 3 + 5] = 235
    return image.clip(0, 255).astype(np.uint8)
