"""Tiles cover every pixel, and blend into what they were cut from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientad.inference.tiling import cut, merge, tile_boxes, tile_starts


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), st.floats(0, 0.9))
def test_tiles_cover_the_axis_and_overlap(length, tile, overlap):
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0 and starts[-1] == max(length - tile, 0)
    assert all(0 < b - a <= max(1, int(tile * (1 - overlap))) for a, b in zip(starts, starts[1:]))  # noqa: RUF007


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.floats(0, 0.6), st.integers(0, 8))
def test_merging_what_was_cut_gives_the_image(height, width, overlap, margin):
    image = torch.rand(2, height, width)
    boxes = tile_boxes((height, width), (32, 24), overlap)
    assert torch.allclose(merge(cut(image, boxes), boxes, (height, width), margin), image, atol=1e-5)


def test_margins_of_tiles_do_not_show_where_another_tile_sees():
    boxes = tile_boxes((16, 48), (16, 32), 0.5)
    assert [box[1] for box in boxes] == [0, 16]
    tiles = torch.ones(2, 1, 16, 32)
    tiles[..., :4], tiles[..., -4:] = 100, 100
    merged = merge(tiles, boxes, (16, 48), margin=4)
    assert merged[0, 8, 6:42].max() < 1.5
    assert merged[0, 8, 0].item() == pytest.approx(100)  # here is no other


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0.5), (8, 1.0), (8, -0.1)])
def test_impossible_tiles(tile, overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_starts(20, tile, overlap)
