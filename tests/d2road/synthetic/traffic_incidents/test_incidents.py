"""Traffic with incidents, without a simulator: demand, noise, windows and their masks."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from d2road.synthetic.traffic_incidents import incident_windows as windows
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.day import sample_day
from d2road.synthetic.traffic_incidents.drivers import COUNTS, EIDM, IDM, POPULATIONS
from d2road.synthetic.traffic_incidents.incident_windows import VIEWS, Cut
from d2road.synthetic.traffic_incidents.network import (
    THREE_LANES,
    TWO_LANES,
    connections_text,
    edges_text,
    nodes_text,
)
from d2road.synthetic.traffic_incidents.noise import Sensor, lose_track, observe
from d2road.synthetic.traffic_incidents.scenarios import SCENARIOS, find_scenario, sample_demand, write_demand
from d2road.synthetic.traffic_incidents.simulate import read_observed
from tests.factories.incidents import CULPRIT, END_S, FOLLOWER, ONSET, SPEED, START_S, STOP_S, traffic
from tests.factories.incidents import stop as stop_incident

CUT = Cut(95.0, 700.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_drivers_differ_and_trucks_are_long_and_slow():
    drivers = POPULATIONS[IDM].sample(rng())
    assert {cls: sum(d.cls == cls for d in drivers) for cls in COUNTS} == COUNTS
    trucks = [d for d in drivers if d.cls == "truck"]
    assert min(d.length for d in trucks) >= 8 and max(d.desired_speed(33.3) for d in trucks) <= 25
    cars = np.array([d.desired_speed(33.3) for d in drivers if d.cls == "car"])
    assert 1 < cars.std() < 5 and cars.max() <= 1.15 * 33.3
    assert POPULATIONS[IDM].sample(rng()) == drivers != POPULATIONS[IDM].sample(rng(1))


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_demand_has_the_flow_of_its_scenario(name):
    scenario = SCENARIOS[name]
    counts = []
    for seed in range(6):
        demand = sample_demand(rng(seed), scenario, 1200.0)
        come = [start for start in demand.starts if start.s is None and not start.ramp]
        counts.append(len(come) * 3600 / 1200 / len(THREE_LANES.lanes))
        assert bool(demand.signs) == scenario.waves
        assert not any(start.driver.cls == "truck" and start.lane == "3" for start in demand.starts)
        there = [start for start in demand.starts if start.s is not None]
        for lane in THREE_LANES.lanes:
            own = sorted((s for s in there if s.lane == lane), key=lambda start: start.s)
            gaps = [b.s - b.driver.length - a.s for a, b in pairwise(own)]
            assert min(gaps) > 1.0
    assert 0.9 * scenario.flow[0] < np.mean(counts) < 1.05 * scenario.flow[1]


def test_demand_is_written_as_sumo_reads_it(tmp_path):
    demand = sample_demand(rng(), SCENARIOS["stop_and_go"], 100.0)
    words = write_demand(tmp_path, demand)
    assert words == ["--route-files", "demand.rou.xml", "--additional-files", "signs.add.xml"]
    routes = pd.read_xml(tmp_path / "demand.rou.xml", xpath=".//vehicle", parser="etree")
    assert len(routes) == len(demand.starts) and routes["depart"].is_monotonic_increasing
    types = pd.read_xml(tmp_path / "demand.rou.xml", xpath=".//vType", parser="etree")
    assert set(routes["type"]) <= set(types["id"]) and (types["speedDev"] == 0).all()
    first = next(start for start in demand.starts if start.s is not None)
    edge, pos = THREE_LANES.edge_at(first.s)
    row = routes.iloc[demand.starts.index(first)]
    assert row["route"] == f"from_{edge}" and float(row["departPos"]) == pytest.approx(pos, abs=0.01)


def digest_of(folder) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("free", "10ca0b5a92a3642a"),
        ("dense", "aa1a83c728d664c1"),
        ("stop_and_go", "df3c50b02b0c09d3"),
        ("tunnel", "3a385697786eb413"),
    ],
)
def test_what_sumo_gets_is_what_it_got_before_there_was_a_second_road(tmp_path, name, digest):
    """Digests of the first version's files: a seed must go on to mean the same traffic."""
    write_demand(tmp_path, sample_demand(rng(7), SCENARIOS[name], 300.0))
    assert digest_of(tmp_path) == digest
    assert find_scenario(name) == SCENARIOS[name]


def test_the_first_road_and_its_day_are_what_they_were(tmp_path):
    write_demand(tmp_path, sample_day(rng(7), 30000.0, SCENARIOS["free"]))
    assert digest_of(tmp_path) == "52531803cf11156b"
    road = THREE_LANES
    edges = edges_text(road, 33.3, lane_changes=True) + edges_text(road, 27.8, lane_changes=False)
    text = nodes_text(road) + edges + connections_text(road)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "1d19e9e9c979d8f6"


