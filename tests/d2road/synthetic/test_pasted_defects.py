"""Pasted defects: exact masks, equal images of equal seeds, places on the object."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.synthetic.pasted_defects import DEFECT_KINDS, KINDS, Difficulty, paste_defect, visible_change
from d2road.synthetic.pasted_defects.defect_shapes import bent_line, perlin_noise, rectangle
from d2road.synthetic.pasted_defects.foreground import find_foreground
from d2road.utils.errors import ConfigError, DataError


def bolt(seed: int = 0, side: int = 128) -> np.ndarray:
    """A dark notched bar on a light table that is lit from one side, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.repeat((190 + 20 * x / side)[..., None], 3, 2)
    inside = (np.abs(y - side / 2) < side / 8 + 3 * (x // 6 % 2)) & (np.abs(x - side / 2) < side / 3)
    image[inside] = (70 + 25 * np.sin(x / 2.5))[inside, None]
    return (image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def cloth(seed: int = 0, side: int = 128) -> np.ndarray:
    """Coloured weave that fills the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    waves = np.stack([128 + 80 * np.sin(x / 4), 128 + 80 * np.sin(y / 5), 128 + 50 * np.sin((x + y) / 7)], 2)
    return (waves + rng.normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("good", [bolt(), cloth()], ids=["plain background", "texture"])
def test_the_mask_is_where_the_image_differs_and_visibly_so(kind, good):
    for seed in range(6):
        pasted = paste_defect(good, kind, np.random.default_rng(seed), textures=[cloth(1)])
        difference = np.abs(pasted.image.astype(int) - good).max(2)
        assert pasted.kind == kind and pasted.image.dtype == np.uint8
        np.testing.assert_array_equal(pasted.mask, difference > 0)
        assert difference[pasted.mask].min() >= 10 and 3 <= pasted.mask.sum() < 0.2 * pasted.mask.size


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_everything_and_another_one_gives_another_defect(kind):
    images = [paste_defect(bolt(), kind, np.random.default_rng(seed), textures=[cloth()]) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(images[0].image, images[1].image)
    np.testing.assert_array_equal(images[0].mask, images[1].mask)
    assert (images[0].mask != images[2].mask).any()
    state = np.random.get_state()[1].copy()
    paste_defect(bolt(), kind, np.random.default_rng(5))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # nobody else's random numbers are used up


def test_on_a_plain_background_defects_are_on_the_object():
    good = bolt()
    near = cv2.dilate(find_foreground(good).mask.astype(np.uint8), np.ones((25, 25))) > 0
    for kind in KINDS:
        for seed in range(8):
            mask = paste_defect(good, kind, np.random.default_rng(seed)).mask
            assert near[mask].all(), (kind, seed)
    assert near.mean() < 0.6


def test_the_object_is_told_from_its_background_where_that_is_plain():
    y, x = np.mgrid[:128, :128]
    truth = (np.abs(y - 64) < 16) & (np.abs(x - 64) < 42)
    found = find_foreground(bolt())
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.85
    # Behind it the background goes on as it is lit, so that what is missing looks like table.
    expected = 190 + 20 * x / 128
    assert np.abs(found.background.mean(2) - expected)[truth].mean() < 4
    woven = find_foreground(cloth())
    assert woven.mask.all() and woven.background is None
    empty = find_foreground(np.full((64, 64, 3), 120, np.uint8))
    assert empty.mask.all()


def test_size_and_contrast_say_how_hard_it_is():
    small, large = Difficulty(size=(0.03, 0.03)), Difficulty(size=(0.2, 0.2))
    areas = [
        np.mean([paste_defect(cloth(), "texture", np.random.default_rng(s), d).mask.sum() for s in range(10)])
        for d in (small, large)
    ]
    assert areas[1] > 10 * areas[0]
    grey = np.full((128, 128, 3), 128, np.uint8)
    for contrast in (20.0, 60.0):
        pasted = paste_defect(grey, "scratch", np.random.default_rng(0), Difficulty(contrast=(contrast, contrast)))
        strongest = np.abs(pasted.image.astype(int) - grey).max()
        assert 0.85 * contrast - 1 <= strongest <= 1.15 * contrast + 1


def test_what_cannot_be_seen_is_another_kind():
    even = np.full((64, 64, 3), 120, np.uint8)
    pasted = paste_defect(even, "warp", np.random.default_rng(0), textures=[cloth()])
    assert pasted.kind not in ("warp", "missing") and pasted.mask.any()


def test_a_cut_patch_is_a_rectangle_of_the_image_itself():
    good = cloth()
    pasted = paste_defect(good, "cut_patch", np.random.default_rng(2), Difficulty(size=(0.2, 0.2)))
    rows, columns = np.flatnonzero(pasted.mask.any(1)), np.flatnonzero(pasted.mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert pasted.mask[box].mean() > 0.7  # the rest of the rectangle happens to look as before
    patch = pasted.image[box].astype(np.float32)
    scores = cv2.matchTemplate(good.astype(np.float32), patch, cv2.TM_CCOEFF_NORMED)
    assert scores.max() > 0.85 and np.median(scores) < 0.5


def test_bad_requests_are_told():
    with pytest.raises(ConfigError, match="did you mean 'scratch'"):
        paste_defect(bolt(), "scratches", np.random.default_rng(0))
    with pytest.raises(DataError, match="give larger sizes"):
        paste_defect(
            np.full((2, 2, 3), 9, np.uint8), "warp", np.random.default_rng(0), Difficulty((0.02, 0.02), (1, 2))
        )
    assert set(KINDS) == set(DEFECT_KINDS.names())


def test_specks_are_no_change():
    before = np.zeros((40, 40, 3), np.uint8)
    after = before.copy()
    after[5:15, 5:15] = 200
    after[30, 30] = 200  # a speck
    after[20:25, 20:25] = 9  # hardly there
    expected = np.zeros((40, 40), bool)
    expected[5:15, 5:15] = True
    np.testing.assert_array_equal(visible_change(before, after), expected)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_perlin_noise_is_smooth_bounded_and_nil_at_the_lattice(rows, columns, seed):
    noise = perlin_noise((rows * 15, columns * 15), (rows, columns), np.random.default_rng(seed))
    assert np.abs(noise).max() <= 1.0
    # Half a pixel from a lattice point in both directions, with 15 pixels a cell: gradients have length sqrt(2), and of
    # the other corners the fade leaves less than a thousandth.
    assert np.abs(noise[0::15, 0::15]).max() <= np.sqrt(2) * np.hypot(0.5, 0.5) / 15 + 3e-3
    assert np.abs(np.diff(noise, axis=0)).max(initial=0) < 0.35


def test_shapes_have_the_stated_sizes():
    turned = rectangle((100, 100), (50.0, 50.0), (40.0, 10.0), 90.0)
    assert abs(int(turned.sum()) - 400) < 80
    rows, columns = np.flatnonzero(turned.any(1)), np.flatnonzero(turned.any(0))
    assert 38 <= np.ptp(rows) <= 42 and 8 <= np.ptp(columns) <= 12
    lines = [bent_line((100, 100), (50.0, 50.0), 40.0, 2.0, np.random.default_rng(s)) for s in range(10)]
    for line in lines:
        y, x = np.nonzero(line > 0.5)
        assert 25 <= np.hypot(np.ptp(x), np.ptp(y)) <= 44 and line.min() >= 0 and line.max() <= 1
