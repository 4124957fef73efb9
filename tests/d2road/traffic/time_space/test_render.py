import time

import numpy as np
import pytest
from shapely.geometry import box

from d2road.traffic.time_space.render import TimeSpaceRenderer
from tests.factories.trajectories import steps, table, track

RED, GREEN, MAGENTA, BLUE = (255, 0, 0), (0, 255, 0), (255, 0, 255), (0, 0, 255)


def small(**keys) -> TimeSpaceRenderer:
    """6 rows of 2 m, 5 columns of 0.1 s."""
    return TimeSpaceRenderer(**{"size": (6, 5), "max_speed": 40.0, **keys})


def column_at(s: float, length: float = 4.0, **keys) -> list[int]:
    """Green of the image's only painted column, from the bottom up, of a vehicle at full speed."""
    image = small(**keys).render(table(track(t=[0.2], s=[s], speed=40.0, length=length)), 0, 0)
    assert not image[:, [0, 1, 3, 4]].any() and not image[:, :, [0, 2]].any()
    return image[::-1, 2, 1].tolist()


@pytest.mark.parametrize(
    ("s", "length", "expected"),
    [
        (4.0, 4.0, [255, 255, 0, 0, 0, 0]),  # [0, 4] m: two whole rows of 2 m
        (5.0, 4.0, [128, 255, 128, 0, 0, 0]),  # [1, 5] m: half, whole, half
        (5.5, 4.0, [64, 255, 191, 0, 0, 0]),  # [1.5, 5.5] m: a quarter and three quarters
        (3.0, 1.0, [0, 128, 0, 0, 0, 0]),  # inside of one row
        (1.0, 4.0, [128, 0, 0, 0, 0, 0]),  # its rear is below the window
        (13.0, 4.0, [0, 0, 0, 0, 128, 255]),  # [9, 13] m of a window that ends at 12 m
        (12.0, 20.0, [255] * 6),  # longer than the window is high
        (0.0, 4.0, [0] * 6),  # just outside, below
        (16.0, 4.0, [0] * 6),  # and above
    ],
)
def test_share_of_a_pixel_that_is_covered(s, length, expected):
    assert column_at(s, length) == expected


def test_window_position_shifts_pixels():
    image = small().render(table(track(t=[7.2], s=[105.0], speed=40.0)), 7.0, 100.0)
    assert image[::-1, 2, 1].tolist() == [128, 255, 128, 0, 0, 0]


def test_rows_agree_with_polygon_overlaps():
    rng = np.random.default_rng(3)
    renderer = TimeSpaceRenderer(size=(16, 8), ds=1.7, dt=0.2, max_speed=30)
    for _ in range(20):
        s, length = rng.uniform(-2, 30), rng.uniform(0.5, 12)
        image = renderer.render(table(track(t=[0.6], s=[s], speed=30.0, length=length)), 0, 0)
        bar = box(0, s - np.float32(length), 1, s)
        shares = [bar.intersection(box(0, 1.7 * j, 1, 1.7 * (j + 1))).area / 1.7 for j in range(16)]
        assert np.abs(image[::-1, 3, 1] - 255 * np.array(shares)).max() <= 0.51


@pytest.mark.parametrize(
    ("speed", "color"),
    [
        (0.0, MAGENTA),
        (0.5, MAGENTA),
        (-0.5, MAGENTA),  # noise of a stopped vehicle is not driving backwards
        (8.0, RED),
        (24.0, (255, 255, 0)),
        (40.0, GREEN),
        (55.0, GREEN),
        (-0.6, BLUE),
        (-30.0, BLUE),
        (16.0, (255, 128, 0)),
        (32.0, (128, 255, 0)),
        (4.25, (255, 0, 128)),  # half-way from stopped to red
    ],
)
def test_color_tells_signed_speed(speed, color):
    image = small().render(table(track(t=[0.0], s=[4.0], speed=speed)), 0, 0)
    assert tuple(image[-1, 0].tolist()) == color


def test_other_channels_hold_occupancy_speed_and_acceleration():
    renderer = small(channels="occupancy_speed_acceleration", max_acceleration=8.0)
    image = renderer.render(table(track(t=[0.0], s=[5.0], speed=20.0, acceleration=-4.0)), 0, 0)
    assert image[::-1, 0].tolist()[:3] == [[128, 96, 32], [255, 191, 64], [128, 96, 32]]
    backwards = table(track(t=[0.0], s=[4.0], speed=-60.0, acceleration=np.nan))
    assert renderer.render(backwards, 0, 0)[-1, 0].tolist() == [255, 0, 128]


def test_overlap_averages_colors_and_never_exceeds_full():
    fast, stopped = track("a", [0.0], s=[4.0], speed=40.0), track("b", [0.0], s=[3.0], speed=0.0, length=1.0, lane="2")
    image = small().render(table(fast, stopped), 0, 0)[::-1, 0]
    assert image[0].tolist() == [0, 255, 0]
    # Row [2, 4): the fast one covers it, the stopped one half of it: weights 1 and 0.5 of 1.5.
    assert image[1].tolist() == [85, 170, 85]


