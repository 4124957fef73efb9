"""Who an alarm names once its windows speak for another vehicle."""

import pytest

from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.watch.alarm_naming import AlarmNaming


def scored(t0, score, direction=1, recording="cam", s0=0.0):
    window = TrafficWindow(recording, t0, t0 + 10.0, s0, s0 + 60.0, Trajectories.empty(), None, direction)
    return ScoredWindow(window, score, None, True, False)


def test_a_further_window_belongs_to_the_alarm_that_it_touches():
    naming = AlarmNaming()
    naming.begin(scored(0.0, 9.0), "000001", "fast")
    naming.begin(scored(2.0, 7.0, direction=-1), "000002", "other way")
    assert naming.known(scored(5.0, 31.0)).identity == "000001"
    assert naming.known(scored(11.0, 8.0, direction=-1)).vehicle == "other way"
    assert naming.known(scored(15.0, 8.0)).identity == "000001"  # touches the window before it alone


@pytest.mark.parametrize("apart", [scored(10.1, 9.0), scored(5.0, 9.0, recording="b"), scored(5.0, 9.0, s0=61.0)])
def test_what_does_not_touch_is_of_no_alarm(apart):
    naming = AlarmNaming()
    naming.begin(scored(0.0, 9.0), "000001", "fast")
    assert naming.known(apart) is None


def test_alarms_that_a_window_joins_are_the_first_one_with_the_highest_name():
    naming = AlarmNaming()
    naming.begin(scored(0.0, 9.0), "000001", "fast")
    naming.begin(scored(0.0, 20.0, s0=100.0), "000002", "stands")
    joined = naming.known(scored(5.0, 8.0, s0=50.0))
    assert (joined.identity, joined.peak, joined.vehicle) == ("000001", 20.0, "stands")
    assert naming.known(scored(7.0, 8.0, s0=100.0)) is joined
