"""The benchmark of integer products measures what gives the same, and nothing else."""

import pytest
import torch

from benchmarks.common.records import read_record
from benchmarks.speed import speed_integer_products as bench

SMALL = ["--queries", "20", "--vectors", "64", "--channels", "16", "--runs", "1"]


def test_all_candidates_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert bench.main([*SMALL, "--record", "t"]) == 0
    assert capsys.readouterr().out.count("G/s") == 3
    rows = read_record("benchmark", "t")["metrics"]
    assert list(rows) == ["float32", "torch._int_mm", "onnxruntime"] and rows["float32"]["ratio"] == 1


def test_wrong_products_are_refused(monkeypatch):
    monkeypatch.setattr(bench, "candidates", lambda queries, vectors: {"wrong": lambda: torch.zeros(20, 64)})
    with pytest.raises(RuntimeError, match="wrong does not give"):
        bench.main(SMALL)
