"""Traffic without SUMO: nobody drives through another one, who stops stands, and those behind wait."""

import numpy as np
import pytest

from d2road.synthetic.traffic_incidents.followers import BRAKING_MPS2, ROAD_M, Stop, following_traffic

STOP = Stop()


@pytest.fixture(scope="module")
def traffic():
    return following_traffic(np.random.default_rng(3), 150, STOP)


def test_vehicles_of_a_lane_keep_their_order_and_distance(traffic):
    assert traffic["t"].is_monotonic_increasing and set(np.diff(traffic["t"].unique()).round(3)) == {0.1}
    assert traffic["s"].between(0, ROAD_M).all() and set(traffic["lane"]) == {1, 2}
    for _, rows in traffic[(traffic["t"] % 1).round(3) == 0].groupby(["t", "lane"]):
        rows = rows.sort_values("s")
        assert (np.diff(rows["s"]) > rows["length"].to_numpy()[1:]).all(), "bodies do not overlap"
    for _, rows in traffic.groupby("vehicle"):
        moved, mean = np.diff(rows["s"]), (rows["speed"].to_numpy()[1:] + rows["speed"].to_numpy()[:-1]) / 2
        assert np.allclose(moved, mean * 0.1, atol=0.02) and rows["speed"].min() >= 0 and rows["speed"].max() < 40


def test_one_stands_for_the_time_of_the_stop_and_others_wait_behind(traffic):
    standing = traffic[traffic["speed"] < 0.1]
    first = standing["vehicle"].iloc[0]
    own = standing[standing["vehicle"] == first]
    assert set(standing["lane"]) == {1} and own["t"].max() == pytest.approx(STOP.t + STOP.seconds, abs=0.6)
    speed = traffic[(traffic["vehicle"] == first) & (traffic["t"] < STOP.t)]["speed"].iloc[-1]
    assert own["t"].min() == pytest.approx(STOP.t + speed / BRAKING_MPS2, abs=1.0)
    waiting = standing[standing["vehicle"] != first]
    assert len(waiting["vehicle"].unique()) >= 3 and waiting["s"].max() < own["s"].min()


def test_a_seed_gives_the_same_traffic_and_without_a_stop_nobody_stands():
    one, same = (following_traffic(np.random.default_rng(7), 30) for _ in range(2))
    assert one.equals(same) and len(one) and one["speed"].min() > 5
