"""The benchmark's learned rows: their scores beside the tables, made once, and the table that they join."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic import rules_benchmark as bench
from benchmarks.traffic import rules_windows as windows
from benchmarks.traffic.rules_windows import list_pieces
from benchmarks.traffic.track_rows import describe_tracks
from benchmarks.traffic.track_scores import ADDED, COLUMNS, FUSED_ROW, ROWS, WHOLE, tracks_path
from benchmarks.traffic.vehicle_models import TRACK_S, compress, track_vectors
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS
from d2road.traffic.baselines.driving_states import STATE_FEATURES, compute_driving_states
from d2road.traffic.baselines.lasting_features import sorted_samples
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import traffic, vehicle, window_of, with_crawler


def make_piece(piece, keep_table):
    """A minute of steady traffic; in incidents somebody crawls in lane 1 on a free road."""
    frame = traffic(piece.job.index + (1000 if piece.job.kind else piece.job.seed), 60.0)
    event = None
    if piece.job.kind:
        frame = with_crawler(frame)
        event = {"kind": piece.job.kind, "severity": "mild", "onset": 12.0, "end": 42.0, "density": 10.0}
        event |= {"s_low": 150.0, "s_high": 420.0}
    table = Trajectories.from_frame(frame.assign(recording=piece.job.name))
    windows.write_piece(piece, windows.describe_recording(piece.job, table, (0.0, 600.0)), event)
    if keep_table:
        table.to_parquet(piece.table_path)


def test_learned_rows_of_made_up_traffic(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "make_piece", make_piece)
    words = ["--hours", "1", "--fit-hours", "2", "--incidents", "8"]
    bench.main([*words, "--learned"])
    pieces = list_pieces(0, 1000, 2, 1, 8)
    paths = [tracks_path(piece, 2) for piece in pieces]
    kept = [pd.read_csv(path) for path in paths]
    for piece, frame in zip(pieces, kept):
        own = pd.read_csv(piece.path)
        assert frame[["recording", "t0", "s0"]].equals(own[["recording", "t0", "s0"]])
        assert np.isfinite(frame[list(COLUMNS)]).all(axis=None) and (frame[list(COLUMNS)] >= 0).all(axis=None)
    record = json.loads((tmp_path / "benchmarks/results/traffic_rules/seed0_learned.json").read_text())
    metrics = record["metrics"]
    assert set(metrics) == {"rules", "rules, relative to density", "rules_v2", WHOLE, *ROWS}
    assert record["command"].endswith("--learned") and record["events"] == 8
    # No row of the learned forecast alone: in this traffic nobody ever accelerates, so nothing is to be learned of it.
    for name in (FUSED_ROW, ADDED):
        assert metrics[name]["at_equal_rates"]["recall"] == 1, name
        assert set(metrics[name]["at_equal_rates"]["recall_by_kind"]) == set(INCIDENT_KINDS)
    less = metrics[FUSED_ROW]["less rules"]
    assert less["recall"] == pytest.approx(1 - metrics["rules"]["at_equal_rates"]["recall"])
    page = (tmp_path / "benchmarks/results/traffic_rules/seed0_learned.md").read_text()
    assert f"| {FUSED_ROW} less rules_v2 " in page and "| bank of tracks" in page
    # Scores that are there are not made again, and the table of a part is of that part.
    before = [path.stat().st_mtime_ns for path in paths]
    tracks_path(pieces[-1], 2).unlink()
    bench.main([*words, "--learned", "--table"])
    assert [path.stat().st_mtime_ns for path in paths][:-1] == before[:-1]
    again = pd.read_csv(paths[-1])
    pd.testing.assert_frame_equal(again, kept[-1])


def test_without_the_tables_of_the_hours_to_fit_on_nothing_is_learned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pieces = list_pieces(0, 1000, 1, 1, 8)
    for piece in pieces[:6]:
        make_piece(piece, keep_table=piece.part != "fit")
    with pytest.raises(DataError, match=r"4 tables .* hours_000 first"):
        describe_tracks(pieces, 1)


def test_a_track_is_ten_seconds_of_one_vehicle():
    t = np.arange(100, 356) / 10
    ahead = vehicle("ahead", t, 140 + 10 * (t - 10), 10.0, 1)
    window = window_of(pd.concat([ahead, vehicle("x", t, 100 + 10 * (t - 10), 10.0, 1)]))
    states = compute_driving_states(*sorted_samples(window), window.t0)
    rows, tracks = track_vectors(states)
    assert (states.seconds.second[rows] >= TRACK_S - 1).all() and (states.seconds.second[rows] % 5 == 0).all()
    assert len(rows) == 2 * 4  # seconds 10, 15, 20 and 25
    own = tracks[rows >= np.flatnonzero(states.seconds.vehicle == states.seconds.vehicle[rows[-1]])[0]]
    half = TRACK_S // 2
    gaps = states.values[rows, STATE_FEATURES.index("gap")]
    assert own[:, :half] == pytest.approx(10) and own[:, 2 * half : 4 * half] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(tracks[:, 2 * half - 1], np.log(gaps + 3.0), rtol=1e-6)


def test_large_deviations_are_told_apart_by_their_logarithm():
    found = compress(np.array([-9.0, -1, 0, 1, 99, 1e9]))
    np.testing.assert_allclose(found, [-np.log(4), -np.log(2), 0, np.log(2), np.log(100), np.log(101)], rtol=1e-6)
