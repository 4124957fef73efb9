"""Traffic with incidents, driven by SUMO: what happens can be seen, others react, the same seed gives the same."""

import os
import runpy
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from d2road.synthetic.traffic_incidents import incident_windows as windows
from d2road.synthetic.traffic_incidents import incident_writer as writer
from d2road.synthetic.traffic_incidents import simulate, sumo
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.day import make_day
from d2road.synthetic.traffic_incidents.drivers import EIDM
from d2road.synthetic.traffic_incidents.network import ROUTE, THREE_LANES, TWO_LANES, write_network
from d2road.synthetic.traffic_incidents.scenarios import SCENARIOS, Scenario, find_scenario
from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.sumo_net import route_offsets

pytestmark = pytest.mark.skipif(
    sumo.sumo_home() is None,
    reason="SUMO is not installed: the extra `traffic` has it, or SUMO_HOME names it",
)
WARM_UP_S, BEFORE_S, AFTER_S = 20.0, 5.0, 5.0


def short(name: str) -> Scenario:
    return replace(SCENARIOS[name], warm_up=WARM_UP_S)


def drive(folder, kind: str, severity: str, scenario: str | Scenario):
    """The first of some seeds whose traffic allows it: recording and settled incident."""
    traffic = short(scenario) if isinstance(scenario, str) else scenario
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "BEFORE_S", BEFORE_S)
        patch.setattr(simulate, "AFTER_S", AFTER_S)
        for seed in range(30):
            try:
                made = simulate.simulate_incident(folder, traffic, np.random.default_rng(seed), kind, severity)
                return made, windows.visible_incident(made.table, made.incident, made.scenario)
            except NotPossibleError:
                continue
    raise AssertionError(f"{kind} was not possible with any seed")


def culprit(recording, incident):
    return windows.culprit_rows(recording.table, incident)


def assert_others_react(recording, incident) -> None:
    """Until the incident all is as without it; then others than the culprit are slower than they would be."""
    moved = windows.affected(recording.table, recording.without, 0.0)
    assert moved.frame["t"].min() >= recording.incident.onset - 1e-6
    others = moved.where((moved.frame["vehicle"] != incident.vehicle).to_numpy()).frame
    assert len(others)
    both = others.merge(recording.without.frame, on=["vehicle", "t"], suffixes=("", "_without"))
    assert (both["speed"] < both["speed_without"] - 3).any()


def test_the_network_is_as_drawn(tmp_path):
    for road in (THREE_LANES, TWO_LANES):
        net = write_network(tmp_path, road, 33.3, lane_changes=False)
        assert route_offsets(net, ROUTE) == pytest.approx({name: low for name, (low, _) in road.edges.items()})
    with pytest.raises(FileNotFoundError, match="netedit_9, a program of SUMO, was not found: install it with"):
        sumo.program_path("netedit_9")


def test_a_sumo_that_nobody_can_connect_to_is_ended_and_another_one_started(tmp_path, monkeypatch):
    (tmp_path / "sumo").write_text("#!/bin/sh\necho Starting server on port $2\necho $$ >> pids\nexec sleep 60\n")
    (tmp_path / "sumo").chmod(0o755)

    class Traci:
        exceptions = SimpleNamespace(TraCIException=KeyError, FatalTraCIError=ValueError)

        def connect(self, port, numRetries, proc):
            pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").is_file() else []
            if len(pids) < 2:
                raise ValueError("refused")
            return SimpleNamespace(close=lambda: None, pids=[int(pid) for pid in pids])

    monkeypatch.setattr(sumo, "START_S", 1.0)
    monkeypatch.setattr(sumo, "program_path", lambda name: tmp_path / name)
    monkeypatch.setattr(sumo, "_traci", Traci)
    with sumo.controlled([], tmp_path) as connection:
        with pytest.raises(ProcessLookupError):
            os.kill(connection.pids[0], 0)
        os.kill(connection.pids[1], 0)
    with pytest.raises(ProcessLookupError):
        os.kill(connection.pids[1], 0)


