"""The second road's benchmark: its recordings, figures and drift on made-up windows."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic import second_road as bench
from benchmarks.traffic import second_road_results as results
from benchmarks.traffic.drift_results import mean_speeds
from benchmarks.traffic.rules_windows import list_pieces, write_piece
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import traffic

STEPS = 70


def made_up(piece, rng, factor: float = 1.0, speed: float = 25.0) -> None:
    """Windows of normal features times a factor, a table of vehicles at some speed; in incidents one close gap."""
    features = factor * np.abs(rng.normal(size=(STEPS, len(LASTING_FEATURES))))
    frame = pd.DataFrame(features, columns=[f"v2_{name}" for name in LASTING_FEATURES])
    t0 = 12.8 * np.arange(STEPS)
    frame = frame.assign(recording=piece.job.name, scenario=piece.job.scenario, t0=t0, t1=t0 + 25.6, s0=410.0, s1=922.0)
    frame = frame.assign(density=7.0, v2_density=rng.uniform(10, 60, STEPS))
    event = None
    if piece.job.kind:
        frame.loc[30, "v2_close"] = 60.0
        onset = float(t0[30]) + 13.0
        event = {"kind": piece.job.kind, "severity": "mild", "onset": onset, "end": onset + 5, "density": 7.0}
        event |= {"s_low": 500.0, "s_high": 600.0}
    write_piece(piece, frame, event)
    t = np.arange(0.0, 12.8 * STEPS + 25.6, 3.2)
    table = pd.DataFrame({"t": t, "s": rng.uniform(420, 900, len(t)), "speed": rng.normal(speed, 1.0, len(t))})
    table.to_parquet(piece.table_path)


def test_recordings_of_the_second_road_are_of_it_and_apart_from_the_first():
    pieces = bench.second_pieces(3000, 8, 48)
    assert [piece.part for piece in pieces[:8]] == ["refit"] * 8 and len(pieces) == 8 + 32 + 48
    assert {(p.job.road, p.job.drivers) for p in pieces} == {("two_lanes", "eidm")}
    assert len({piece.path for piece in pieces}) == len(pieces)
    assert pieces[0].path.parent.name == "seed3000_two_lanes_eidm"
    first = list_pieces(3000, 3000, 2, 8, 48)
    assert first[0].path.parent.name == "seed3000" and {p.job.road for p in first} == {"three_lanes"}
    small = [piece for piece in bench.second_pieces(3000, 2, 8) if piece.part == "rate"]
    assert small == [piece for piece in pieces if piece.part == "rate"][:8]


def test_figures_of_made_up_windows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    first = [p for p in list_pieces(0, 1000, 2, 2, 200) if p.part != "incidents" or p.job.first == 0]
    own = [p for p in list_pieces(1000, 1000, 2, 5, 0) if p.part != "fit"]
    with pytest.raises(DataError, match="not one hour of 'fit' is complete"):
        results.evaluate(first, [])
    for piece in first + own:
        made_up(piece, rng)
    for piece in bench.second_pieces(3000, 2, 8):
        made_up(piece, rng, factor=3.0, speed=18.0)
    words = ["--hours", "2", "--incidents", "8", "--fit-hours", "2", "--first-hours", "2", "--table"]
    bench.main(words)
    record = json.loads((tmp_path / "benchmarks/results/second_road/seed3000.json").read_text())
    assert record["hours"] == {"fit": 2, "threshold": 2, "first": 2, "second": 2}
    rules = record["metrics"]["rules"]
    usual, unseen, refitted = rules[results.FIRST], rules[results.UNSEEN], rules[results.REFITTED]
    assert unseen["threshold"] == usual["threshold"] == refitted["threshold"] != rules[results.OWN]["threshold"]
    # Features that are three times as large alarm all the time, until the rules have learned them.
    assert unseen["realised"]["rate"] > 2 * refitted["realised"]["rate"] and refitted["realised"]["rate"] < 6
    assert usual["calibrated"]["recall"] == refitted["calibrated"]["recall"] == 1
    assert set(unseen["at_equal_rate"]["recall_by_kind"]) == set(INCIDENT_KINDS)
    assert sum(unseen["false_windows_by_rule"].values()) > 5 * sum(refitted["false_windows_by_rule"].values())
    drift = record["metrics"]["drift"]
    assert drift["false_reports"] == 0 and drift["hours_watched"] == 4 and drift["blocks"] >= 100
    assert all(one and one["minutes"] <= 60 for one in drift["first_reports"]) and len(drift["first_reports"]) == 2
    page = (tmp_path / "benchmarks/results/second_road/seed3000.md").read_text()
    assert f"| {results.OWN} |" in page and "reported in 2 of 2 streams" in page


def test_speeds_are_those_of_the_watch_of_a_stream():
    from d2road.traffic.events.drift import describe_conditions

    frame = traffic(2, 60.0)
    places = pd.DataFrame({"t0": [5.0, 20.0, 500.0], "t1": [30.6, 45.6, 525.6], "s0": 50.0, "s1": 562.0})
    table = Trajectories.from_frame(frame)
    windows = [TrafficWindow("a", row.t0, row.t1, row.s0, row.s1, table) for row in places.itertuples()]
    expected = [describe_conditions(window)[1] for window in windows]
    assert mean_speeds(frame, places) == pytest.approx(expected, rel=1e-6) and expected[2] == 0
