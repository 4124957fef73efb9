"""The proof itself: broken promises are seen, and equal is equal to the bit."""

import random

import torch

from benchmarks.common.records import read_record
from benchmarks.reliability.checkpoint_faults import damaged_checkpoints, faults
from benchmarks.reliability.faults import BENCH, CASES, broken_promises, table
from benchmarks.reliability.training_program import Program, same, same_checkpoints


def test_promises_that_are_broken_are_told():
    kept = {"kills": 4, "runs": 2, "equal": 2}
    assert broken_promises("kills", kept) == []
    assert broken_promises("kills", {**kept, "equal": 1}) == ["kills: equal is 1, promised is 2"]
    assert broken_promises("two_runs", {"pairs": 1, "refused": 1}) == ["two_runs: first_equal is 0, promised is 1"]
    assert broken_promises("streams", {"silent": 1, "failed": 0}) == ["streams: silent is 1, promised is 0"]
    assert len(CASES) == 6


def test_the_page_shows_the_records(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    assert table() in (repo_dir / "docs" / "reliability.md").read_text(encoding="utf-8")
    for name in CASES:
        record = read_record(BENCH, name)
        assert record is not None and broken_promises(name, record["metrics"]) == []


def test_checkpoints_are_compared_to_the_bit_without_their_run(tmp_path):
    content = {"model": {"w": torch.tensor([1.0, float("nan")])}, "iteration": 3, "run": {"id": "a"}}
    assert not same(content["model"], content["model"])  # NaN
    content["model"]["w"][1] = 2.0
    torch.save(content, tmp_path / "a.pth")
    torch.save({**content, "run": {"id": "b"}}, tmp_path / "b.pth")
    torch.save({**content, "iteration": 4}, tmp_path / "c.pth")
    assert same_checkpoints(tmp_path / "a.pth", tmp_path / "b.pth")
    assert not same_checkpoints(tmp_path / "a.pth", tmp_path / "c.pth")
    assert not same_checkpoints(tmp_path / "a.pth", tmp_path / "none.pth")


def test_a_fault_is_one_fault():
    content = bytes(range(256)) * 100
    for damaged in faults(content, 30, random.Random(0)):
        assert damaged != content
        assert len(damaged) <= len(content)


def test_no_damage_is_resumed_from(tmp_path):
    failures: list[str] = []
    counts = damaged_checkpoints(Program(tmp_path, tmp_path / "log"), tmp_path, 60, random.Random(0), failures)
    assert counts["damages"] == 60 and counts["resumed_wrong"] == counts["resume_failed"] == 0
    assert counts["resumed_from_the_one_before"] > 40 and not failures