def test_other_roads_and_drivers_are_other_ones(tmp_path):
    scenario = find_scenario("dense", "two_lanes", EIDM)
    assert scenario.limit < SCENARIOS["dense"].limit and scenario.road == TWO_LANES
    assert find_scenario("tunnel", "two_lanes").observed == TWO_LANES.tunnel
    demand = sample_demand(rng(), scenario, 1200.0)
    lanes = {start.lane for start in demand.starts}
    assert lanes == {"0", "1", "2"}
    write_demand(tmp_path, demand, scenario.road)
    types = pd.read_xml(tmp_path / "demand.rou.xml", xpath=".//vType", parser="etree")
    assert set(types["carFollowModel"]) == {"EIDM"} and types["tau"].median() < 1.15
    usual = sample_demand(rng(), SCENARIOS["dense"], 1200.0)
    trucks = [np.mean([s.driver.cls == "truck" for s in one.starts]) for one in (usual, demand)]
    assert trucks[1] > trucks[0] + 0.05


def test_places_of_edges():
    for road in (THREE_LANES, TWO_LANES):
        edges = road.edges
        assert road.edge_at(0.0) == ("up", 0.0) and road.edge_at(edges["merge"][0]) == ("merge", 0.0)
        assert road.edge_at(1000.0) == ("main", 1000.0 - edges["main"][0])
    with pytest.raises(ValueError, match=r"s = 5000 m is not on the road, which is 1900 m long"):
        THREE_LANES.edge_at(5000.0)


def test_fcd_becomes_a_table_of_what_is_observed(tmp_path):
    """A file as SUMO 1.28 writes it, with a vehicle that TraCI has changed and one without a neighbour in time."""
    drivers = POPULATIONS[IDM].sample(rng())
    text = (
        "timestep_time;vehicle_id;vehicle_type;vehicle_speed;vehicle_pos;vehicle_lane;vehicle_acceleration\n"
        "60.00;;;;;;\n"
        "60.10;5;car.3@5;20.00;100.00;merge_1;0.50\n60.10;12;truck.0;22.00;8.00;merge_2;0.00\n"
        "60.20;5;car.3@5;20.05;102.00;merge_1;0.50\n60.20;12;truck.0;22.00;10.20;merge_2;0.00\n"
        "60.20;wrong;car.0;15.00;300.00;main_3;0.00\n60.30;wrong;car.0;15.00;298.50;main_4;0.00\n"
    )
    (tmp_path / "fcd.csv").write_text(text)
    table = read_observed(tmp_path / "fcd.csv", drivers, SCENARIOS["free"])
    by_name = {name: table.select(vehicles=[name]).frame for name in table.vehicles}
    assert {name: len(rows) for name, rows in by_name.items()} == {"5": 2, "12": 1, "wrong": 2}
    car = by_name["5"]
    assert (
        car["s"].tolist() == pytest.approx([500.0, 502.0]) and set(car["cls"]) == {"car"} and set(car["lane"]) == {"1"}
    )
    assert car["length"].iloc[0] == pytest.approx(next(d.length for d in drivers if d.name == "car.3"))
    assert by_name["12"]["cls"].iloc[0] == "truck" and by_name["12"]["width"].iloc[0] == pytest.approx(2.55)
    # The margin is part of the left lane.
    assert set(by_name["wrong"]["lane"]) == {"3"}
    assert by_name["wrong"]["speed"].tolist() == pytest.approx([-15.0, -15.0])


def test_noise_has_its_spread_and_share():
    table = traffic(False)
    seen = observe(table, rng(), Sensor(position=0.3, speed=0.1, acceleration=0.2, dropout=0.01))
    assert 1 - len(seen) / len(table) == pytest.approx(0.01, rel=0.3)
    both = table.frame.merge(seen.frame, on=["vehicle", "t"], suffixes=("", "_seen"))
    assert len(both) == len(seen)
    for name, deviation in (("s", 0.3), ("speed", 0.1), ("acceleration", 0.2)):
        error = (both[f"{name}_seen"] - both[name]).to_numpy(float)
        assert abs(error.mean()) < 0.02 and error.std() == pytest.approx(deviation, rel=0.05)
    assert observe(table, rng()).frame.equals(seen.frame)


def test_a_lost_track_leaves_a_gap_and_comes_back_under_another_name():
    table = traffic(False)
    seen, incident = lose_track(table, rng(3), 4.0, 80.0, 120.0)
    assert incident.kind == "lost_track" and incident.end - incident.onset == pytest.approx(4.0)
    assert 80 <= incident.onset <= 120 and len(table) - len(seen) == 39
    before = seen.select(vehicles=[incident.vehicle]).frame["t"]
    after = seen.select(vehicles=[incident.vehicle + "b"]).frame["t"]
    assert before.max() == pytest.approx(incident.onset) and after.min() == pytest.approx(incident.end)
    whole = table.select(vehicles=[incident.vehicle]).frame["t"]
    assert len(before) + len(after) + 39 == len(whole) and len(before) >= 20 and len(after) >= 20
    with pytest.raises(NotPossibleError, match="no vehicle is seen for 64 s"):
        lose_track(table, rng(), 60.0, 80.0, 120.0)


