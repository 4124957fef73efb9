"""What an alarm says, in numbers, words and colours."""

import json

import numpy as np
import pytest

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.watch.alarm_heat import vehicle_heat
from d2road.traffic.watch.alarm_report import make_report
from tests.factories.trajectories import steps, table, track

WHY = Explanation("standing", "stands though the road ahead is clear", "7", 12.0, 5.0, 45.0)


@pytest.fixture
def scored():
    t = steps(101)
    tracks = table(
        track("7", t, np.full(101, 45.0), np.zeros(101), cls="truck", lane="0", length=9.0),
        track("8", t, 20 + 5 * t, lane="1"),
        track("9", t, np.full(101, 100.0), lane="1"),
    )
    return ScoredWindow(TrafficWindow("cam", 0.0, 10.0, 20.0, 80.0, tracks), 6.5, None, True, True)


def test_a_report_names_time_place_vehicles_and_the_rate(scored):
    report = make_report("000001", scored, WHY, 4.0, 1.0, lambda s, direction, lane: (-4.0, s))
    assert (report.t, report.s_m, report.x_m, report.y_m) == (5.0, 45.0, -4.0, 45.0)
    assert (report.score, report.threshold, report.rate_per_hour) == (6.5, 4.0, 1.0)
    assert [(one.track, one.culprit, one.speed_kmh) for one in report.vehicles] == [("7", True, 0), ("8", False, 18.0)]
    assert json.loads(json.dumps(report.to_json()))["vehicles"][0]["cls"] == "truck"


def test_the_sentence_is_one_that_people_say(scored):
    report = make_report("1", scored, WHY, 4.0, None)
    assert report.sentence == (
        "At 00:00:05.0 a truck (track 7) in lane 0, 45 m from the camera, standing, stands though the road ahead is "
        "clear."
    )
    assert make_report("1", scored, None, 4.0, None).sentence == (
        "At 00:00:05.0 the traffic 50 m from the camera is unusual."
    )


def test_a_vehicle_without_a_sample_at_the_instant_is_found_by_its_nearest_one(scored):
    rows = scored.window.table.frame
    gone = scored.window.table.where(~((rows["vehicle"] == "7") & (np.abs(rows["t"] - 5) < 2)).to_numpy())
    window = TrafficWindow("cam", 0.0, 10.0, 20.0, 80.0, gone)
    report = make_report("1", ScoredWindow(window, 6.5, None, True, True), WHY, 4.0, None)
    assert report.vehicles[0].track == "7"


def test_heat_lies_on_the_traces_of_vehicles_with_their_scores(scored):
    renderer = TimeSpaceRenderer(size=(60, 100), ds=1.0)
    heat = vehicle_heat(scored.window, renderer, {"7": 5.0, "8": 2.0, "9": 0.0})
    painted = renderer.render(scored.window.table, 0.0, 20.0, 1, ["0"]).any(axis=2)
    assert set(np.unique(heat)) == {0.0, 2.0, 5.0}
    assert (heat == 5.0)[painted].all() and (heat == 5.0).sum() == painted.sum()  # 9 m of truck for 10 s
