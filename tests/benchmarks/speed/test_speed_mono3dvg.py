"""The benchmark of grounding runs small, and its parts add up."""

import json

import pytest

from benchmarks.speed import benchmark

NODE = "MODEL.MONO3DVG."
SMALL = [NODE + "DIM", "16", NODE + "TEXT.WIDTH", "16", NODE + "TEXT.LAYERS", "1", NODE + "SSD.HEADS", "2",
         NODE + "SSD.STATE", "8", NODE + "RELATION.DIM", "16", NODE + "RELATION.LAYERS", "1"]  # fmt: skip


def test_rows_add_up(repo_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(repo_dir / "configs/mono3dvg/Base-Small.yaml")
    line = [
        "--config-file",
        config,
        "--what",
        "infer",
        "text",
        "pixels",
        "--size",
        "64x96",
        "96x160",
        "--sentences",
        "1",
    ]
    line += ["3", "--words", "4", "40", "--runs", "1", "--warmup", "0", "--json", "rows.json"]
    assert benchmark.main(["mono3dvg", *line, *SMALL]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in rows] == ["infer"] * 4 + ["text"] * 2 + ["pixels"] * 2
    for row in rows:
        parts = {name: ms for name, ms in row["ms"].items() if name != "total"}
        assert set(parts) == {"image", "text", "filter", "fusion", "relation", "rest"}
        assert sum(parts.values()) == pytest.approx(row["ms"]["total"]) and min(parts.values()) > 0
        assert row["sentences_per_s"] == pytest.approx(row["sentences"] * row["images_per_s"])
