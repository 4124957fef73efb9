"""The benchmark of rules: its recordings, what is kept of them, figures on made-up windows."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic import rules_benchmark as bench
from benchmarks.traffic import rules_results as results
from benchmarks.traffic import rules_windows as windows
from benchmarks.traffic.rules_windows import list_pieces
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES, compute_lasting_features
from d2road.traffic.baselines.vehicle_features import FEATURES, compute_vehicle_features
from d2road.traffic.events.alarms import alarm_threshold
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import traffic


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(pieces, part):
    return [(piece.job.seed, piece.job.name) for piece in pieces if piece.part == part]


def test_parts_share_no_recording_and_do_not_depend_on_their_sizes():
    small, large = list_pieces(0, 1000, 2, 1, 16), list_pieces(0, 1000, 2, 3, 200)
    assert names(small, "fit") == [(1000, f"hours_{i:03d}") for i in range(8)] == names(large, "fit")
    assert names(small, "threshold") == [(0, f"hours_{i:03d}") for i in range(4)] == names(large, "threshold")[:4]
    assert names(small, "rate") == [(0, f"hours_{i:03d}") for i in range(4, 8)] == names(large, "rate")[:4]
    assert len(names(large, "rate")) == 12 and names(large, "incidents")[:16] == names(small, "incidents")
    assert len({(piece.job.seed, piece.job.name) for piece in large}) == len(large) == 8 + 24 + 200
    assert {piece.job.scenario for piece in large[8:12]} == {"free", "dense", "stop_and_go", "tunnel"}


def test_validation_hours_share_no_recording_with_those_fitted_on():
    pieces = list_pieces(1000, 1000, 2, 1, 8)
    found = [names(pieces, part) for part in ("fit", "threshold", "rate")]
    numbers = [[f"hours_{i:03d}" for i in part] for part in (range(8), range(8, 12), range(12, 16))]
    assert [[name for _, name in part] for part in found] == numbers


def test_wherever_it_ends_there_are_incidents_for_the_hours():
    parts = [piece.part for piece in list_pieces(0, 1000, 1, 5, 200)]
    for count in (40, 100, 200):
        hours = sum(part in ("threshold", "rate") for part in parts[:count]) / 4
        assert abs(parts[:count].count("incidents") - 20 * hours) <= 20


def test_what_is_kept_are_the_highest_features_of_each_window(place):
    piece = list_pieces(0, 1000, 1, 1, 8)[0]
    table = Trajectories.from_frame(traffic(2, 60.0))
    frame = windows.describe_recording(piece.job, table, (0.0, 600.0))
    windows.write_piece(piece, frame, None)
    kept = pd.read_csv(piece.path)
    assert len(kept) == 6 and set(kept["s0"]) == {0.0, 88.0} and set(kept["recording"]) == {piece.job.name}
    for row in kept.itertuples():
        window = TrafficWindow("a", row.t0, row.t1, row.s0, row.s1, table.between(row.t0 - 2, row.t1 + 2))
        old, new = compute_vehicle_features(window).max(), compute_lasting_features(window).features.max(axis=0)
        np.testing.assert_allclose([getattr(row, f"v1_{name}") for name in FEATURES], old, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose([getattr(row, f"v2_{n}") for n in LASTING_FEATURES], new, rtol=1e-4, atol=1e-6)


def made_up(piece, rng) -> None:
    """Windows of normal features; in incidents one with a close gap that only the second version has."""
    columns = [f"v1_{name}" for name in FEATURES] + [f"v2_{name}" for name in LASTING_FEATURES]
    frame = pd.DataFrame(np.abs(rng.normal(size=(70, len(columns)))), columns=columns)
    t0 = 12.8 * np.arange(70)
    frame = frame.assign(recording=piece.job.name, scenario="free", t0=t0, t1=t0 + 25.6, s0=410.0, s1=922.0)
    frame = frame.assign(density=rng.uniform(5, 20, 70), v2_density=lambda f: 3 * f["density"])
    event = None
    if piece.job.kind:
        frame.loc[30, "v2_close"] = 60.0
        onset = float(t0[30]) + 13.0
        event = {"kind": piece.job.kind, "severity": "mild", "onset": onset, "end": onset + 5, "density": 10.0}
        event |= {"s_low": 500.0, "s_high": 600.0}
    windows.write_piece(piece, frame, event)


def test_figures_of_made_up_windows(place, monkeypatch):
    rng = np.random.default_rng(0)
    made = []

    def make(piece, keep_table):
        made.append(piece)
        made_up(piece, rng)

    monkeypatch.setattr(bench, "make_piece", make)
    words = ["--hours", "2", "--fit-hours", "2", "--incidents", "16"]
    with pytest.raises(DataError, match="at least one of each is needed"):
        bench.main([*words, "--minutes", "0"])
    bench.main(words)
    assert len(made) == 8 + 16 + 16
    bench.main(words)  # what is there is not made again
    assert len(made) == 40
    record = json.loads((place / "benchmarks/results/traffic_rules/seed0.json").read_text())
    assert record["hours"] == {"fit": 2, "threshold": 2, "rate": 2} and record["events"] == 16
    old, new = record["metrics"]["rules"], record["metrics"]["rules_v2"]
    assert new["at_equal_rates"]["recall"] == 1 and old["at_equal_rates"]["recall"] < 0.3
    assert set(new["at_equal_rates"]["recall_by_kind"]) == set(INCIDENT_KINDS)
    less = new["less rules"]
    assert less["recall"] == pytest.approx(1 - old["at_equal_rates"]["recall"]) and less["interval"][0] > 0.5
    curve = list(old["curve"].values())
    assert curve == sorted(curve) and new["realised"]["hours"] == 2
    page = (place / "benchmarks/results/traffic_rules/seed0.md").read_text()
    assert "Thresholds" in page.title() and "| rules_v2 less rules |" in page and "| tailgating" in page


def test_alarms_of_good_hours_are_counted_at_a_threshold():
    t0 = np.array([0.0, 12.8, 100.0, 200.0])
    frame = pd.DataFrame({"recording": "a", "t0": t0, "t1": t0 + 25.6, "s0": 0.0, "s1": 512.0, "score": [5, 4, 1, 6]})
    found = results.realised(frame, 2.0, 3.0)
    assert (found["alarms"], found["rate"]) == (2, 1.0) and found["interval"][0] < 1 < found["interval"][1]


def test_a_threshold_from_the_highest_windows_is_that_of_all():
    rng = np.random.default_rng(0)
    t0 = np.tile(12.8 * np.arange(200), 3)
    good = pd.DataFrame(
        {"recording": np.repeat(["a", "b", "c"], 200), "t0": t0, "t1": t0 + 25.6, "s0": 0.0, "s1": 512.0}
    )
    for scores in (rng.normal(size=600), np.round(rng.normal(size=600)), np.zeros(600), rng.integers(0, 2, 600)):
        windows = good.assign(score=scores.astype(float))
        for rate in (0.25, 1.0, 8.0, 200.0):
            assert results.lowest_threshold(windows, 2.0, rate) == alarm_threshold(windows, 2.0, rate, least_hours=0)[0]
