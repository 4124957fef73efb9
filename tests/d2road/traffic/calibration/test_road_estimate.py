"""The road by the vehicles that drive on it: lanes where they drive, directions as they drive, whatever the frame."""

import numpy as np
import pandas as pd
import pytest

from d2road.cli.calibrate_camera import main
from d2road.data.roadside_camera_files import read_roadside_camera, write_camera
from d2road.structures.road_axis import RoadAxis
from d2road.traffic.calibration.road_estimate import estimate_road
from d2road.traffic.tracking.track_files import TrackFiles
from d2road.traffic.watch.camera_watch import CameraWatch
from d2road.utils.errors import DataError
from tests.factories.camera_sites import LANES, straight_camera
from tests.factories.passing_tracks import ground_tracks, passing

MIDDLES = sorted(LANES.values())


def on_road(road, offsets, directions, count=15, spread=0.25, seed=0):
    """Rows of vehicles that drive along lanes of a road, as many in each."""
    rng, rows, track = np.random.default_rng(seed), [], 0
    for offset, direction in zip(offsets, directions):
        for number in range(count):
            track += 1
            s = np.arange(15.0, 75.0, 3.0)
            across = offset + rng.normal(0, spread) + rng.normal(0, 0.1, len(s))
            xy = road.to_ground(np.stack([s[::direction], across], axis=1))
            t = 4.0 * number + 0.2 * np.arange(len(s))
            rows.append(pd.DataFrame({"t": t, "track": track, "x": xy[:, 0], "y": xy[:, 1]}))
    return pd.concat(rows, ignore_index=True)


def test_lanes_lie_where_vehicles_drive():
    found = estimate_road(passing(80, 1), straight_camera())
    middles = (found.road.borders_m[1:] + found.road.borders_m[:-1]) / 2
    assert found.road.heading_rad == pytest.approx(np.pi / 2, abs=0.003)
    assert middles == pytest.approx(MIDDLES, abs=0.2)
    assert np.diff(found.road.borders_m) == pytest.approx([np.diff(MIDDLES)[0]] * 2, abs=0.3)
    assert found.road.directions.tolist() == [1, 1] and found.vehicles.sum() == 80 and not found.notes


@pytest.mark.parametrize("heading", [1.2, -1.9])
def test_the_axis_points_where_most_drive_to_and_lanes_count_from_its_right(heading):
    road = RoadAxis(heading, np.zeros(0), np.zeros(0, dtype=int))
    # Seen along the heading: two lanes that come, two that leave; then most come.
    rows = on_road(road, [-5.0, -1.5, 2.0, 5.5], [1, 1, -1, -1])
    leaving = estimate_road(pd.concat([rows, moved(on_road(road, [-5.0], [1], seed=1))]), straight_camera()).road
    coming = estimate_road(pd.concat([rows, moved(on_road(road, [5.5], [-1], seed=1))]), straight_camera()).road
    assert np.cos(leaving.heading_rad - heading) > 0.9999 and np.cos(coming.heading_rad - heading) < -0.9999
    assert leaving.directions.tolist() == [1, 1, -1, -1] == coming.directions.tolist()
    assert leaving.borders_m == pytest.approx([-6.75, -3.25, 0.25, 3.75, 7.25], abs=0.3)
    assert coming.borders_m == pytest.approx([-7.25, -3.75, -0.25, 3.25, 6.75], abs=0.3)


def moved(rows):
    """The same vehicles later, by other names."""
    return rows.assign(track=rows["track"] + 1000, t=rows["t"] + 500)


def test_a_strip_without_vehicles_and_single_ones_beside_the_lanes_are_told():
    road = RoadAxis(np.pi / 2, np.zeros(0), np.zeros(0, dtype=int))
    rows = pd.concat([on_road(road, [-8.0, -4.5, -1.0, 7.0], [1, 1, 1, -1]), moved(on_road(road, [20.0], [1], 1))])
    found = estimate_road(rows, straight_camera())
    assert len(found.road.directions) == 4 and found.road.borders_m[-1] == pytest.approx(8.75, abs=0.3)
    assert any("lane 2 is wider than others" in note for note in found.notes)
    assert "1 of 61 vehicles drive beside all lanes" in found.notes


def test_who_changes_lanes_does_not_turn_the_road():
    road = RoadAxis(np.pi / 2, np.zeros(0), np.zeros(0, dtype=int))
    rows, slope = on_road(road, [-3.5, 0.0], [1, 1], count=20), 3.5 / 60
    leaves = moved(on_road(road, [-3.5], [1], count=8, seed=1))
    drifting = leaves.assign(x=leaves["x"] - slope * (leaves["y"] - 15))  # from the right lane to the left one
    found = estimate_road(pd.concat([rows, drifting]), straight_camera()).road
    assert np.rad2deg(found.heading_rad) == pytest.approx(90, abs=0.1)
    assert found.borders_m == pytest.approx([-5.25, -1.75, 1.75], abs=0.3)


def test_too_few_vehicles_are_refused_in_words():
    with pytest.raises(DataError, match="12 vehicles pass through the view, expected 20"):
        estimate_road(passing(12, 4), straight_camera())


def test_a_camera_with_its_road_can_be_watched(tmp_path, capsys):
    from dataclasses import replace

    bare = replace(straight_camera(), road=None)
    write_camera(tmp_path / "camera.yaml", bare)
    files = TrackFiles(tmp_path / "tracks", bare, "clip")
    files.add(ground_tracks(passing(60, 2)))
    files.close()
    words = ["--road", "--calib", tmp_path / "camera.yaml", "--output", tmp_path / "out"]
    assert main([*map(str, words)]) == 2
    assert "--road needs --calib camera.yaml and --observations" in capsys.readouterr().err
    assert main([*map(str, words), "--observations", str(tmp_path / "tracks")]) == 0
    assert "lane 1:" in capsys.readouterr().out
    camera = read_roadside_camera(tmp_path / "out")
    assert camera.digest == bare.digest and camera.road.directions.tolist() == [1, 1]
    with pytest.raises(DataError, match="calibrate-camera --road"):
        CameraWatch(bare, tmp_path).grid()
    assert CameraWatch(camera, tmp_path).grid() is not None
