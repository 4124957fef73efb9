"""The view from above: rings, footprints and the field of view lie where their metres say."""

import cv2
import numpy as np
import pytest

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners
from d2road.visualization import BevView, class_color, draw_bev, fit_view
from d2road.visualization.bev_drawing import BACKGROUND, RING, SEEN, visible_ground

SIZE = (1000, 600)
LEVEL = Camera(np.array([[900.0, 0, 500], [0, 880, 300], [0, 0, 1]]))
PITCH, ROLL = np.radians(11), np.radians(1.5)
NORMAL = np.array([np.sin(ROLL), -np.cos(PITCH) * np.cos(ROLL), -np.sin(PITCH) * np.cos(ROLL)])
ROADSIDE = Camera(LEVEL.P, np.array([*NORMAL, 7.0]))
VIEW = BevView((800, 520), range_m=50)  # 10 pixels a metre, the camera at (400, 500)


def at(canvas, x, z):
    return tuple(int(v) for v in canvas[int(500 - 10 * z), int(400 + 10 * x)])


def on_the_ground(x, z, hwl=(1.5, 2.0, 4.0), ry=0.0):
    """Corners of a box that stands at x, z of the ground frame of ROADSIDE."""
    frame = ROADSIDE.ground_rotation()
    return box_corners([frame @ [x, 7.0, z]], [hwl], [ry], frame)


@pytest.mark.parametrize("camera", [LEVEL, ROADSIDE])
def test_rings_stand_ten_metres_apart(camera):
    canvas = draw_bev(VIEW, camera, SIZE).astype(int)
    checked = 0
    for radius in (10, 20, 30):
        for angle in np.radians([-80, -60, -45, 50, 65, 80]):  # outside of what the camera sees, away from labels
            profile = []
            for r in np.arange(radius - 0.6, radius + 0.61, 0.1):
                x, y = 400 + 10 * r * np.sin(angle), 500 - 10 * r * np.cos(angle)
                profile.append(np.abs(canvas[int(y), int(x)] - BACKGROUND).max())
            assert 4 <= int(np.argmax(profile)) <= 8, f"{radius} m at {angle}"
            assert max(profile) > 0.4 * np.abs(np.subtract(RING, BACKGROUND)).max()
            assert max(profile[:3] + profile[-3:]) < 10
            checked += 1
    assert checked == 18
    wide = draw_bev(BevView((800, 620), 60), camera, SIZE)
    assert (wide != BACKGROUND).any(-1).sum() > 0


def test_a_footprint_covers_its_metres_and_its_tick_leaves_the_front():
    corners = np.concatenate(
        [box_corners([[5, 1, 30]], [[1.5, 2, 4]], [0]), box_corners([[-8, 1, 20]], [[1.5, 2, 4]], [np.pi / 2])]
    )
    empty = draw_bev(VIEW, LEVEL, SIZE)
    canvas = draw_bev(VIEW, LEVEL, SIZE, corners, [0, 3])
    changed = (canvas != empty).any(-1)
    mixed = np.round(0.55 * np.array(SEEN) + 0.45 * np.array(class_color(0)))
    assert np.abs(np.array(at(canvas, 4, 30.5)) - mixed).max() <= 1
    assert changed[500 - 310 + 3, 400 + 50 - 17] and not changed[500 - 310 - 4, 400 + 50 - 17], "2 m wide"
    assert at(canvas, 7.6, 30.0) != at(empty, 7.6, 30.0), "0.6 m before the front, which is at +x"
    assert at(canvas, 2.4, 30.0) == at(empty, 2.4, 30.0), "nothing behind the rear"
    # ry = pi / 2 points along -z: towards the camera, that is downwards.
    assert at(canvas, -8, 17.4) != at(empty, -8, 17.4)
    assert at(canvas, -8, 22.6) == at(empty, -8, 22.6)
    xs = np.nonzero(changed)[1]
    assert xs.min() >= 400 - 90 - 2 and xs.max() <= 400 + 82 + 2


