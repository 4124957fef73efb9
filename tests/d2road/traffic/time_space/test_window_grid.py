import numpy as np
import pandas as pd
import pytest

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid
from tests.factories.trajectories import steps, table, track

# 32 columns of 0.1 s, 16 rows of 4 m.
RENDERER = TimeSpaceRenderer(size=(16, 32), ds=4.0)


def road(duration=20.0, **columns):
    """A vehicle a second at 9 m/s along 58 m, from t = 100 s on."""
    tracks = []
    for k in range(int(duration)):
        t = steps(60, start=100.0 + k)
        tracks.append(track(f"v{k}", np.round(t, 1), s=5 + 9 * (t - t[0]), lane=k % 2, **columns))
    frame = pd.concat(tracks)
    return frame[frame["t"] < 100 + duration - 1e-6]


def cut(frame, seconds):
    """The table in chunks."""
    whole = Trajectories.from_frame(frame)
    start, end = whole.span
    return [whole.between(a, a + seconds) for a in np.arange(start, end + 1e-6, seconds)]


def places(windows):
    return [(w.recording, w.direction, w.lanes, round(w.t0, 6), w.s0) for w in windows]


def test_windows_follow_each_other_at_the_stride():
    windows = list(WindowGrid(RENDERER, stride=1.6).over(cut(road(), 60)))
    # 20 s of rows: the last window of 3.2 s may begin at 116.8 s.
    assert places(windows) == [("r", 1, None, round(100 + 1.6 * k, 6), 0.0) for k in range(11)]


@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_cutting_the_stream_otherwise_changes_nothing(seconds):
    grid = WindowGrid(RENDERER, stride=1.6, stride_s=32.0)
    expected = list(grid.over([table(road())]))
    found = list(grid.over(cut(road(), seconds)))
    assert places(found) == places(expected) and len(found) == 33
    for one, other in zip(found, expected):
        assert np.array_equal(one.render(RENDERER), other.render(RENDERER))


def test_images_are_those_of_the_whole_table():
    whole = table(road())
    for window in WindowGrid(RENDERER, stride=1.6).over(cut(road(), 1.0)):
        assert np.array_equal(window.render(RENDERER), RENDERER.render(whole, window.t0, window.s0))
        assert window.render(RENDERER).any()


def test_a_window_comes_as_soon_as_its_rows_are_there():
    given = []

    def stream():
        for chunk in cut(road(), 0.5):
            given.append(chunk.span[1])
            yield chunk

    for window in WindowGrid(RENDERER, stride=1.6).over(stream()):
        latest = given[-1] - (window.t0 + RENDERER.duration)
        assert latest <= RENDERER.margin + 0.5 or given[-1] == pytest.approx(119.9)


def test_little_is_held():
    grid = WindowGrid(RENDERER, stride=1.6)
    sizes = [len(w.table) for w in grid.over(cut(road(40), 1.0))]
    # 6 vehicles at 10 Hz over the window and its margins.
    assert max(sizes) < 60 * (RENDERER.duration + 2 * RENDERER.margin) * 1.1
    names = [len(w.table.frame["vehicle"].cat.categories) for w in grid.over(cut(road(40), 1.0))]
    assert max(names) < 25


def test_positions_along_the_road():
    grid = WindowGrid(RENDERER, stride=5, stride_s=20.0)
    first = [w.s0 for w in grid.over([table(road())]) if w.t0 == 105]
    # Vehicles are between 1 and 58 m; windows of 64 m at multiples of 20 m that hold some of it.
    assert first == [-60.0, -40.0, -20.0, 0.0, 20.0, 40.0]
    ranged = WindowGrid(RENDERER, stride=5, stride_s=20.0, s_range=(5.0, 120.0))
    assert [w.s0 for w in ranged.over([table(road())]) if w.t0 == 105] == [5.0, 25.0, 45.0]


def test_empty_windows_where_they_are_asked_for():
    far = track("far", steps(10, start=130.0), s=10.0)
    frame = pd.concat([road(4), far])
    grid = WindowGrid(RENDERER, stride=3.2, s_range=(0, 64))
    assert [round(w.t0, 1) for w in grid.over([table(frame)])] == [100.0, 103.2]
    kept = [
        round(w.t0, 1) for w in WindowGrid(RENDERER, stride=3.2, s_range=(0, 64), keep_empty=True).over([table(frame)])
    ]
    assert kept == [round(100 + 3.2 * k, 1) for k in range(9)]


