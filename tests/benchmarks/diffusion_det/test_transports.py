"""The benchmark of transports: its trainings, its comparisons, and the page made from records that are partly there."""

import itertools
import json

import numpy as np
import pytest
import torch

from benchmarks.common.records import RESULTS, read_record, write_record
from benchmarks.diffusion_det import transport_differences, transport_tables
from benchmarks.diffusion_det.transport_differences import ArmDraws, interval, model_name, write_differences
from benchmarks.diffusion_det.transport_evaluation import BOXES, matches_path, passes_for
from benchmarks.diffusion_det.transport_published import comparisons_of
from benchmarks.diffusion_det.transport_questions import (
    QUESTIONS,
    Arm,
    Comparison,
    comparisons,
    equal_compute,
    verdicts,
    word,
)
from benchmarks.diffusion_det.transport_variants import BENCH, SCHEDULES, TRAININGS, options, write_pyramid
from d2road.checkpoint.weights import load_weights_file, weights_of
from d2road.evaluation.metrics.ap_bootstrap import MatchTable
from d2road.evaluation.roadside_evaluator import write_matches

VIEWS, DETECTOR = 8, "zoo:diffusion_det_toy"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep_matches(arm: Arm, seed: int, hits: list[bool], kinds=("union", "last"), bench=BENCH) -> None:
    """One object an image; the detection of image i hits where `hits` says so."""
    table = MatchTable(np.arange(VIEWS), np.array(hits), np.ones(VIEWS, dtype=np.int64))
    path = matches_path(model_name(arm.variant, seed, VIEWS), arm.row, bench)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_matches(path, {f"{kind} {o:.2f} 0": table for kind in kinds for o in (0.5, 0.75)}, {})


def entry(level: float, boxes: int, steps: int) -> dict:
    ap = {"AP": level, "AP50": level + 20, "AP75": level - 5}
    return {"union": ap, "last": {**ap, "AP": level - 1}, "boxes": boxes, "steps": steps, "decoder_ms": 3.0,
            "multiply_adds": 5e8}  # fmt: skip


def keep_rows(variant: str, seed: int, bench: str = BENCH, **rows: dict) -> None:
    ceilings = {str(row["boxes"] * k): 90.0 for row in rows.values() for k in (1, row["steps"])}
    write_record(bench, model_name(variant, seed, VIEWS), metrics=rows, command="", config="", seed=seed, seconds=0.0,
                 ceilings=ceilings)  # fmt: skip


def test_each_training_differs_from_its_base_in_one_choice():
    flow = set(TRAININGS["flow"])
    for name, keys in TRAININGS.items():
        if name.startswith("flow_"):
            assert len(set(keys) - flow) == 1 and flow < set(keys)
    assert options("flow_shift")[-2:] == ["MODEL.DiffusionDet.FLOW.SHIFT", "3.0"]
    with pytest.raises(ValueError, match="choose one of diffusion"):
        options("flows")


@pytest.mark.parametrize("variant", TRAININGS)
def test_every_training_is_a_valid_config(variant, repo_dir):
    from d2road.config import make_cfg

    cfg = make_cfg(str(repo_dir / "configs/diffusion_det/toy_roadside/transports.yaml"), options(variant))
    assert cfg.SOLVER.MAX_ITER == 600 and cfg.MODEL.DiffusionDet.NUM_CLASSES == 4


def test_every_row_that_is_compared_is_evaluated():
    made = {v: {one.row(report) for one in passes_for(v) for report in one.reports} for v in TRAININGS}
    for one in comparisons():
        for _, arm in one.terms:
            assert arm.row in made[arm.variant], (one.key, arm)


def test_keys_tell_comparisons_apart():
    keys = [one.key for one in comparisons()]
    assert len(set(keys)) == len(keys) > 100
    assert {one.question for one in comparisons()} == set(QUESTIONS)


def test_no_setting_is_run_twice():
    for variant in TRAININGS:
        rows = [one.row(report) for one in passes_for(variant) for report in one.reports]
        assert len(set(rows)) == len(rows)


def test_equal_compute_runs_as_many_boxes():
    for boxes in BOXES:
        found = [row.rsplit("_", 1)[1].split("x") for _, row in equal_compute(boxes, "ddim")]
        assert {int(steps) * int(count) for steps, count in found} == {boxes}
    assert len(list(equal_compute(20, "ddim"))) == 3


