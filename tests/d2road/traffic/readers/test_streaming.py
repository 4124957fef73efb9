"""Chunks are the table, whatever the order of the file and however little is held in memory."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.signal import savgol_filter

from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.ordering import chunks_of_ordered, in_order
from tests.factories.trajectories import steps, track


def traffic(vehicles=6, count=150, seed=0):
    """Vehicles one after the other in the file, as most data sets have them, with noise."""
    rng = np.random.default_rng(seed)
    t = steps(count)
    tracks = [
        track(f"v{k}", np.round(t + k, 1), s=10 + 15 * t + rng.normal(0, 0.3, count), speed=15.0)
        for k in range(vehicles)
    ]
    return pd.concat(tracks, ignore_index=True)


def as_text(table):
    return table.frame.astype(dict.fromkeys(["recording", "vehicle", "cls", "lane"], str)).sort_values(
        ["t", "vehicle"], ignore_index=True
    )


@pytest.mark.parametrize("memory_rows", [200, 10**7])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_memory_does_not_change_the_table(tmp_path, memory_rows, smooth, monkeypatch):
    monkeypatch.setattr("d2road.traffic.readers.blocks.BLOCK_ROWS", 97)
    monkeypatch.setattr("d2road.traffic.readers.ordering.BATCH", 31)
    path = tmp_path / "x.csv"
    traffic().drop(columns=["recording", "acceleration"]).to_csv(path, index=False)
    whole = open_trajectories(path, smooth=smooth)
    monkeypatch.setattr("d2road.traffic.readers.blocks.BLOCK_ROWS", 10**6)
    expected = as_text(whole.table())
    monkeypatch.setattr("d2road.traffic.readers.blocks.BLOCK_ROWS", 97)
    source = open_trajectories(path, smooth=smooth, memory_rows=memory_rows)
    chunks = list(source.chunks(seconds=3.0))
    spans = [chunk.span for chunk in chunks]
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert all(end - start < 3 for start, end in spans)
    found = pd.concat([as_text(chunk) for chunk in chunks], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, atol=1e-4)


def test_runs_on_disk_merge_like_a_sort():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"t": rng.integers(0, 60, 5000) / 2, "row": np.arange(5000), "vehicle": rng.choice(list("ab"), 5000)}
    )
    frame["vehicle"] = frame["vehicle"].astype("category")
    merged = pd.concat(in_order((frame.iloc[i : i + 70] for i in range(0, 5000, 70)), memory_rows=300))
    expected = frame.sort_values(["t", "row"])
    for name in ("t", "row", "vehicle"):
        assert merged[name].astype(object).tolist() == expected[name].astype(object).tolist()


def test_chunks_leave_out_times_without_rows():
    blocks = [pd.DataFrame({"t": t}) for t in ([0.0, 0.5, 1.0], [1.5, 9.9, 10.0], [], [10.4])]
    chunks = [chunk["t"].tolist() for chunk in chunks_of_ordered(blocks, 1.0)]
    assert chunks == [[0, 0.5], [1.0, 1.5], [9.9], [10.0, 10.4]]


def test_chunks_end_where_rounding_is_against_them():
    for start in np.round(np.arange(1, 1300) / 10, 1):
        t = np.round(start + np.array([0, 59.9, 60, 119.9, 120, 180]), 1)
        chunks = [chunk["t"].tolist() for chunk in chunks_of_ordered([pd.DataFrame({"t": t})], 60.0)]
        assert np.concatenate(chunks).tolist() == t.tolist() and len(chunks) in (4, 5)


def test_smoothing_is_scipys_filter_over_each_vehicle(tmp_path):
    path = tmp_path / "x.csv"
    rows = traffic(3, 200)
    rows.drop(columns=["recording", "acceleration"]).to_csv(path, index=False)
    for seconds in (60.0, 1.0):
        chunks = [as_text(c) for c in open_trajectories(path, smooth=1.0).chunks(seconds)]
        frame = pd.concat(chunks)
        for name, one in rows.groupby("vehicle"):
            found = frame[frame["vehicle"] == name]
            assert found["s"].to_numpy() == pytest.approx(savgol_filter(one["s"], 11, 2), abs=1e-6)
            speed = savgol_filter(one["s"], 11, 2, deriv=1, delta=0.1)
            assert found["speed"].to_numpy() == pytest.approx(speed, abs=1e-3)


def test_smoothing_does_not_cross_a_gap(tmp_path):
    t = np.concatenate([steps(30), steps(30, start=10)])
    rows = track("a", t, s=np.where(t < 5, 20 * t, 1000 + 5 * t), speed=1.0)
    rows.drop(columns="recording").to_csv(tmp_path / "x.csv", index=False)
    frame = open_trajectories(tmp_path / "x.csv", smooth=1.0).table().frame
    assert frame["speed"].to_numpy() == pytest.approx(np.where(t < 5, 20, 5), abs=1e-4)


def test_a_part_of_the_time(tmp_path):
    traffic().drop(columns="recording").to_csv(tmp_path / "x.csv", index=False)
    table = open_trajectories(tmp_path / "x.csv", start=3, end=7.5).table()
    assert table.span == (3, 7.4)


def test_speed_at_chunk_edges_is_that_of_the_whole(tmp_path):
    t = steps(100)
    rows = track("a", t, s=5 * t + t**2).drop(columns=["recording", "speed", "acceleration"])
    rows.to_csv(tmp_path / "x.csv", index=False)
    for seconds in (0.3, 1.0, 60.0):
        frame = pd.concat([c.frame for c in open_trajectories(tmp_path / "x.csv").chunks(seconds)])
        assert frame["speed"].to_numpy()[1:-1] == pytest.approx((5 + 2 * t)[1:-1], abs=1e-4)
        assert frame["acceleration"].to_numpy()[2:-2] == pytest.approx(2, abs=1e-3)


def test_chunks_must_have_a_duration(tmp_path):
    (tmp_path / "x.csv").write_text("vehicle,t,s\na,0,0\n")
    with pytest.raises(ValueError, match="expected more than 0"):
        list(open_trajectories(tmp_path / "x.csv").chunks(0))
