"""Networks on images as streams: windows without overlap, learned from good ones, and the record beside the rules."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic import network_streams as bench
from benchmarks.traffic import study_experiments
from benchmarks.traffic.rules_windows import describe_recording, list_pieces, write_piece
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError
from tests.factories.traffic_windows import traffic

pytestmark = pytest.mark.slow


def make_piece(piece) -> None:
    """A minute of steady traffic; an incident is an event in it that nothing shows."""
    frame = traffic(piece.job.index + piece.job.seed, 60.0)
    table = Trajectories.from_frame(frame.assign(recording=piece.job.name))
    event = None
    if piece.job.kind:
        event = {"kind": piece.job.kind, "severity": "mild", "onset": 12.0, "end": 42.0, "density": 10.0}
        event |= {"s_low": 150.0, "s_high": 420.0}
    write_piece(piece, describe_recording(piece.job, table, (0.0, 600.0)), event)
    table.to_parquet(piece.table_path)


def test_windows_follow_each_other_without_overlap(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    piece = list_pieces(0, 1000, 2, 1, 8)[0]
    make_piece(piece)
    frame = bench.read_grid(piece)
    times = sorted(set(frame["t0"]))
    assert np.diff(times) == pytest.approx([25.6] * (len(times) - 1)) and len(frame) == 2 * len(times) == 4
    assert [image.shape for image in bench.render(piece, frame)] == [(256, 256, 3)] * 4


def test_the_record_has_networks_beside_the_rules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module, name, value in (
        (bench, "TRAIN", 6), (bench, "COMPARE", 20), (study_experiments, "BANK", 50), (study_experiments, "STEPS", 2),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    pieces = list_pieces(0, 1000, 2, 1, 8)
    with pytest.raises(DataError, match="at least one of each is needed"):
        for piece in pieces[:8]:
            make_piece(piece)
        bench.evaluate(pieces)
    for piece in pieces[8:]:
        make_piece(piece)
    words = ["--hours", "1", "--incidents", "8"]
    bench.main(words)
    kept = [pd.read_csv(bench.scores_path(piece)) for piece in pieces[8:]]
    assert all(np.isfinite(frame).all(axis=None) and list(frame) == list(bench.METHODS) for frame in kept)
    record = json.loads((tmp_path / "benchmarks/results/traffic_rules/seed0_networks.json").read_text())
    rows = [name for row in bench.METHODS.values() for name in (row, f"{row}, relative to density")]
    assert list(record["metrics"]) == ["rules_v2", *rows] and record["hours"] == {"fit": 2, "threshold": 1, "rate": 1}
    assert {f"less {name}" for name in rows} < set(record["metrics"]["rules_v2"])
    # A bank and a student that are there are taken: their scores are the same again.
    before = kept[0]
    bench.scores_path(pieces[8]).unlink()
    bench.main(words)
    pd.testing.assert_frame_equal(pd.read_csv(bench.scores_path(pieces[8])), before)
