"""Tables of the 3D toy benchmark from hand-made records."""

import os

import numpy as np
import pytest

from benchmarks.common.records import read_record, write_record
from benchmarks.diffusion_det import diffusion_toy3d as bench
from benchmarks.diffusion_det import tables_toy3d
from benchmarks.diffusion_det.differences_toy3d import matches_path, update
from d2road.evaluation.metrics.ap_bootstrap import MatchTable
from d2road.evaluation.roadside_evaluator import write_matches


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def metrics(level: float) -> dict:
    """All tasks of the roadside evaluator with figures that depend on `level`."""
    subsets = ("", *(f"_{s}" for s in (*tables_toy3d.RANGES, *tables_toy3d.OCCLUSIONS)))
    ground, errors, compat = {}, {}, {}
    for name in tables_toy3d.CLASSES:
        for metric in ("3d", "bev"):
            for overlap in (0.5, 0.25):
                compat[f"{name}_{metric}@{overlap:g}_moderate"] = level - 1
                for number, subset in enumerate(subsets):
                    ground[f"{name}_{metric}@{overlap:g}{subset}"] = level + number / 10
        for subset in subsets:
            keys = ("depth_median", "depth_p90", "depth_signed_median", "edge_x1", "edge_y1", "edge_x2", "edge_y2")
            keys += ("size_h", "size_w", "size_l", "yaw_median", "yaw_reversed", "matched")
            errors.update({f"{name}_{key}{subset}": level / 10 for key in keys})
    return {"ground": ground, "ground_errors": errors, "compat": compat, "rope": {}, "bbox": {"AP50": level + 20}}


def keep(name: str, figures: dict) -> None:
    write_record(bench.BENCH, name, metrics=figures, command="", config="", seed=1, seconds=0.0)


def keep_all(variant: str, seed: int, level: float) -> int:
    names = [f"{run}_{c}" for run in bench.sampling() for c in bench.choices(run, variant)]
    for number, name in enumerate(names):
        keep(f"{variant}_seed{seed}/{name}", metrics(level + number))
    keep(f"{variant}_seed{seed}/train", {"total_loss": 1.0})
    return len(names)


def matches(side, seed, hits) -> None:
    path = matches_path(side, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = {"car 3d@0.5": MatchTable(np.arange(len(hits)), np.array(hits), np.ones(len(hits), dtype=np.int64))}
    write_matches(path, tables, {})


def test_nothing_gives_a_page_without_tables(folder):
    assert "|" not in tables_toy3d.write_tables().read_text()


def test_every_choice_of_the_benchmark_is_in_a_table(folder):
    keep_all("readout", 1, 10.0)
    text = tables_toy3d.write_tables().read_text()
    for number, name in enumerate(f"{r}_{c}" for r in bench.sampling() for c in bench.choices(r, "readout")):
        assert f"{10 + number:.1f}" in text, name
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(titles) == 9 and not any("B (state)" in t for t in titles)
    assert "nan" not in text


def test_headline_has_both_inputs_and_all_samplings(folder):
    keep("readout_seed1/ddim1_rgb", metrics(30.0))
    keep("readout_seed1/ddim4_plane", metrics(40.0))
    keep("shipped_seed1/ddim4_plane", metrics(35.0))
    text = tables_toy3d.write_tables().read_text()
    eight = " | ".join(["40.0"] * 8)
    assert f"| 1 | RGB + given plane, DDIM, 4 steps | {eight} | 39.0 | 39.0 | 39.0 | 39.0 | 60.0 |" in text
    assert "| 1 | RGB + intrinsics alone, DDIM, 1 step | 30.0 |" in text
    assert "| 1 | RGB + given plane, DDIM, 4 steps; trunk and first stage as in 2D (shipped) | 35.0 |" in text
    assert "restart" not in text
    assert "| 1 | car 3D@0.5, RGB + given plane | 40.0 | 40.1 | 40.2 | 40.3 | 40.4 | 40.5 | 40.6 |" in text
    assert "4.0 / 4.0 (+4.0)" in text


def test_missing_figures_and_seeds(folder):
    figures = metrics(12.0)
    figures["ground"]["car_3d@0.5"] = float("nan")
    del figures["ground"]["car_bev@0.5"]
    keep("readout_seed2/ddim4_plane", figures)
    keep("readout_seed10/ddim4_plane", metrics(13.0))
    keep("other_seed1/ddim4_plane", metrics(99.0))
    text = tables_toy3d.write_tables().read_text()
    assert "| 2 | RGB + given plane, DDIM, 4 steps | - | 12.0 | - | 12.0 |" in text
    assert text.index("| 2 | RGB") < text.index("| 10 | RGB")
    assert "99.0" not in text and "Seeds: 2, 10." in text


def test_tilt_rows_by_way_and_training(folder):
    keep("readout_seed1/ddim4_trusted", metrics(50.0))
    keep("readout_seed1/ddim4_trusted_tilt0.5", metrics(20.0))
    keep("nojitter_seed1/ddim4_corrected_tilt1.67", metrics(44.0))
    keep("nojitter_seed1/ddim4_rgb", metrics(33.0))
    text = tables_toy3d.write_tables().read_text()
    assert "| 1 | plane taken as given | 50.0 | - | - | 20.0 | - | - |" in text
    assert "| 1 | plane corrected; trained on exact planes, none predicted | - | - | - | - | - | 44.0 |" in text
    assert "| 1 | no given plane; trained on exact planes, none predicted | " + " | ".join(["33.0"] * 6) in text


def test_a_against_b(folder):
    keep_all("readout", 1, 10.0)
    keep_all("state", 1, 20.0)
    matches(("readout", "ddim4_plane"), 1, [True, False] * 20)
    matches(("state", "ddim4_plane"), 1, [True] * 40)
    text = tables_toy3d.write_tables().read_text()
    assert "| 1 | B, RGB + given plane, DDIM, 4 steps |" in text and "along a flow" not in text
    keep_all("state_flow", 1, 30.0)
    assert "| 1 | B along a flow, RGB + given plane, DDIM, 4 steps |" in tables_toy3d.write_tables().read_text()
    assert "| 1 | state ddim4 plane - readout ddim4 plane | +" in text
    found = update(1)["state ddim4_plane - readout ddim4_plane"]["car 3d@0.5"]
    assert 0 < found["low"] <= found["difference"] <= found["high"]


def test_intervals_outlive_their_matches_and_follow_newer_ones(folder):
    a, b = ("readout", "ddim4_plane"), ("state", "ddim4_plane")
    matches(a, 1, [True, False] * 20)
    matches(b, 1, [True] * 40)
    first = update(1)
    matches(b, 1, [True, False] * 20)
    later = matches_path(b, 1).stat().st_mtime + 10
    os.utime(matches_path(b, 1), (later, later))
    second = update(1)
    assert first != second and second["state ddim4_plane - readout ddim4_plane"]["car 3d@0.5"]["difference"] == 0
    matches_path(a, 1).unlink()
    assert update(1) == second == read_record(bench.BENCH, "differences_seed1")["metrics"]