def test_good_traffic_is_good_and_repeatable(tmp_path):
    made = [simulate.simulate_good(tmp_path, short("dense"), np.random.default_rng(s), 30.0) for s in (0, 0, 1)]
    frames = [one.table.frame for one in made]
    assert frames[0].equals(frames[1]) and not frames[0].equals(frames[2])
    for one in made:
        frame = one.table.frame
        assert one.collisions == 0 and one.incident is None and one.without is None
        assert frame["t"].min() == WARM_UP_S and frame["speed"].between(0, 1.16 * 33.3).all()
        assert frame["s"].between(*one.scenario.observed).all()
        for vehicle in one.table.vehicles[:5]:
            gaps = windows.time_gaps(one.table, vehicle)
            assert (gaps > 0.2).all()
        assert {"car", "truck"} <= set(frame["cls"])


def test_the_second_road_has_good_traffic_of_its_own(tmp_path):
    scenario = replace(find_scenario("dense", "two_lanes", EIDM), warm_up=WARM_UP_S)
    one = simulate.simulate_good(tmp_path, scenario, np.random.default_rng(0), 30.0)
    frame = one.table.frame
    assert one.collisions == 0 and set(frame["lane"]) <= {"0", "1", "2"} and {"1", "2"} <= set(frame["lane"])
    assert frame["s"].between(*TWO_LANES.observed).all() and frame["s"].max() > 1500
    assert frame["speed"].between(0, 1.19 * 30.6).all() and {"car", "truck"} <= set(frame["cls"])


@pytest.mark.parametrize("kind", ["wrong_way", "lane_changes", "speeding"])
def test_incidents_that_know_the_road_happen_on_the_second_one(tmp_path, kind):
    scenario = replace(find_scenario("free", "two_lanes", EIDM), warm_up=WARM_UP_S)
    recording, incident = drive(tmp_path, kind, "moderate", scenario)
    rows = culprit(recording, incident)
    assert rows["s"].between(*TWO_LANES.observed).all() and set(rows["lane"]) <= {"1", "2"}
    if kind == "wrong_way":
        assert rows["speed"].max() < -14
    elif kind == "lane_changes":
        assert (rows["lane"].astype(str).to_numpy()[1:] != rows["lane"].astype(str).to_numpy()[:-1]).sum() >= 3
    else:
        assert rows["speed"].max() > windows.SPEEDING_FACTOR * scenario.limit


def test_nobody_changes_lanes_in_the_tunnel(tmp_path):
    table = simulate.simulate_good(tmp_path, short("tunnel"), np.random.default_rng(0), 30.0).table
    lanes = table.frame.groupby("vehicle", observed=True)["lane"].nunique()
    assert len(lanes) > 10 and (lanes == 1).all()


def test_a_stopped_vehicle_stands_and_a_queue_forms(tmp_path):
    recording, incident = drive(tmp_path, "stopped_vehicle", "mild", "dense")
    rows = culprit(recording, incident)
    assert (rows["speed"] < 0.05).sum() >= 110 and rows["lane"].nunique() == 1
    assert_others_react(recording, incident)


def test_without_its_twin_a_recording_is_the_same(tmp_path, monkeypatch):
    for name, value in {"BEFORE_S": BEFORE_S, "AFTER_S": AFTER_S, "LONGEST_S": 100.0}.items():
        monkeypatch.setattr(simulate, name, value)
    found = []
    for twin in (True, False):
        for seed in range(30):
            rng = np.random.default_rng(seed)
            try:
                found.append(simulate.simulate_incident(tmp_path, short("free"), rng, "slow_vehicle", "mild", twin))
                break
            except NotPossibleError:
                continue
    one, other = found
    pd.testing.assert_frame_equal(one.table.frame, other.table.frame)
    assert one.incident == other.incident and one.without is not None and other.without is None


def test_a_slow_vehicle_is_slow(tmp_path):
    recording, incident = drive(tmp_path, "slow_vehicle", "severe", "dense")
    assert culprit(recording, incident)["speed"].iloc[-100:].between(4.0, 5.1).all()
    assert_others_react(recording, incident)


