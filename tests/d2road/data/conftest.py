"""Small generated data."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (64, 48)  # width, height


def _write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """An image of noise, so that a cut-off file lacks content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Called with a path, saves an image of 64x48 there and returns the path."""
    return _write_image


@pytest.fixture
def coco_content() -> dict:
    """Two images, three boxes, category ids with a gap."""
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": SIZE[0], "height": SIZE[1]},
            {"id": 3, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]},
        ],
        "categories": [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 30, 20]},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [-5, 0, 20, 20], "iscrowd": 0},
            {"id": 3, "image_id": 3, "category_id": 9, "bbox": [10, 10, 5, 5], "iscrowd": 1},
        ],
    }


@pytest.fixture
def save_coco(tmp_path: Path) -> Callable[[dict], tuple[str, str]]:
    """Write COCO content; gives the JSON's and the image folder's path."""
    images = tmp_path / "images"
    _write_image(images / "a.jpg")
    _write_image(images / "b.jpg")

    def save(content: dict) -> tuple[str, str]:
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content))
        return str(path), str(images)

    return save
