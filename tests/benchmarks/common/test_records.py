"""Records of finished runs, and the table made from them."""

import json

import pytest

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.diffusion_det import diffusion_toy as bench


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(name, **metrics):
    return write_record("a_bench", name, metrics=metrics, command="make a", config="a.yaml", seed=3, seconds=1.26)


def test_round_trip(folder):
    assert read_record("a_bench", "seed3/x") is None
    written = keep("seed3/x", AP=12.5)
    assert read_record("a_bench", "seed3/x") == written
    assert written["seconds"] == 1.3 and written["seed"] == 3 and "threads" in written["machine"]
    assert record_path("a_bench", "seed3/x").is_file()


def test_foreign_file_is_refused(folder):
    keep("x", AP=1.0)
    record_path("a_bench", "x").write_text('{"AP": 1')
    with pytest.raises(ValueError, match="delete it to repeat"):
        read_record("a_bench", "x")
    record_path("a_bench", "x").write_text(json.dumps({"AP": 1}))
    with pytest.raises(ValueError, match="no metrics"):
        read_record("a_bench", "x")


def test_settings_cover_what_is_promised():
    choices = [tuple(c.values()) for c in bench.settings().values()]
    assert len(set(choices)) == len(choices) == 14
    assert {c[1] for c in choices} == {1, 2, 4, 8}
    assert {c[2] for c in choices} == {50, 100, 300}
    assert {c[0] for c in choices} == {"ddim", "dpmsolver++", "restart"}


REST = {"command": "", "config": "", "seed": 1, "seconds": 0.0}


def test_table_grows(folder):
    metrics = {"AP": 1.0, "AP50": 2.0, "AP75": 0.5, "AP50-vehicles": 3.0, "images_per_second": 9.0}
    for seed, names in {1: list(bench.settings())[:2], 2: list(bench.settings())[:1]}.items():
        for name in names:
            write_record(
                bench.BENCH, f"seed{seed}/{name}", metrics=metrics, command="", config="", seed=seed, seconds=0
            )
    differences = {"a - b": {"difference": 1.25, "low": -0.5, "high": 3.0}}
    write_record(bench.BENCH, "seed1/differences", metrics=differences, **REST)
    text = bench.write_table().read_text()
    assert text.count("| 1.0 | 2.0 | 0.5 | 3.0 | 9.0 |") == 3
    assert "| 1 | a - b | +1.2 | -0.5 to +3.0 |" in text
