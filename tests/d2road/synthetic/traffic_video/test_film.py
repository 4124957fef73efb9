"""Frames of clips: what is labelled is what is drawn, where the lens puts it, and what hides what is counted."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from d2road.synthetic.roadside.raster import Patch
from d2road.synthetic.roadside.views import HEIGHT, WIDTH
from d2road.synthetic.traffic_video.clip_labels import image_box, label_rows
from d2road.synthetic.traffic_video.film import start_film, switch_lamps_on
from d2road.synthetic.traffic_video.road_shape import RoadShape, sample_shape
from tests.factories.traffic_clips import NOON, black_film, box_mesh, clip_camera, standing

HWL = (1.6, 1.8, 4.5)


def drawn(film, vehicles):
    """The linear image without the sensor, bent by the lens."""
    canvas, visible = film.draw(vehicles, film.hours[0])
    return (cv2.remap(canvas, *film.bend, cv2.INTER_LINEAR) if film.bend is not None else canvas), visible


def hull_mask(camera, vehicle):
    """The labelled box in the image by the calibration alone, its sides bent as the lens bends them."""
    corners = vehicle.corners()
    edges = [(i, j) for i in range(8) for j in range(i)]
    along = np.linspace(0, 1, 20)[:, None]
    points = np.concatenate([corners[i] * (1 - along) + corners[j] * along for i, j in edges])
    pixels = camera.model.ground_to_image(points)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull(pixels.astype(np.float32))
    cv2.fillConvexPoly(mask, np.round((hull - 0.5) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return mask.astype(bool)


@pytest.mark.parametrize(("kind", "distorted"), [(k, d) for k in ("plane", "slope", "crown") for d in (False, True)])
@pytest.mark.parametrize(("s", "t", "turn"), [(24.0, 3.0, 0.1), (45.0, -4.0, -0.4)])
def test_a_box_is_drawn_where_its_label_says(distorted, kind, s, t, turn):
    camera = clip_camera(2, distorted)
    shape = sample_shape(np.random.default_rng(1), camera.street, kind)
    film, vehicle = black_film(camera, shape), standing(shape, s, t, turn, HWL)
    film.meshes[vehicle.number] = box_mesh(HWL)
    image, visible = drawn(film, [vehicle])
    covered = image.max(axis=2) > 0.5 * np.median(image[image > 0])
    expected = hull_mask(camera, vehicle)
    assert (covered & expected).sum() / (covered | expected).sum() > 0.96
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    extents = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box, truncated = image_box(vehicle, camera)
    assert box == pytest.approx(extents, abs=1.2)
    assert truncated == pytest.approx(0, abs=1e-3)
    assert visible == pytest.approx([1.0])


def test_the_labels_are_those_of_the_calibration():
    camera = clip_camera(2, distorted=True)
    vehicle = standing(RoadShape(camera.street), 35.0, 2.0, 0.2, HWL)
    (row,) = label_rows([vehicle], [image_box(vehicle, camera)], np.array([0.6]), camera)
    model = camera.model
    assert model.camera_to_ground([row["x"], row["y"], row["z"]]) == pytest.approx(vehicle.position, abs=1e-6)
    assert model.heading_of_ry(row["ry"]) == pytest.approx(np.mod(vehicle.heading + np.pi, 2 * np.pi) - np.pi, abs=1e-6)
    assert row["occluded"] == 1
    pixels = model.ground_to_image(vehicle.corners())
    extents = [*pixels.min(axis=0), *pixels.max(axis=0)]
    assert [row[name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx(extents, abs=1e-4)


def test_what_hides_a_vehicle_is_counted():
    camera = clip_camera(2)
    shape = RoadShape(camera.street)
    near = standing(shape, 30.0, 0.0, hwl=(3.5, 2.5, 10.0), number=1, kind="truck")
    behind = standing(shape, 39.0, 0.0, hwl=HWL, number=2)
    film = black_film(camera, shape)
    film.meshes = {1: box_mesh(near.hwl), 2: box_mesh(HWL)}
    _, alone = film.draw([behind], film.hours[0])
    _, both = film.draw([behind, near], film.hours[0])
    hidden = hull_mask(camera, near) & hull_mask(camera, behind)
    assert alone == pytest.approx([1.0])
    assert both[1] == pytest.approx(1.0)
    assert both[0] == pytest.approx(1 - hidden.sum() / hull_mask(camera, behind).sum(), abs=0.02)
    assert both[0] < 0.6


def test_what_stands_before_all_vehicles_hides_them():
    camera = clip_camera(2)
    vehicle = standing(RoadShape(camera.street), 30.0, 0.0, hwl=HWL)
    film = black_film(camera)
    x1, y1, x2, y2 = image_box(vehicle, camera).xyxy.round().astype(int)
    half = (x2 - x1) // 2
    wall = Patch(int(x1), int(y1), np.zeros((y2 - y1, half, 3), np.float32), np.ones((y2 - y1, half), np.float32))
    hour = film.hours[0]
    _, (visible,) = film.draw([vehicle], replace(hour, background=replace(hour.background, foreground=wall)))
    assert 0.3 < visible < 0.7


def test_pixels_beside_the_image_do_not_count_as_visible():
    camera = clip_camera(2, distorted=True)
    film = black_film(camera)
    at_edge = [standing(RoadShape(camera.street), s, 0.0, hwl=HWL) for s in np.arange(6, 14, 1.0)]
    for vehicle in at_edge:
        found = image_box(vehicle, camera)
        _, (visible,) = film.draw([vehicle], film.hours[0])
        assert visible == (0.0 if found is None else 1.0) or 0 < found.truncated < 1


def test_a_vehicle_below_the_camera_does_not_vanish_before_it_has_left_the_image():
    camera = clip_camera(11, share=0.0)
    shape = RoadShape(camera.street)
    film, hwl = black_film(camera, shape), (3.5, 2.5, 14.0)
    areas = []
    for s in np.arange(20.0, -4.0, -1.0):
        vehicle = standing(shape, s, 0.0, hwl=hwl, kind="bus")
        film.meshes = {1: box_mesh(hwl)}
        image, _ = drawn(film, [vehicle])
        areas.append((image.max(axis=2) > 0.1).mean())
    assert film.stand(standing(shape, -20.0, 0.0, hwl=hwl, kind="bus"))[0] is None, "all of it is behind the camera"
    shrunk = np.diff(areas[np.argmax(areas) :])
    assert areas[-1] < 0.2 * max(areas)
    assert shrunk.min() > -0.12, "it leaves the image little by little"


def test_lamps_shine_at_dusk_alone():
    film = black_film(clip_camera(2))
    vehicle = standing(RoadShape(film.camera.street), 30.0, 0.0, hwl=HWL)
    day = film.stand(vehicle)[0]
    night = switch_lamps_on(day, NOON)
    brighter = (night.colors > day.colors).any(axis=1)
    assert 4 <= brighter.sum() < 20
    assert (night.colors[~brighter] == day.colors[~brighter]).all()


def test_noise_differs_from_frame_to_frame_and_not_from_run_to_run():
    film = black_film(clip_camera(2))
    film.hours = [replace(film.hours[0], sensor=replace(film.hours[0].sensor, noise=0.02))]
    one, _ = film.frame(3, [])
    again, _ = film.frame(3, [])
    other, _ = film.frame(4, [])
    assert (one == again).all()
    assert (one != other).mean() > 0.2


def test_light_falls_from_the_first_frame_to_the_last():
    camera = clip_camera(2)
    film = start_film(5, camera, RoadShape(camera.street), "nightfall", 3)
    vehicle = standing(RoadShape(camera.street), 30.0, 0.0, hwl=HWL)
    first, middle, last = (film.frame(number, [vehicle])[0].mean() for number in range(3))
    assert first > middle > last
    assert last < 0.7 * first
    assert [hour.has_lamps_on for hour in film.hours] == [False, True]
    for number, hour in ((0, film.hours[0]), (2, film.hours[1])):
        alone = replace(film, hours=[hour], meshes={}).frame(number, [vehicle])[0]
        assert np.abs(alone.astype(int) - film.frame(number, [vehicle])[0]).max() <= 1