def test_hard_braking_is_hard(tmp_path):
    recording, incident = drive(tmp_path, "hard_braking", "severe", "dense")
    rows = culprit(recording, incident)
    assert -9.5 < rows["acceleration"].min() < -8.0 and rows["speed"].min() < 0.15 * rows["speed"].max()
    assert_others_react(recording, incident)


def test_speeding_is_faster_than_all_others(tmp_path):
    recording, incident = drive(tmp_path, "speeding", "mild", "free")
    frame = recording.table.frame
    others = frame.loc[frame["vehicle"] != incident.vehicle, "speed"]
    assert culprit(recording, incident)["speed"].min() > 1.2 * 33.2 > others.max()


def test_who_drives_the_wrong_way_comes_closer_and_others_brake(tmp_path):
    recording, incident = drive(tmp_path, "wrong_way", "severe", "dense")
    rows = culprit(recording, incident)
    assert (np.diff(rows["s"]) < 0).all() and rows["speed"].to_numpy() == pytest.approx(-24.0, abs=0.2)
    assert rows["s"].min() < 420 and rows["s"].max() > 1420 and set(rows["lane"]) == {"3"}
    assert_others_react(recording, incident)
    good = recording.without.frame
    assert incident.vehicle not in set(good["vehicle"]) and (good["speed"] >= 0).all()


def test_in_a_jam_the_wrong_way_is_on_the_shoulder(tmp_path):
    recording, incident = drive(tmp_path, "wrong_way", "severe", "stop_and_go")
    assert set(culprit(recording, incident)["lane"]) == {"0"}


@pytest.mark.parametrize("scenario", ["dense", "tunnel"])
def test_lane_changes_are_many(tmp_path, scenario):
    recording, incident = drive(tmp_path, "lane_changes", "moderate", scenario)
    lanes = culprit(recording, incident)["lane"].astype(int).to_numpy()
    changes = np.diff(lanes)[np.diff(lanes) != 0]
    assert len(changes) >= 3 and set(np.abs(changes)) == {1}


def test_tailgating_is_close(tmp_path):
    recording, incident = drive(tmp_path, "tailgating", "moderate", "free")
    gaps = windows.time_gaps(recording.table, incident.vehicle)
    gaps = gaps[(gaps.index >= incident.onset) & (gaps.index <= incident.end)]
    assert len(gaps) >= 20 and gaps.min() > 0 and gaps.median() < 0.55


@pytest.mark.slow
def test_workers_do_not_matter(tmp_path):
    counts = {"train": 2, "validation": 0, "good": 0, "incidents": 1}
    for workers in (0, 2):
        writer.make_traffic_incidents(tmp_path / str(workers), seed=5, workers=workers, views=["overlay"], **counts)
    files = [p.relative_to(tmp_path / "0") for p in sorted((tmp_path / "0").rglob("*")) if p.is_file()]
    assert len(files) >= 12
    for file in files:
        assert (tmp_path / "0" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file


def test_a_day_is_written_and_read(tmp_path, capsys):
    said = make_day(tmp_path / "day.csv.gz", hours=0.05, seed=1)
    assert "0.05 h" in said and f"edges={THREE_LANES.fcd_edges.replace(' ', '')}" in said
    table = open_trajectories(said.partition("read it as ")[2]).table()
    assert table.span[1] == pytest.approx(179.9) and len(table.vehicles) >= 5
    assert [p.name for p in tmp_path.iterdir()] == ["day.csv.gz"]
    with pytest.raises(ValueError, match=r"has to end in one of .csv, .xml, .csv.gz, .xml.gz"):
        make_day(tmp_path / "day.txt")


def test_command_line(tmp_path, repo_dir, monkeypatch, capsys):
    script = str(repo_dir / "datasets/make_traffic_incidents.py")
    monkeypatch.setattr(sys, "argv", [script, "--day", str(tmp_path / "d.xml"), "--day-hours", "0.01"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    assert stopped.value.code == 0 and "d.xml holds 0.01 h" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [script, "--out", str(tmp_path / "a"), "--train", "1"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    assert stopped.value.code == 2 and "error: --train is 1" in capsys.readouterr().err