def test_words_follow_the_interval():
    assert word({"low": 0.1, "high": 2.0}) == "better"
    assert word({"low": -2.0, "high": -0.1}) == "worse"
    assert word({"low": -0.1, "high": 2.0}) == "no difference shown"


def test_verdict_counts_each_number_of_boxes():
    own = [one for one in comparisons() if one.claim == "flow against diffusion, one step"]
    spans = [(0.5, 1.0), (-0.5, 1.0), (0.1, 3.0), (-3.0, -1.0)]
    found = {one.key: {"difference": (low + high) / 2, "low": low, "high": high, "seeds": 3}
             for one, (low, high) in zip(own, spans)}  # fmt: skip
    assert verdicts("flow", found) == [
        "Of 4 comparisons: 2 better, 1 worse, 1 no difference shown.",
        "Flow against diffusion, one step (-2.0 to +1.6 AP, 3 seeds): better at 5, 20 boxes; no difference shown at 10 "
        "boxes; worse at 50 boxes.",
    ]
    assert verdicts("steps", found) == []


def pair(a: Arm, b: Arm) -> Comparison:
    return Comparison("flow", "b against a", "5 boxes", ((1, b), (-1, a)))


def test_interval_pairs_images_and_seeds(folder):
    a, b = Arm("diffusion", "noise_1x5"), Arm("flow", "noise_1x5")
    half = [True, False] * 4
    for seed in (1, 2):
        keep_matches(a, seed, half)
        keep_matches(b, seed, half)
    keep_matches(a, 3, [True] * VIEWS)  # without a partner it takes no part
    draws = ArmDraws(VIEWS, draws=50)
    found = interval(pair(a, b), draws, (1, 2, 3))
    assert found == {"difference": 0.0, "low": 0.0, "high": 0.0, "seeds": 2}
    keep_matches(b, 3, half)
    found = interval(pair(a, b), ArmDraws(VIEWS, draws=200), (1, 2, 3))
    assert found["seeds"] == 3 and found["low"] < found["difference"] < 0 and found["high"] == 0
    assert interval(pair(a, Arm("flow_shift", "noise_1x5")), draws, (1, 2)) is None


def test_last_and_union_are_read_apart(folder):
    row = Arm("flow", "euler_4x5")
    keep_matches(row, 1, [True] * VIEWS, kinds=("union",))
    union = ArmDraws(VIEWS, draws=3)
    assert union.of(row, 1)[0] == pytest.approx(100)
    assert union.of(row._replace(kind="last"), 1)[0] == pytest.approx(100)  # of one step both are the same
    path = matches_path(model_name("flow", 1, VIEWS), "euler_4x5")
    tables = {name: MatchTable(np.arange(VIEWS), np.full(VIEWS, kind == "union"), np.ones(VIEWS, dtype=np.int64))
              for kind in ("union", "last") for name in (f"{kind} 0.50 0", f"{kind} 0.75 0")}  # fmt: skip
    write_matches(path, tables, {})
    assert ArmDraws(VIEWS, draws=3).of(row._replace(kind="last"), 1)[0] == 0


def test_differences_outlive_their_matches(folder):
    a, b = Arm("diffusion", "noise_1x5"), Arm("flow", "noise_1x5")
    for arm, seed in itertools.product((a, b), (1, 2)):
        keep_matches(arm, seed, [True] * VIEWS)
    options = {"name": "d", "config": "", "command": ""}
    first = write_differences([pair(a, b)], [1, 2], VIEWS, **options)
    for seed in (1, 2):  # of fewer seeds, then of none
        matches_path(model_name("flow", seed, VIEWS), b.row).unlink()
        assert write_differences([pair(a, b)], [1, 2], VIEWS, **options) == first
    assert read_record(BENCH, "d")["metrics"] == first != {}
    assert [one["seeds"] for one in first.values()] == [2]


def test_table_of_nothing_lists_all_as_missing(folder):
    text = transport_tables.write_table(VIEWS).read_text()
    assert "## Rows" not in text and "## Differences" not in text and "nan" not in text
    assert all(f"- {variant}: no training\n" in text for variant in TRAININGS)


