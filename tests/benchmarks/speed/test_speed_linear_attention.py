"""The benchmark of attention over tokens runs and writes what it prints."""

import json

import pytest

from benchmarks.speed.speed_linear_attention import exponents, main


def test_runs_and_writes(tmp_path, capsys):
    assert main(["--tokens", "32", "16", "--runs", "1", "--device", "cpu", "--json", str(tmp_path / "a.json")]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert [row["tokens"] for row in content["rows"]] == [16, 32] and set(content["exponent"]) > {"linear", "softmax"}
    assert "growth" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--tokens", "32"])


def test_exponents():
    rows = [{"tokens": 10, "a": 1.0, "b": 1.0}, {"tokens": 20, "a": 2.0, "b": 4.0}]
    assert exponents(rows, ["a", "b"]) == pytest.approx({"a": 1.0, "b": 2.0})
