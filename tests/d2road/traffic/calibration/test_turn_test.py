"""Test of tracks: turns are found and told with their size, other traffic is not, and little evidence is said."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.calibration.lane_paths import LanePaths
from d2road.traffic.calibration.passages import PassageCollector, Stations
from d2road.traffic.calibration.turn_test import LIMIT, WINDOWS, TurnWatch, highest_statistics
from d2road.utils.errors import DataError
from tests.factories.camera_sites import LANES, straight_camera
from tests.factories.passing_tracks import EVERY_S, passing

CAMERA = straight_camera()


@pytest.fixture(scope="module")
def paths():
    return LanePaths.fit(passing(300, 1), CAMERA)


def watch(rows, paths=None, step=5.0):
    one, t = TurnWatch(CAMERA, paths), rows["t"].to_numpy()
    for start in np.arange(t[0], t[-1] + 10, step):
        one.add(rows.iloc[slice(*np.searchsorted(t, [start, start + step]))], start + step)
    return one


def test_lane_paths_are_where_vehicles_drive(paths):
    assert paths.astray < 0.05 and paths.passages == 300
    np.testing.assert_allclose(np.sort(paths.paths.mean(axis=1)), sorted(LANES.values()), atol=0.1)


@pytest.mark.parametrize("turn", [(0.4, 0, 0), (0, -0.4, 0)])
def test_a_turn_is_told_with_its_size(paths, turn):
    found = watch(passing(200, 2, turned_at=200.0, turn_deg=turn), paths)
    (report,) = found.reports
    assert 200 < report.t < 200 + 40 * EVERY_S and report.since >= 165
    # The last passages before the turn may be among those that speak for it: the size is known roughly.
    axis = int(np.argmax(np.abs(turn)))
    assert np.sign(report.turn_deg[axis]) == np.sign(turn[axis]) and report.statistic > LIMIT


def test_a_camera_that_stands_is_left_in_peace_whatever_the_traffic(paths):
    fast, slow = passing(150, 3, speed=30.0), passing(150, 4, speed=6.0, start=400.0)
    slow = slow.assign(track=slow["track"] + 1000)
    assert not watch(pd.concat([fast, slow], ignore_index=True).sort_values("t"), paths).reports


def test_who_stands_counts_once_and_what_stands_only_is_nothing(paths):
    still = pd.DataFrame({"t": np.arange(0, 600, 0.2), "track": 1, "x": -6.0, "y": 40.0})
    found = watch(still, paths)
    assert found.passages == 0 and not found.reports


def test_a_camera_that_looks_elsewhere_is_told_without_a_size(paths):
    (report,) = watch(passing(100, 5, turned_at=60.0, turn_deg=(4.0, 0, 0)), paths).reports
    assert report.turn_deg is None and report.t < 140


def test_a_stream_is_its_own_reference():
    found = watch(passing(260, 6, turned_at=400.0, turn_deg=(0.5, 0, 0)))
    assert found.paths.passages >= 60 and len(found.reports) == 1 and found.reports[0].t > 400


def test_a_stream_and_a_recording_give_one_statistic(paths):
    rows = passing(120, 7)
    whole = highest_statistics(paths.evidence(paths.stations.passages(rows)), paths)
    assert watch(rows, paths).highest == pytest.approx(whole.max(), rel=1e-6)
    assert (whole[: WINDOWS[0] - 1] == 0).all()


def test_blocks_of_a_track_are_one_passage():
    rows = passing(1, 8)
    stations = Stations.of(passing(60, 8), CAMERA)
    one, half = PassageCollector(stations), len(rows) // 2
    assert len(one.add(rows.iloc[:half], rows["t"].iloc[half])) == 0
    (found,) = one.add(rows.iloc[half:], np.inf).offsets
    np.testing.assert_allclose(found, stations.passages(rows).offsets[0])


def test_too_few_good_vehicles_are_refused_in_words():
    with pytest.raises(DataError, match="hold 20 vehicles that pass"):
        LanePaths.fit(passing(20), CAMERA)
    with pytest.raises(DataError, match="lack the columns x, y"):
        LanePaths.fit(passing(20).drop(columns=["x", "y"]), CAMERA)
