"""The benchmark of the scan runs, compares what it times, and writes what it prints."""

import json

import pytest

from benchmarks.speed import speed_state_space as state_space

SMALL = ["--heads", "2", "--dim", "2", "--state", "3", "--runs", "2", "--chunks", "4", "8", "--device", "cpu"]


@pytest.mark.parametrize("options", [[], ["--train", "--clock", "cpu"]])
def test_runs_and_writes(tmp_path, capsys, options):
    path = tmp_path / "rows.json"
    assert state_space.main(["--lengths", "5", "16", *SMALL, *options, "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert [row["length"] for row in rows] == [5, 16]
    for row in rows:
        assert row["candidates"]["d2road"]["ratio"] == 1.0
        assert all(figures["chunk"] in (4, 5, 8) and figures["ms"] > 0 for figures in row["candidates"].values())
    assert "ratio" in capsys.readouterr().out or len(rows[0]["candidates"]) == 1


def test_peers_that_compute_something_else_are_refused(monkeypatch):
    def wrong(values, chunk):
        return state_space.scan_of_d2road(values, chunk) * 1.01

    monkeypatch.setattr(state_space, "candidates", lambda: {"d2road": state_space.scan_of_d2road, "peer": wrong})
    with pytest.raises(RuntimeError, match=r"peer with chunks of 4 differs by 1\.0e-02 at length 9"):
        state_space.main(["--lengths", "9", *SMALL])


def test_wrong_numbers(capsys):
    with pytest.raises(SystemExit):
        state_space.main(["--lengths", "0"])
    assert "at least 1" in capsys.readouterr().err
