"""What is measured on labelled boxes, and the tables of the toy benchmark from records."""

import json
import math

import numpy as np
import torch

from benchmarks.common import records
from benchmarks.mono3dvg import grounding_tables as tables_mono3dvg
from benchmarks.mono3dvg.grounding_study import accuracy_on_objects, choose_best
from benchmarks.mono3dvg.grounding_toy import config_file
from benchmarks.mono3dvg.grounding_variants import BENCH, VARIANTS, stages_of
from d2road.utils.aliases import RECORD_NAMES, present_record_name

NAN = float("nan")


def test_accuracy_on_objects_by_hand():
    rows = [
        ("st_w_d", torch.tensor([0.9, 0.2, NAN]), [0]),  # right
        ("st_w_d", torch.tensor([0.4, 0.3]), [0]),  # best, but not certain
        ("mt", torch.tensor([0.9, 0.8, 0.6]), [0, 1]),  # one too many
        ("zt_w_d", torch.tensor([0.1, 0.49]), []),  # right
        ("zt_wo_d", torch.zeros(0), []),  # nothing there, nothing said
    ]
    found = accuracy_on_objects(rows)
    assert found["accuracy"] == 60 and found["top1"] == 100
    assert found["accuracy_st_w_d"] == 50 and found["accuracy_mt"] == 0 and found["accuracy_zt_w_d"] == 100
    assert math.isnan(accuracy_on_objects(rows[3:])["top1"])


def test_the_best_choice_by_hand():
    """One box a target, and none for what is too far off: F1 2/3 of two targets of which one was found."""
    car = [0.0, 1.5, 20.0, 1.5, 1.6, 4.0, 0.0]
    away, near = [5.0, *car[1:]], [0.1, *car[1:]]
    boxes = np.array([away, car, near])
    for targets, expected in (([car], [1]), ([near, away], [0, 1]), ([[9.0, *car[1:]]], []), ([], [])):
        found = choose_best(boxes, np.array(targets).reshape(-1, 7), None, 0.5)
        assert len(found.boxes) == len(found.scores)
        if targets and expected == [0, 1]:  # either of the two that overlap the first target will do
            assert len(found.boxes) == 2 and away in found.boxes.tolist()
        else:
            assert len(found.boxes) == len(expected)
    assert choose_best(np.zeros((0, 7)), np.array([car]), None, 0.5).boxes.shape == (0, 7)


def test_every_variant_has_a_config(repo_dir):
    names = [*VARIANTS, *(stage for variant in VARIANTS for stage in stages_of(variant))]
    assert all((repo_dir / config_file(name)).is_file() for name in names)


def measured(value: float) -> dict:
    groups = dict.fromkeys(("overall", "st_w_d", "st_wo_d", "mt", "zt_w_d", "zt_wo_d"), value)
    acc = {"overall": {"0.25": value, "0.5": value, "miou": value}}
    return {
        "mean_f1": {"0.25": groups, "0.5": groups},
        "acc": {"rotated": acc, "mono3dvg": acc},
        "micro": {o: {"precision": value, "recall": value, "f1": value} for o in ("0.25", "0.5", "0.7")},
        "n_acc": value,
        "t_acc": None,
        "recall_by_distance": {"0-15": {"0.25": value, "0.5": value, "targets": 3}},
        "by_category": {"vehicles": {"0.25": value, "0.5": value, "expressions": 9}},
        "by_tag": {"color": {"0.25": value, "0.5": value, "expressions": 4}},
    }


def test_tables_of_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(tables_mono3dvg, "RESULTS", tmp_path)
    about = {"config": "c", "seed": 1, "command": "x", "seconds": 60}
    made_from = {"text": "none", "stages": ["boxes_seed1", "labels_seed1"]}
    records.write_record(BENCH, "boxes_seed1/train", metrics={"steps": 7}, **about)
    records.write_record(BENCH, "main_seed1/test", metrics=measured(61.25), pretrained=made_from, **about)
    records.write_record(BENCH, "main_seed1/true_boxes", metrics={"accuracy": 77.0, "top1": NAN}, **about)
    records.write_record(BENCH, "query_seed2/test", metrics=measured(50.0), **about)
    records.write_record(BENCH, "unidirectional_seed1/train", metrics={"steps": 3}, **about)  # not evaluated yet
    page = tables_mono3dvg.write_tables().read_text()
    assert "| main model | 1 | 61.2 | 61.2 | - | 61.2 | 77.0 | - |" in page
    assert "| queries | 2 | 50.0 | 50.0 | - | 50.0 | - | - |" in page and "unidirectional fusion" not in page
    assert "stages before: boxes_seed1, 7 steps in 1 minutes; labels_seed1; trained before these: text none" in page
    assert "stages before: none" in page and "| color | 4 | 61.2 | 50.0 |" in page


def test_no_record_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_mono3dvg, "RESULTS", tmp_path)
    assert "|" not in tables_mono3dvg.write_tables().read_text()


def test_records_of_earlier_versions_are_read_under_the_names_of_today(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(tables_mono3dvg, "RESULTS", tmp_path)
    about = {"config": "c", "seed": 1, "command": "x", "seconds": 60}
    old_key, old_run = (
        next(o for o, new in RECORD_NAMES.items() if new == n) for n in ("stages", "ablation_base_boxes")
    )
    records.write_record(BENCH, "ablation_base_boxes_seed1/train", metrics={"steps": 7}, **about)
    made_from = {"text": "none", old_key: [f"{old_run}_seed1"]}
    records.write_record(BENCH, "text_only_seed1/test", metrics=measured(1.0), pretrained=made_from, **about)
    page = tables_mono3dvg.write_tables().read_text()
    assert "stages before: ablation_base_boxes_seed1, 7 steps in 1 minutes;" in page
    assert not any(old in page for old in (f"{old_run}_seed1 ", old_key))


def test_every_record_and_stage_in_it_has_a_config(repo_dir):
    known = {*VARIANTS, *(stage for variant in VARIANTS for stage in stages_of(variant))}
    files = list((repo_dir / "benchmarks/results" / BENCH).glob("*_seed*/*.json"))
    runs = {file.parent.name for file in files}
    for file in files:
        made_from = {present_record_name(k): v for k, v in json.loads(file.read_text()).get("pretrained", {}).items()}
        runs |= {present_record_name(run) for run in made_from.get("stages", ())}
    assert len(files) > 50 and {run.rpartition("_seed")[0] for run in runs} == known
