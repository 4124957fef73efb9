"""Cameras of clips: they lie where they are said to lie, bend as OpenCV does, and no two are alike."""

import itertools

import cv2
import numpy as np
import pytest

from d2road.data.roadside_camera_files import read_roadside_camera, write_camera_folder
from d2road.synthetic.roadside.views import HEIGHT, WIDTH
from d2road.synthetic.traffic_incidents.network import LANE_WIDTH_M
from d2road.synthetic.traffic_video.clip_camera import HEIGHTS_M, sample_camera
from d2road.synthetic.traffic_video.clip_plan import all_plans
from d2road.synthetic.traffic_video.clip_traffic import ROAD
from tests.factories.traffic_clips import clip_camera

BOTH = pytest.mark.parametrize("downstream", [True, False])


def project_by_opencv(camera, points):
    """Pixels of points (N, 3) of the ground frame by OpenCV's model of a lens."""
    R, model = camera.view.R, camera.model
    shift = -R @ camera.view.position
    return cv2.projectPoints(points, cv2.Rodrigues(R)[0], shift, model.K, model.distortion)[0].reshape(-1, 2)


@BOTH
def test_the_map_of_sumo_and_the_ground_frame_differ_by_a_rigid_motion(downstream):
    camera = clip_camera(3, downstream=downstream)
    T = camera.ground_from_sumo()
    assert T[:2, :2] @ T[:2, :2].T == pytest.approx(np.eye(2), abs=1e-12)
    assert np.linalg.det(T[:2, :2]) == pytest.approx(1)
    sense = 1 if downstream else -1
    # Right of the way that the camera looks is right of the traffic, or left of it.
    assert camera.to_ground([camera.x_m, -sense * camera.street.camera_t]) == pytest.approx([0, 0], abs=1e-9)
    ahead = camera.to_ground([camera.x_m + sense * 40, -sense * camera.street.camera_t])
    assert np.hypot(*ahead) == pytest.approx(40)
    assert ahead[1] > 30


@BOTH
def test_headings_turn_with_the_map(downstream):
    camera = clip_camera(4, downstream=downstream)
    start, end = camera.to_ground(np.array([[900.0, 1.0], [901.0, 1.0 + np.tan(0.3)]]))
    assert camera.heading(np.array(0.3)) == pytest.approx(np.arctan2(*(end - start)[::-1]))


@BOTH
def test_the_road_of_the_calibration_holds_the_lanes(downstream):
    camera = clip_camera(5, downstream=downstream)
    road = camera.model.road
    for number, lane in enumerate(ROAD.lanes):
        along, offset = road.along_across(camera.to_ground([camera.x_m + 25, ROAD.lane_y(lane)]))
        assert road.lane_of(offset) == number
        assert along == pytest.approx(25)
    assert np.diff(road.borders_m) == pytest.approx([LANE_WIDTH_M] * 3)


@pytest.mark.parametrize("distorted", [False, True])
def test_canvas_and_lens_together_project_as_opencv_does(distorted):
    camera = clip_camera(6, distorted)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-6, 6, 200), rng.uniform(15, 90, 200), rng.uniform(0, 4, 200)])
    expected = project_by_opencv(camera, points)
    canvas, _ = camera.view.camera.project(camera.view.to_camera(points))
    assert camera.in_image(canvas) == pytest.approx(expected, abs=1e-5)
    assert camera.model.ground_to_image(points) == pytest.approx(expected, abs=1e-5)


def test_the_film_shows_each_point_where_the_lens_puts_it():
    camera = clip_camera(7, distorted=True)
    (width, height), (across, down) = camera.view.size, camera.margin
    assert (width, height) == (WIDTH + 2 * across, HEIGHT + 2 * down)
    v, u = np.mgrid[:height, :width].astype(np.float32) + 0.5
    shown = cv2.remap(np.dstack([u, v]), *camera.film_map(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    assert (shown > 0).all(), "the canvas reaches beyond the image everywhere"
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    error = camera.in_image(shown.astype(np.float64)) - np.dstack([columns, rows])
    assert np.abs(error).max() < 0.05  # OpenCV's maps have 1/32 pixels


def test_splits_and_clips_have_cameras_of_their_own():
    cameras = [
        sample_camera(np.random.default_rng(plan.stream(1)), ROAD, 1000.0, plan.height_share, plan.is_distorted, True)
        for plan in all_plans({"train": 6, "val": 4, "test": 6}, 0, 60.0, sizes="catalogue")
    ]
    for one, other in itertools.combinations(cameras, 2):
        assert not np.allclose(one.model.K, other.model.K, atol=0.01)
        assert abs(one.model.height_m - other.model.height_m) > 1e-3
        assert abs(one.model.pitch_rad - other.model.pitch_rad) > 1e-6
    heights = [camera.model.height_m for camera in cameras[-6:]]
    assert HEIGHTS_M[0] <= min(heights) < 6.5
    assert 8 < max(heights) <= HEIGHTS_M[1]


def test_the_calibration_files_hold_the_camera(tmp_path):
    camera = clip_camera(8, distorted=True)
    write_camera_folder(tmp_path, camera.model)
    found = read_roadside_camera(tmp_path, (WIDTH, HEIGHT))
    points = np.array([[1.0, 30.0, 0.0], [-3.0, 60.0, 2.0]])
    assert found.ground_to_image(points) == pytest.approx(project_by_opencv(camera, points), abs=1e-4)
