"""From boxes in the camera frame to detections on the ground, and from tracks to files that others read."""

import numpy as np
import pandas as pd
import pytest

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.readers import open_trajectories
from d2road.traffic.tracking.camera_detections import PixelNoise, detections_on_ground, in_view
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.track_files import TrackFiles, finish_track_files, read_track_blocks
from d2road.traffic.tracking.track_text import csv_lines, read_csv_lines
from d2road.utils.errors import DataError, OutputError
from tests.factories.ground_traffic import NOTHING, detection, drive, frames, run

K = np.array([[900.0, 0, 480], [0, 900, 270], [0, 0, 1]])
ROAD = RoadAxis(np.pi / 2, np.array([-5.0, -1.5, 2.0]), np.array([1, -1]))  # offsets grow to the left, to -x
CAMERA = RoadsideCamera(960, 540, K, plane_from_angles(0.15, 0.02, 7.0), road=ROAD)
TIMES = np.arange(40) / 10


@pytest.fixture(scope="module")
def tracks():
    rng = np.random.default_rng(0)
    right = drive(TIMES, lambda t: (3.0, 12 + 10 * t), rng, hidden=(1.0, 1.3))
    left = drive(TIMES, lambda t: (0.0, 60 - 8 * t), rng, heading=-np.pi / 2, cls="big truck")
    return run(GroundKalmanTracker(), TIMES, right + left)[1]


def test_boxes_of_the_camera_frame_come_back_as_places_on_the_ground():
    xy, heading = np.array([[2.0, 20.0], [-4.0, 55.0]]), np.array([1.2, -2.0])
    place = CAMERA.ground_to_camera(np.column_stack([xy, np.zeros(2)]))
    boxes = np.column_stack([place, np.tile([1.5, 1.8, 4.4], (2, 1)), CAMERA.ry_of_heading(heading)])
    image = np.array([[100, 100, 180, 150], [300, 80, 320, 95.0]])
    found = detections_on_ground(CAMERA, 7, 0.7, boxes, image, ["car", "van"], np.array([0.9, 0.4])).rows
    np.testing.assert_allclose(found[["x", "y"]], xy, atol=1e-6)
    np.testing.assert_allclose(found["heading"], heading, atol=1e-6)
    assert found[["length", "width", "height"]].to_numpy().tolist() == [[4.4, 1.8, 1.5]] * 2
    assert found["frame"].tolist() == [7, 7] and found["cls"].tolist() == ["car", "van"]


def test_covariances_are_those_of_points_moved_by_pixels():
    place = CAMERA.ground_to_camera(np.array([[3.0, 50.0, 0.0]]))
    box = np.array([[200.0, 100, 240, 150]])
    noise = PixelNoise(base_px=0.5, share_of_height=0.01, metres=0.0)
    row = np.column_stack([place, [[1.5, 1.8, 4.4, 0.0]]])
    found = detections_on_ground(CAMERA, 0, 0.0, row, box, ["car"], np.ones(1), noise).rows.iloc[0]
    pixels = CAMERA.ground_to_image(np.array([3.0, 50.0])) + np.random.default_rng(1).normal(0, 1.0, (20000, 2))
    drawn = np.cov(CAMERA.image_to_ground(pixels).T)
    assert found[["var_x", "cov_xy", "var_y"]].tolist() == pytest.approx(
        [drawn[0, 0], drawn[0, 1], drawn[1, 1]], rel=0.1, abs=0.003
    )
    assert found["var_y"] > 20 * found["var_x"]  # along the ray


def test_a_box_cut_off_by_the_image_is_known_less_well():
    boxes = np.array([[2.0, 100, 60, 180], [100, 100, 158, 180], [900, 100, 959, 180], [400, 470, 500, 540]])
    assert (PixelNoise().pixels(boxes, 960, 540)[:, 0] > 15).tolist() == [True, False, True, True]


def test_what_lies_above_the_horizon_or_too_far_is_left_out():
    near, far = CAMERA.ground_to_camera(np.array([[0.0, 30.0, 0.0], [0.0, 300.0, 0.0]]))
    places = np.array([near, far, [0.0, -6.0, 20.0]])
    boxes = np.column_stack([places, np.tile([1.5, 1.8, 4.4, 0.0], (3, 1))])
    found = detections_on_ground(CAMERA, 0, 0.0, boxes, np.tile([0, 0, 9, 9.0], (3, 1)), ["car"] * 3, np.ones(3))
    assert len(found) == 1
    with pytest.raises(DataError, match="as many of each"):
        detections_on_ground(CAMERA, 0, 0.0, boxes, np.zeros((2, 4)), ["car"] * 3, np.ones(3))


def test_the_view_is_what_projects_into_the_image():
    points = np.array([[0.0, 40.0], [0.0, -10.0], [200.0, 40.0], [0.0, 2.0]])
    assert in_view(CAMERA, points).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "change", [{"score": 1.5}, {"x": np.nan}, {"var_x": 0.0}, {"cov_xy": 0.2}, {"length": -1.0}, {"frame": 0.5}]
)
def test_a_wrong_value_is_named_with_its_row(change):
    rows = pd.DataFrame([detection(0, 0.0, 1, 2), detection(1, 0.1, 1, 2) | change])
    (name,) = change
    with pytest.raises(DataError, match=rf"{name} is .* in row 1"):
        GroundDetections.from_frame(rows)


