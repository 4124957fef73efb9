"""The benchmark's file is real FCD, and both of its parts run."""

from benchmarks.common.records import read_record
from benchmarks.speed import speed_trajectories as bench
from d2road.traffic.readers import open_trajectories


def test_file_and_both_parts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fcd.xml"
    bench.write_fcd(path, 60_000, 12)
    source = open_trajectories(path)
    table = source.table()
    assert set(source.problems.counts) == {"assumed length"} and path.stat().st_size >= 60_000
    assert (table.frame["speed"] == 20).all() and table.lanes() == ["0", "1", "2"]
    assert bench.main(["--gb", "0.00005", "--windows", "1", "--workers", "1", "--folder", ".", "--record", "t"]) == 0
    said = capsys.readouterr().out
    assert "rows/s, peak" in said and "stacked: " in said and "windows/s in 1 processes" in said
    metrics = read_record("benchmark", "t")["metrics"]
    assert metrics["read"]["rows"] >= 100 and metrics["read"]["peak_mb"] > 10
    assert all(metrics[layout]["windows_per_processor_second"] > 0 for layout in ("overlay", "stacked", "per_lane"))