def test_table_has_means_over_seeds_and_what_is_missing(folder, monkeypatch):
    for seed, level in ((1, 30.0), (2, 34.0)):
        keep_rows("flow", seed, noise_1x20=entry(level, 20, 1), euler_4x20=entry(level + 2, 20, 4))
    keep_rows("queries20", 1, queries_1x20=entry(25.0, 20, 1))
    write_record(BENCH, "diffusion_seed1/train", metrics={}, command="", config="", seed=1, seconds=0.0)
    monkeypatch.setattr(transport_tables, "comparisons", lambda: comparisons()[:60])
    text = transport_tables.write_table(VIEWS).read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "20 |" in line]
    assert ["noise 1x20", "31.0", "32.0", "52.0", "90.0", "90.0", "2", "0.500", "3.0"] in rows
    assert ["euler 4x20", "33.0", "34.0", "54.0", "90.0", "90.0", "2", "0.500", "3.0"] in rows
    assert "- diffusion, seed 1: no evaluation" in text and "- flow, seed 2: " in text and "restart_4x20" in text
    assert "queries20, seed 1" not in text and "- queries20: no training" not in text


def test_answers_come_from_the_intervals(folder):
    for seed in (1, 2, 3):
        keep_matches(Arm("diffusion", "noise_1x5"), seed, [False] * VIEWS)
        keep_matches(Arm("flow", "noise_1x5"), seed, [True] * VIEWS)
        keep_rows("flow", seed, noise_1x5=entry(30.0, 5, 1))
    text = transport_tables.write_table(VIEWS).read_text()
    said = "- Flow against diffusion, one step (+100.0 AP, 3 seeds): better at 5 boxes."
    assert said in text.splitlines()
    assert "| flow against diffusion, one step | 5" in text


def test_trainings_from_a_detector_have_a_page_of_their_own(folder):
    warm = SCHEDULES["detector"].bench
    for name, hit in (("diffusion", False), ("flow", True)):
        for bench, hits in ((BENCH, not hit), (warm, hit)):
            keep_matches(Arm(name, "noise_1x5"), 1, [hits] * VIEWS, bench=bench)
            keep_rows(name, 1, bench, noise_1x5=entry(30.0, 5, 1))
    text, cold = (transport_tables.write_table(VIEWS, start).read_text() for start in ("detector", "imagenet"))
    assert "- Flow against diffusion, one step (+100.0 AP, 1 seed): better at 5 boxes." in text.splitlines()
    assert "- Flow against diffusion, one step (-100.0 AP, 1 seed): worse at 5 boxes." in cold.splitlines()
    assert "learned with a diffusion decoder" in text and "learned with a diffusion decoder" not in cold
    assert all("- flow_shift: no training" in page for page in (text, cold))


def test_a_detector_gives_its_backbone_and_pyramid_alone(folder):
    write_pyramid(folder / "pyramid.pth")
    kept, shipped = torch.load(folder / "pyramid.pth")["model"], weights_of(load_weights_file(DETECTOR), DETECTOR)
    assert kept.keys() == {name for name in shipped if name.startswith("backbone.")} != set()
    assert all(torch.equal(value.double(), shipped[name].double()) for name, value in kept.items())


def test_published_weights_get_the_comparisons_of_diffusion():
    own = comparisons_of("published_resnet50")
    assert {arm.variant for one in own for _, arm in one.terms} == {"published_resnet50"}
    assert {one.question for one in own} == {"steps", "grid", "solvers"}
    assert transport_differences.model_name("published_resnet50", 0, 5) == "published_resnet50_seed0/views5"


def test_docs_repeat_the_answers_of_the_records(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    said = set()
    for path in sorted(RESULTS.glob("transports*/**/differences_views100.json")):
        found = json.loads(path.read_text())["metrics"]
        said |= {f"- {line}" for question in QUESTIONS for line in verdicts(question, found)}
    text = (repo_dir / "docs/results.md").read_text(encoding="utf-8")
    section = text.split("## Does diffusion help?\n")[1].split("\n## ")[0]
    answers = [line for line in section.splitlines() if line.startswith("- ")]
    assert len(answers) > 10 and set(answers) <= said
