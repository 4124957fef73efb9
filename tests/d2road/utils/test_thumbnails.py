"""Thumbnails of images: means of blocks, the same for another encoder, another for another view."""

import numpy as np
import pytest
from PIL import Image

from d2road.utils.errors import DataError
from d2road.utils.thumbnails import DIGITS, TOLERANCE, is_thumbnail, thumbnail_distance, thumbnail_of


def _view(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((320, 180), Image.Resampling.BICUBIC)


def test_a_thumbnail_holds_the_mean_of_each_block_row_by_row(tmp_path):
    grey = np.kron(np.arange(144, dtype=np.uint8).reshape(9, 16), np.ones((20, 20), dtype=np.uint8))
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert thumbnail_of(tmp_path / "a.png") == bytes(range(144)).hex()


@pytest.mark.parametrize("quality", [95, 40])
def test_another_encoder_keeps_it_and_another_view_does_not(tmp_path, quality):
    _view(0).save(tmp_path / "a.png")
    _view(0).save(tmp_path / "b.jpg", quality=quality)
    _view(1).save(tmp_path / "c.png")
    first, again, other = (thumbnail_of(tmp_path / name) for name in ("a.png", "b.jpg", "c.png"))
    assert is_thumbnail(first) and len(first) == DIGITS
    assert thumbnail_distance(first, first) == 0
    assert thumbnail_distance(first, again) <= TOLERANCE < thumbnail_distance(first, other)


def test_what_is_no_thumbnail_and_no_image(tmp_path):
    assert not any(map(is_thumbnail, (None, 3, "", "0" * (DIGITS - 1), "g" * DIGITS, "AB" * (DIGITS // 2))))
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        thumbnail_of(tmp_path / "a.jpg")
