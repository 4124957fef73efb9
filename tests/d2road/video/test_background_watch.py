"""Background registration: a turned image is told with its turn, light, vehicles and vibration are not."""

from functools import cache

import cv2
import numpy as np
import pytest

from d2road.traffic.calibration.camera_turn import turned_homography
from d2road.utils.errors import DataError
from d2road.video.background_registration import RegisteredBackground
from d2road.video.background_watch import EVERY_S, RECENT, REFERENCE_FRAMES, BackgroundWatch
from tests.factories.camera_sites import straight_camera

CAMERA = straight_camera().scaled(480, 270)
FIRST = REFERENCE_FRAMES + RECENT


@cache
def scene():
    """Blocks of several sizes, as houses, marks and signs."""
    rng = np.random.default_rng(3)
    image = np.full((270, 480, 3), 90, np.uint8)
    for _ in range(250):
        x, y, w, h = (int(one) for one in rng.integers([0, 0, 5, 5], [470, 260, 40, 30]))
        cv2.rectangle(image, (x, y), (x + w, y + h), [int(one) for one in rng.integers(20, 230, 3)], -1)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def seen(turn_deg=(0.0, 0.0, 0.0), gain=1.0, seed=0):
    """The scene with noise, a vehicle somewhere, and other light."""
    rng = np.random.default_rng(seed)
    H = turned_homography(CAMERA.K, np.array(turn_deg))
    image = cv2.warpPerspective(scene(), H, (480, 270), borderMode=cv2.BORDER_REPLICATE).astype(float)
    x, y = int(rng.integers(0, 400)), int(rng.integers(100, 200))
    image[y : y + 50, x : x + 80] = rng.integers(0, 255, 3)
    return np.clip(image * gain + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def watch(frames):
    one = BackgroundWatch(CAMERA)
    for number, image in enumerate(frames):
        one.add(image, EVERY_S * number)
    return one


@pytest.mark.parametrize("turn", [(0.2, 0, 0), (0, -0.2, 0), (0, 0, 0.3)])
def test_a_turn_is_told_with_its_size(turn):
    found = watch([seen(turn if number >= FIRST else (0, 0, 0), seed=number) for number in range(FIRST + RECENT)])
    (report,) = found.reports
    np.testing.assert_allclose(report.turn_deg, turn, atol=0.03)
    assert EVERY_S * FIRST <= report.t <= EVERY_S * FIRST + 20


def test_light_that_fades_is_no_turn():
    found = watch([seen(gain=1 - 0.02 * number, seed=number) for number in range(40)])
    assert not found.reports and found.highest_deg < 0.03 and found.registered == 40 - REFERENCE_FRAMES


def test_a_camera_that_shakes_is_no_turn():
    rng = np.random.default_rng(1)
    shaken = [seen(tuple(0.3 * rng.normal(size=2)) + (0.0,), seed=number) for number in range(30)]
    found = watch([*(seen(seed=100 + number) for number in range(FIRST)), *shaken])
    assert not found.reports and found.shaken_deg > 0.15
    (note,) = found.notes()
    assert "the camera shakes" in note and "places 60 m away scatter" in note
    assert not watch([seen(seed=number) for number in range(40)]).notes()


@pytest.mark.parametrize("count", [5, 16, 40])
def test_a_short_clip_tells_that_the_camera_shakes_and_a_steady_one_says_nothing(count):
    """From 8 s of video on; the reference itself is made of shaken frames."""
    rng = np.random.default_rng(count)
    shaken = watch([seen(tuple(0.3 * rng.normal(size=2)) + (0.0,), seed=number) for number in range(count)])
    (note,) = shaken.notes()
    assert "the camera shakes" in note and 0.1 < float(note.split("turned by ")[1].split()[0]) < 0.8
    assert not watch([seen(seed=number) for number in range(count)]).notes()


def test_four_frames_tell_no_spread():
    rng = np.random.default_rng(0)
    assert not watch([seen(tuple(rng.normal(size=2)) + (0.0,), seed=number) for number in range(4)]).notes()


def test_what_shows_nothing_is_not_compared():
    found = watch([*(seen(seed=number) for number in range(FIRST)), *[np.full((270, 480, 3), 60, np.uint8)] * 5])
    assert found.lost == 5 and not found.reports


def test_a_reference_of_another_size_is_refused():
    with pytest.raises(DataError, match="reference image has 100x50"):
        RegisteredBackground(np.zeros((50, 100, 3), np.uint8), CAMERA)
