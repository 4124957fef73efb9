"""Sentences as strips of shaded words."""

import numpy as np
import pytest

from d2road.visualization import draw_sentence
from d2road.visualization.sentence_drawing import PAPER, SHADE


def test_words_are_shaded_by_their_numbers():
    text = "the white car"
    strip = draw_sentence(text, 400, [(0, 3), (4, 9), (10, 13)], [0.0, 1.0, 0.5])
    assert strip.dtype == np.uint8 and strip.shape[1:] == (400, 3)
    full = (strip == SHADE).all(-1)
    half = (strip == [round(p + (s - p) / 2) for p, s in zip(PAPER, SHADE)]).all(-1)
    assert full.any() and half.any()
    assert np.flatnonzero(full.any(0)).max() < np.flatnonzero(half.any(0)).min()  # white before car
    assert not (draw_sentence(text, 400) == SHADE).all(-1).any()


def test_long_texts_wrap_and_odd_ones_are_drawn():
    short, long = draw_sentence("car", 200), draw_sentence("the car " * 40, 200)
    assert len(long) > 5 * len(short)
    assert draw_sentence("x" * 500, 200).shape[1] == 200  # a word without a place to break
    assert draw_sentence("", 200).shape[1] == 200
    assert draw_sentence("公交车\nbus", 200, [(0, 3)], [float("nan")], note="1 found").ndim == 3


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="2 spans and 1 numbers"):
        draw_sentence("a b", 200, [(0, 1), (2, 3)], [1.0])
    with pytest.raises(ValueError, match="too narrow"):
        draw_sentence("a", 20)
