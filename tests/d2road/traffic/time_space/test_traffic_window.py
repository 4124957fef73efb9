"""Windows of a grid as rules look at them: where the road ends, told or seen, and who is missing on it."""

import pandas as pd

from d2road.traffic.baselines.lasting_features import LASTING_FEATURES, compute_lasting_features
from d2road.traffic.baselines.road_tracks import DescribedTracks
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow, stretch_seen
from d2road.traffic.time_space.window_grid import WindowGrid
from tests.factories.traffic_windows import traffic

LOW, HIGH = 410.0, 900.0  # of the road that is seen: in windows every 512 m both ends lie inside of one
RENDERER = TimeSpaceRenderer()
LOST, GAP = "1_14", (18.0, 20.0)  # a vehicle, and the seconds (s) in which it is not seen


def road(gap: tuple[float, float] | None = None) -> pd.DataFrame:
    """Steady traffic that is seen from LOW to HIGH; LOST is not in a gap (s), and has another name then."""
    frame = traffic(0).assign(s=lambda f: f["s"] + LOW)
    frame = frame[frame["s"] < HIGH]
    if gap is None:
        return frame
    here = frame["vehicle"] == LOST
    frame = frame.assign(vehicle=frame["vehicle"].where(~here | (frame["t"] < gap[1]), "again"))
    return frame[~(here & frame["t"].between(*gap))]


def windows(frame: pd.DataFrame, s_range: tuple[float, float] | None = None) -> list[TrafficWindow]:
    grid = WindowGrid(RENDERER, s_range=s_range)
    return [TrafficWindow.unrendered(one, RENDERER) for one in grid.over([Trajectories.from_frame(frame)])]


def missing(found: list[TrafficWindow]) -> tuple[float, float]:
    """Seconds that the rules and the tracks say somebody is missing, the highest of all windows."""
    column = LASTING_FEATURES.index("missing")
    rules = max(compute_lasting_features(window).features[:, column].max(initial=0.0) for window in found)
    groups = DescribedTracks.of(found).groups
    tracks = [
        tracks.absences.longest(place.t0, place.t1, *(place.stretch or (place.s0, place.s1)))[1].max(initial=0.0)
        for tracks, places in groups
        for place in places
    ]
    return rules, max(tracks)


def test_a_road_ends_where_nobody_is_seen_further_on():
    for window in windows(road()):
        inside = window.table.between(window.t0, window.t1 - 1e-6).frame["s"]
        assert window.ends == (inside.min(), inside.max())
        assert window.stretch == (max(window.s0, inside.min()), min(window.s1, inside.max()))
        assert LOW - 1 < window.ends[0] < LOW + 3 and HIGH - 3 < window.ends[1] < HIGH
    assert stretch_seen(Trajectories.from_frame(road()), 10.0, 35.6, -1) is None
    at = TrafficWindow("a", 0.0, 25.6, 512.0, 1024.0, Trajectories.empty())
    assert at.stretch == (512.0, 1024.0)


def test_ends_that_are_told_are_those_of_the_windows():
    found = windows(road(), (LOW, HIGH))
    assert {window.s0 for window in found} == {LOW} and {window.ends for window in found} == {(LOW, HIGH)}
    assert {window.stretch for window in found} == {(LOW, HIGH)}


def test_nobody_is_missing_beyond_the_ends_and_who_is_lost_between_them_is():
    before = road().query("vehicle == @LOST and t < @GAP[0]")["s"].max()
    assert LOW + 100 < before < HIGH - 150
    for s_range in (None, (LOW, HIGH)):
        assert max(missing(windows(road(), s_range))) < 0.5
        assert min(missing(windows(road(GAP), s_range))) > 4.0
    whole = [TrafficWindow(w.recording, w.t0, w.t1, w.s0, w.s1, w.table) for w in windows(road())]
    assert min(missing(whole)) > 3.0  # as if the road went on to the edges of the windows


def test_nobody_is_missing_between_the_samples_of_a_coarse_source():
    for step in (5, 10):  # at 10 Hz in the factory: here every 0.5 and 1 s
        coarse, gap = (frame[(frame["t"] * 10).round() % step == 0] for frame in (road(), road((16.0, 21.0))))
        for s_range in (None, (LOW, HIGH)):
            assert max(missing(windows(coarse, s_range))) < 0.2
            assert min(missing(windows(gap, s_range))) > 4.0


def test_who_is_lost_ahead_of_all_others_is_taken_to_have_left():
    alone = road().query("vehicle == @LOST and t < @GAP[0]")
    assert max(missing(windows(alone))) < 0.2