def test_boxes_stand_at_their_place_in_the_ground_frame_of_a_tilted_camera():
    empty = draw_bev(VIEW, ROADSIDE, SIZE)
    canvas = draw_bev(VIEW, ROADSIDE, SIZE, on_the_ground(-3, 33, hwl=(1.5, 2, 2)), [1])
    ys, xs = np.nonzero((canvas != empty).any(-1))
    assert xs.min() == pytest.approx(400 - 40, abs=2), "1 m to the left of the centre"
    assert xs.max() == pytest.approx(400 - 30 + 16, abs=2), "the tick ends 1.6 m to the right of it"
    assert ys.min() == pytest.approx(500 - 340, abs=2) and ys.max() == pytest.approx(500 - 320, abs=2)


@pytest.mark.parametrize("camera", [LEVEL, ROADSIDE])
def test_the_lighter_field_is_what_projects_into_the_image(camera):
    polygon = visible_ground(camera, SIZE, 100).astype(np.float32)
    height = 0.0 if camera.ground is None else 7.0
    random = np.random.default_rng(0)
    points = random.uniform(-99, 99, (4000, 2))
    frame = camera.ground_rotation()
    pixels, depth = camera.project(np.stack([points[:, 0], np.full(4000, height), points[:, 1]], axis=1) @ frame.T)
    expected = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < SIZE).all(axis=1)
    distance = np.array([cv2.pointPolygonTest(polygon, p.astype(np.float32).tolist(), True) for p in points])
    clear = np.abs(distance) > 1e-3
    assert 100 < expected.sum() < 3900
    assert ((distance > 0) == expected)[clear].all()
    canvas = draw_bev(VIEW, camera, SIZE)
    assert at(canvas, 0.3, 35.5) == SEEN and at(canvas, 30, 5.5) == BACKGROUND
    if camera is ROADSIDE:
        assert at(canvas, 0.3, 5.5) == BACKGROUND, "the ground right below the pole is not in the image"


def test_ground_truth_is_dashed_and_white_and_named_in_the_legend():
    view = BevView((800, 1040), 50)  # 20 pixels a metre
    corners = box_corners([[0, 1, 30]], [[1.5, 8, 16]], [0])
    canvas = draw_bev(view, LEVEL, SIZE, truth_corners=corners)
    assert (canvas[:200, :200] == 255).all(-1).any(), "legend"
    side = canvas[1000 - 20 * 34 - 1 : 1000 - 20 * 34 + 1, 400 - 150 : 400 + 150]  # at z 34
    white = (side > 170).all(-1).any(0)
    assert 0.2 < white.mean() < 0.8 and (np.diff(white.astype(int)) == 1).sum() > 5


def test_the_legend_names_the_classes_that_are_there():
    box = box_corners([[2, 1, 30]], [[1.5, 2, 4]], [0])
    names = ["car", "bus", "tram"]

    def colours(class_id):
        corner = draw_bev(VIEW, LEVEL, SIZE, box, [class_id], class_names=names)[:120, :120].reshape(-1, 3)
        return {tuple(c) for c in corner.tolist()}

    assert class_color(1) in colours(1) and class_color(0) not in colours(1)
    assert class_color(0) in colours(0)


def test_the_view_fits_the_boxes_in_steps_of_ten_metres():
    far = box_corners([[3, 1, 43]], [[1.5, 2, 4]], [0])
    view = fit_view(500, LEVEL, SIZE, far)
    assert view.range_m == 50 and view.size_wh[1] == 500
    assert fit_view(500, LEVEL, SIZE, []).range_m == 20
    assert fit_view(500, LEVEL, SIZE, box_corners([[0, 1, 900]], [[1, 1, 1]], [0])).range_m == 150
    assert fit_view(500, LEVEL, SIZE, far, range_m=80).range_m == 80
    wide = fit_view(500, LEVEL, SIZE, box_corners([[30, 1, 43]], [[1.5, 2, 4]], [0]))
    assert wide.size_wh[0] > view.size_wh[0]
    assert 0 < wide.to_pixels([30, 43])[0] < wide.size_wh[0]
    for arguments in ({"height": 0}, {"height": 9, "range_m": 0.0}):
        with pytest.raises(ValueError, match="must be above 0"):
            fit_view(**{"camera": LEVEL, "image_wh": SIZE, "corners": [], **arguments})