def test_the_end_of_a_recording():
    assert len(list(WindowGrid(RENDERER, stride=1.6).over([table(road(4))]))) == 1
    assert len(list(WindowGrid(RENDERER, stride=1.6, keep_partial=True).over([table(road(4))]))) == 2
    short = list(WindowGrid(RENDERER, stride=1.6).over([table(road(1))]))
    assert len(short) == 1 and short[0].render(RENDERER).any()


def test_recordings_directions_and_lanes_have_windows_of_their_own():
    back = road().assign(direction=-1, vehicle=lambda f: "b" + f["vehicle"])
    chunks = [*cut(pd.concat([road(), back]), 7.0), *cut(road(recording="second"), 7.0)]
    found = places(WindowGrid(RENDERER, stride=16).over(chunks))
    assert found == [
        ("r", 1, None, 100.0, 0.0),
        ("r", -1, None, 100.0, 0.0),
        ("r", 1, None, 116.0, 0.0),
        ("r", -1, None, 116.0, 0.0),
        ("second", 1, None, 100.0, 0.0),
        ("second", 1, None, 116.0, 0.0),
    ]
    one = places(WindowGrid(RENDERER, stride=16, direction=-1).over(chunks))
    assert {window[1] for window in one} == {-1}
    lanes = TimeSpaceRenderer(size=(16, 32), ds=4.0, lane_layout="per_lane")
    found = places(WindowGrid(lanes, stride=16, direction=1).over(cut(road(), 7.0)))
    assert [window[2] for window in found] == [("0",), ("1",)] * 2
    stacked = TimeSpaceRenderer(size=(16, 32), ds=4.0, lane_layout="stacked")
    found = places(WindowGrid(stacked, stride=16, lanes=(1, 0)).over(cut(road(), 7.0)))
    assert [window[2] for window in found] == [("1", "0")] * 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stride": 0}, "stride of windows is 0"),
        ({"stride_s": -1}, "stride_s of windows is -1"),
        ({"direction": 2}, "direction of windows is 2"),
        ({"keep_empty": True}, "with s_range only"),
        ({"s_range": (5, 5)}, "first and the last metre"),
        ({"renderer": TimeSpaceRenderer(lane_layout="stacked")}, "need the names of their lanes"),
    ],
)
def test_grids_that_make_no_sense(keys, message):
    with pytest.raises(ValueError, match=message):
        WindowGrid(**{"renderer": RENDERER, **keys})


def test_streams_that_make_no_sense():
    grid = WindowGrid(RENDERER)
    with pytest.raises(ValueError, match="recordings q, r: pass them one by one"):
        list(grid.over([table(road(2), road(2, recording="q"))]))
    with pytest.raises(ValueError, match="not after 101"):
        list(grid.over([table(road(2)), table(road(2))]))


@pytest.mark.parametrize("gap", [40.0, 1000.03, 1e7])
def test_windows_around_a_time_without_rows_are_those_of_each_side(gap):
    early, late = road(), road()
    late["t"] += gap
    grid = WindowGrid(RENDERER, stride=1.6, s_range=(0, 58))
    windows = places(grid.over(cut(pd.concat([early, late.assign(vehicle="w" + late["vehicle"])]), 20 + gap)))
    # The grid goes on over the gap, so the other side is that of a stream that begins on it.
    start = 100 + 1.6 * np.floor((gap - 3.2) / 1.6)
    there = Trajectories.from_frame(late)
    expected = places(WindowGrid(RENDERER, stride=1.6, s_range=(0, 58), start=start).over([there]))
    assert [w for w in windows if w[3] > 122] == [w for w in expected if w[3] > 122]
    assert [w for w in windows if w[3] < 116] == [w for w in places(grid.over([table(early)])) if w[3] < 116]


def test_empty_windows_are_kept_over_short_gaps_and_not_over_long_ones():
    late = road()
    late["t"] += 100.0
    both = cut(pd.concat([road(), late.assign(vehicle="w" + late["vehicle"])]), 120)
    every = {"stride": 1.6, "s_range": (0, 58), "keep_empty": True}
    times = [[w.t0 for w in WindowGrid(RENDERER, **every, longest_gap=gap).over(both)] for gap in (np.inf, 100.0, 20.0)]
    assert times[0] == times[1] and np.allclose(np.diff(times[0]), 1.6)
    assert set(times[2]) < set(times[0]) and np.diff(times[2]).max() > 60