def test_a_column_is_an_instant_of_the_sample():
    image = small().render(table(track(t=steps(3, start=0.1), s=[4, 8, 12], speed=40.0)), 0, 0)[::-1, :, 1]
    assert [np.flatnonzero(image[:, i]).tolist() for i in range(5)] == [[], [0, 1], [2, 3], [4, 5], []]


def test_positions_between_samples_are_interpolated():
    # 2.5 Hz data: samples at 0 and 0.4 s, columns at every 0.1 s.
    image = small(size=(10, 5)).render(table(track(t=[0, 0.4], s=[4, 12], speed=[0.0, 40.0])), 0, 0)[::-1]
    occupied = [np.flatnonzero(image[:, i].any(-1)).tolist() for i in range(5)]
    assert occupied == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert image[2, 2].tolist() == [255, 191, 0]  # 20 m/s at half time: between red (8) and yellow (24)


def test_faster_data_than_columns_is_interpolated_too():
    t = steps(26, 0.04)
    image = TimeSpaceRenderer(size=(40, 10), ds=1.0).render(table(track(t=t, s=4 + 10 * t, speed=40)), 0, 0)
    front = [np.flatnonzero(image[::-1, i, 1]).max() + 1 for i in range(10)]
    assert front == [4 + i for i in range(10)]


def test_a_missing_sample_leaves_a_gap_unless_gaps_are_bridged():
    t = np.array([0.0, 0.1, 0.3, 0.4])
    rows = table(track(t=t, s=4 + 10 * t), track("other", steps(5), s=100))
    assert small().render(rows, 0, 0).any((0, 2)).tolist() == [True, True, False, True, True]
    assert small(max_gap=0.2).render(rows, 0, 0).any((0, 2)).all()


def test_a_track_goes_on_across_the_edges_of_a_window():
    t = steps(3, 1.0)  # 1 Hz, no sample inside of the window
    image = small().render(table(track(t=t, s=4 + 2 * t, speed=40)), 0.3, 0)[::-1]
    assert image.any((0, 2)).all()
    assert image[:3, 2, 1].tolist() == [128, 255, 128]  # t = 0.5 s: [1, 5] m


def test_a_sample_off_the_grid_marks_the_nearest_column():
    image = small().render(table(track(t=[0.16], s=[4.0])), 0, 0)
    assert image.any((0, 2)).tolist() == [False, False, True, False, False]


def test_times_of_a_clock_and_rounded_steps_stay_in_their_columns():
    t = 1.1e9 + np.round(steps(100), 1)
    image = TimeSpaceRenderer(size=(4, 100)).render(table(track(t=t, s=4.0)), 1.1e9, 0)
    assert image.any((0, 2)).all()


def test_stacked_lanes_have_panels_from_the_bottom():
    rows = table(
        track("a", [0.0], s=[4.0], speed=40.0, lane="1"),
        track("b", [0.1], s=[4.0], speed=40.0, lane="2"),
        track("c", [0.2], s=[4.0], speed=40.0, lane="3"),
    )
    renderer = TimeSpaceRenderer(size=(20, 5), ds=1.0, lane_layout="stacked")
    image = renderer.render(rows, 0, 0, lanes=["1", "2", "3"])[::-1, :, 1]
    # Three panels of 20 // 3 = 6 rows, 5 of them drawn on, each of 20 m / 5 = 4 m.
    assert [np.flatnonzero(image[:, i]).tolist() for i in range(3)] == [[0], [6], [12]]
    assert not image[[5, 11, 17, 18, 19]].any()
    other = renderer.render(rows, 0, 0, lanes=["3", "1"])[::-1, :, 1]
    assert [np.flatnonzero(other[:, i]).tolist() for i in range(3)] == [[10, 11], [], [0, 1]]
    assert np.array_equal(renderer.render(rows, 0, 0), renderer.render(rows, 0, 0, lanes=[1, 2, 3]))


def test_a_lane_change_moves_to_the_other_panel():
    rows = table(track("a", steps(4), s=4.0, lane=["1", "1", "2", "2"]))
    image = small(size=(12, 4), lane_layout="stacked").render(rows, 0, 0)[::-1]
    assert [np.flatnonzero(image[:, i].any(-1)).min() for i in range(4)] == [0, 0, 6, 6]


def test_one_lane_alone():
    rows = table(track("a", steps(5), s=4.0, lane="1"), track("b", steps(5), s=12.0, lane="2"))
    assert not small(lane_layout="per_lane").render(rows, 0, 0, lanes=["1"])[:2].any()
    assert not small().render(rows, 0, 0, lanes=["2"])[4:].any()
    with pytest.raises(ValueError, match=r"lanes are 1, 2: name one"):
        small(lane_layout="per_lane").render(rows, 0, 0)