def test_csv_lines_come_back(tracks):
    again = read_csv_lines(csv_lines(tracks)).rows
    for name in tracks.rows:
        if tracks.rows[name].dtype.kind == "f":
            np.testing.assert_allclose(again[name], tracks.rows[name], atol=6e-3)
        else:
            assert again[name].tolist() == tracks.rows[name].tolist()


def written(folder, tracks, **options):
    files = TrackFiles(folder, CAMERA, "clip", **options)
    for part in (tracks.rows["t"] < 2, tracks.rows["t"] >= 2):
        files.add(GroundTracks(tracks.rows[part].reset_index(drop=True)))
    return files


def test_all_files_hold_all_rows(tmp_path, tracks):
    written(tmp_path, tracks).close()
    mot = np.loadtxt(tmp_path / "tracks_mot.txt", delimiter=",")
    assert mot.shape == (80, 10) and mot[:, 0].min() == 1 and set(mot[:, 1]) == {1, 2}
    np.testing.assert_allclose(mot[:, 7:9], tracks.rows[["x", "y"]], atol=1e-3)
    kitti = [line.split() for line in (tmp_path / "tracks_kitti.txt").read_text().splitlines()]
    assert {len(line) for line in kitti} == {18} and {line[2] for line in kitti} == {"car", "big_truck"}
    place = np.array([line[13:16] for line in kitti], dtype=float)
    np.testing.assert_allclose(CAMERA.camera_to_ground(place)[:, :2], tracks.rows[["x", "y"]], atol=1e-3)
    heading = CAMERA.heading_of_ry(np.array([line[16] for line in kitti], dtype=float))
    np.testing.assert_allclose(np.cos(heading - tracks.rows["heading"]), 1, atol=1e-6)
    assert len(GroundTracks.from_parquet(tmp_path / "tracks.parquet")) == 80


def test_rows_between_detections_get_the_box_that_the_camera_would_see(tmp_path, tracks):
    written(tmp_path, tracks)
    mot = np.loadtxt(tmp_path / "tracks_mot.txt", delimiter=",")
    unseen = ~tracks.rows["seen"].to_numpy()
    assert unseen.sum() == 3
    x, y, w, h = mot[unseen, 2:6].T
    foot = CAMERA.ground_to_image(tracks.rows.loc[unseen, ["x", "y"]].to_numpy())
    assert ((foot[:, 0] > x) & (foot[:, 0] < x + w) & (foot[:, 1] > y) & (foot[:, 1] < y + h)).all()


def test_a_run_that_was_killed_keeps_whole_lines(tmp_path, tracks):
    written(tmp_path, tracks)
    text = (tmp_path / "tracks.csv").read_text()
    (tmp_path / "tracks.csv").write_text(text[:-20])
    assert not (tmp_path / "tracks.parquet").exists()
    finish_track_files(tmp_path, ROAD, "clip")
    assert len(GroundTracks.from_parquet(tmp_path / "tracks.parquet")) == 79


def test_tracks_that_are_there_are_not_overwritten_unasked(tmp_path, tracks):
    written(tmp_path, tracks)
    with pytest.raises(OutputError, match="holds tracks already"):
        TrackFiles(tmp_path, CAMERA, "clip")
    written(tmp_path, tracks, overwrite=True)
    assert sum(map(len, read_track_blocks(tmp_path / "tracks.csv", rows=7))) == 80


def test_a_video_without_vehicles_leaves_empty_tables(tmp_path):
    TrackFiles(tmp_path, CAMERA, "clip").close()
    assert len(GroundTracks.from_parquet(tmp_path / "tracks.parquet")) == 0
    assert len(NOTHING) == len(frames([])) == 0


def test_trajectories_run_along_the_road_in_the_direction_of_each_lane(tmp_path, tracks):
    written(tmp_path, tracks).close()
    table = open_trajectories(tmp_path / "trajectories.parquet").table().frame
    right, left = (table[table["lane"] == lane] for lane in ("0", "1"))
    assert set(right["direction"]) == {1} and set(left["direction"]) == {-1} and len(right) == len(left) == 40
    np.testing.assert_allclose(right["s"], 12 + 10 * right["t"] + 4.5 / 2, atol=0.6)
    np.testing.assert_allclose(left["s"], -(60 - 8 * left["t"]) + 4.5 / 2, atol=0.6)
    assert right["speed"].median() == pytest.approx(10, abs=0.3) and left["speed"].median() == pytest.approx(8, abs=0.3)


def test_who_drives_the_wrong_way_has_a_negative_speed_and_its_front_behind():
    rows = drive(TIMES, lambda t: (3.0, 60 - 8 * t), heading=-np.pi / 2)
    table = to_trajectories(run(GroundKalmanTracker(), TIMES, rows)[1], ROAD, "clip").frame
    assert set(table["direction"]) == {1} and table["speed"].max() < -7
    np.testing.assert_allclose(table["s"], 60 - 8 * table["t"] - 4.5 / 2, atol=0.3)


def test_rows_beside_the_lanes_are_left_out(tracks):
    narrow = RoadAxis(np.pi / 2, np.array([-5.0, -2.0]), np.array([1]))
    assert (
        to_trajectories(tracks, narrow, "clip").vehicles
        == to_trajectories(
            GroundTracks(tracks.rows[tracks.rows["x"] > 1.5].reset_index(drop=True)), narrow, "clip"
        ).vehicles
    )