def test_affected_are_those_who_are_elsewhere():
    table = traffic(True)
    moved = windows.affected(table, traffic(False), ONSET)
    assert set(moved.vehicles) == {CULPRIT, FOLLOWER}
    follower = moved.select(vehicles=[FOLLOWER]).frame["t"]
    assert follower.min() == pytest.approx(ONSET + 4.0, abs=0.2)
    assert len(windows.affected(traffic(False), traffic(False), ONSET)) == 0


@pytest.mark.parametrize("view", list(VIEWS))
def test_masks_hold_the_culprit_and_no_good_pixel_twice(view):
    table, incident, renderer = traffic(True), stop_incident(), VIEWS[view]
    mask = windows.culprit_mask(renderer, table, incident, CUT)
    moved = windows.affected(table, traffic(False), ONSET)
    ignore = windows.ignore_mask(renderer, moved, mask, CUT)
    assert mask.any() and ignore.any() and not (mask & ignore).any()
    own = windows.render(renderer, table.select(vehicles=[CULPRIT]).between(ONSET, ONSET + STOP_S + 0.05), CUT)
    painted = own.any(axis=-1)
    assert mask[painted].all()
    if view == "overlay":
        # Grown by 3 pixels to all sides, which scipy does as well.
        assert np.array_equal(mask, ndimage.binary_dilation(painted, np.ones((7, 7))))
        x, y = renderer.to_pixel(ONSET + 10, 410 + SPEED * (ONSET - 86.0), CUT.t0, CUT.s0)
        assert mask[int(y), int(x)] and not mask[int(y) + 10, int(x)]
    # Outside of both masks all is as it would be without the incident, but for those that are missing.
    actual, good = windows.render(renderer, table, CUT), windows.render(renderer, traffic(False), CUT)
    appeared = (actual != good).any(axis=-1) & actual.any(axis=-1) & ~good.any(axis=-1)
    assert appeared.any() and not (appeared & ~mask & ~ignore).any()


def test_window_of_an_incident_shows_it():
    table, incident = traffic(True), stop_incident()
    for seed in range(5):
        cut = windows.incident_cut(rng(seed), table, incident, THREE_LANES.observed, END_S)
        assert THREE_LANES.observed[0] <= cut.s0 and cut.s1 <= THREE_LANES.observed[1] and cut.t1 <= END_S + 1e-6
        assert windows.culprit_mask(VIEWS["overlay"], table, incident, cut).sum() >= windows.LEAST_PIXELS
    with pytest.raises(NotPossibleError, match=f"{CULPRIT} paints fewer than 150 pixels"):
        windows.incident_cut(
            rng(), table, replace(incident, onset=START_S, end=START_S + 1), THREE_LANES.observed, END_S
        )


def test_an_incident_is_settled_by_what_can_be_seen():
    scenario, table = SCENARIOS["free"], traffic(True)
    settled = windows.visible_incident(table, replace(stop_incident(), onset=70.0, end=150.0), scenario)
    rows = table.select(vehicles=[CULPRIT]).frame["t"]
    assert (settled.onset, settled.end) == (pytest.approx(86.0), pytest.approx(rows.max()))
    with pytest.raises(NotPossibleError, match="seen for less than 2 s"):
        windows.visible_incident(table, replace(stop_incident(), kind="speeding"), scenario)
    with pytest.raises(NotPossibleError, match="no room to change lanes"):
        windows.visible_incident(table, replace(stop_incident(), kind="lane_changes", level=4), scenario)
    # Vehicle 8 stands 150 m behind vehicle 7: no tailgating, until its level says that this is near enough.
    follows = replace(stop_incident(), kind="tailgating", vehicle=FOLLOWER, onset=90.0, end=100.0)
    gaps = windows.time_gaps(table, FOLLOWER)
    assert gaps.loc[95.0] == pytest.approx((6 * SPEED - 4.5) / SPEED)
    with pytest.raises(NotPossibleError, match="less than 2 s"):
        windows.visible_incident(table, replace(follows, level=0.3), scenario)
    assert windows.visible_incident(table, replace(follows, level=6.0), scenario).onset == pytest.approx(92.0)


def test_density_of_a_window():
    per_km, speed = windows.density_and_speed(traffic(False), CUT)
    # A vehicle every 6 s at 25 m/s is one every 150 m of each lane.
    assert per_km == pytest.approx(1000 / 150, rel=0.05) and speed == pytest.approx(SPEED)