def test_direction_and_recording_must_be_clear():
    rows = table(track("a", [0.0], s=[4.0]), track("b", [0.0], s=[12.0], direction=-1))
    with pytest.raises(ValueError, match="both directions"):
        small().render(rows, 0, 0)
    assert not small().render(rows, 0, 0, direction=-1)[-2:].any()
    two = table(track("a", [0.0], s=[4.0]), track("a", [0.0], s=[12.0], recording="q"))
    with pytest.raises(ValueError, match="recordings q, r"):
        small().render(two, 0, 0)
    assert not small().render(two, 0, 0, recording="q")[-2:].any()


def test_mask_is_what_the_vehicle_paints_in_the_interval():
    offender, other = track("a", steps(5), s=5.0), track("b", steps(5), s=12.0)
    rows = table(offender, other)
    alone = small().render(table(offender), 0, 0).any(-1)
    assert np.array_equal(small().mask(rows, 0, 0, ["a"]), alone)
    some = small().mask(rows, 0, 0, ["a"], interval=(0.1, 0.3))
    assert np.array_equal(some, alone & np.array([False, True, True, True, False]))
    assert not small().mask(rows, 0, 0, ["nobody"]).any()


def test_mask_grows_by_pixels_but_not_into_another_panel():
    rows = table(track("a", [0.2], s=[4.0], lane="1"), track("b", [0.4], s=[4.0], lane="2"))
    grown = small().mask(rows, 0, 0, ["a"], dilate=1)
    assert np.array_equal(np.argwhere(grown[::-1]).min(0), [0, 1]) and grown.sum() == 9
    renderer = small(size=(12, 5), lane_layout="stacked")  # panels of 5 rows
    grown = renderer.mask(rows, 0, 0, ["a"], dilate=9)
    assert grown[7:].all() and not grown[:7].any()


def test_pixels_and_road_agree_with_what_is_drawn():
    renderer = TimeSpaceRenderer(size=(64, 64), lane_layout="stacked")
    rows = table(track("a", [12.0], s=[180.0], length=8.0, lane="2"))
    y, x = np.argwhere(renderer.render(rows, 10, 100, lanes=["1", "2"]).any(-1)).mean(0)
    t, s = renderer.to_time_position(x, y, 10, 100, panel=1, panels=2)
    assert t == pytest.approx(12.0) and abs(s - 176.0) <= 64 * 2 / 31
    assert renderer.to_pixel(t, s, 10, 100, panel=1, panels=2) == pytest.approx((x, y))
    plain = TimeSpaceRenderer()
    assert plain.to_pixel(10.0, 100.0, 10, 100) == pytest.approx((0, 255.5))
    assert plain.to_pixel(10.0 + 25.5, 100 + 511.0, 10, 100) == pytest.approx((255, 0))
    assert (plain.duration, plain.stretch) == pytest.approx((25.6, 512.0))


def test_thirty_metres_a_second_rise_one_and_a_half_pixels_a_column():
    t = steps(256)
    image = TimeSpaceRenderer().render(table(track(t=t, s=100 + 15 * t, speed=15)), 0, 0)
    tops = [np.flatnonzero(image[:, i].any(-1)).min() for i in (0, 200)]
    assert (tops[0] - tops[1]) / 200 == pytest.approx(15 * 0.1 / 2, abs=0.01)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lane_layout": "stack"}, "did you mean 'stacked'"),
        ({"channels": "rgb"}, "channel layout 'rgb' does not exist"),
        ({"size": (0, 5)}, "expected height and width"),
        ({"dt": 0}, "dt is 0"),
        ({"stopped_speed": 9}, "below 8"),
        ({"max_gap": 0.0}, "or None"),
    ],
)
def test_settings_that_make_no_sense(keys, message):
    with pytest.raises(ValueError, match=message):
        small(**keys)


def test_too_many_panels():
    rows = table(*(track(f"v{i}", [0.0], lane=i) for i in range(4)))
    with pytest.raises(ValueError, match="4 panels do not fit into 6 rows"):
        small(lane_layout="stacked").render(rows, 0, 0)


def test_an_empty_window_is_black():
    rows = table(track(t=steps(5)))
    assert not small().render(rows, 1000, 0).any() and not small().mask(rows, 1000, 0, ["a"]).any()


def test_a_dense_window_takes_no_longer_than_a_core_can_spare():
    """Three dense lanes; 20 ms a window is half of what two cores have for 100 a second."""
    t = steps(420)
    rows = table(
        *(track(f"{lane}.{k}", t, s=15 * t - 150 + 22.0 * k, lane=lane) for lane in range(3) for k in range(25))
    )
    renderer = TimeSpaceRenderer()
    image = renderer.render(rows, 8, 0)
    assert image.any(-1).mean() > 0.15
    start = time.process_time()
    for i in range(10):
        renderer.render(rows, 8 + 0.1 * i, 0)
    assert (time.process_time() - start) / 10 < 0.02
