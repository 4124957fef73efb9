"""A small fixed part of `make fuzz`, and that its judge finds what is wrong."""

import os
import time

import pytest

import d2road.cli.__main__ as command
from tests.factories.verb_inputs import VERB_INPUTS
from tests.fuzz.campaign import Campaign, count_faults
from tests.fuzz.fork_server import Outcome, run_forked
from tests.fuzz.verdict import find_fault

pytestmark = pytest.mark.slow

INPUTS = 60


def test_damaged_files_of_every_kind_give_a_result_or_a_refusal_that_names_them(tmp_path):
    trials = Campaign(VERB_INPUTS, tmp_path).run(INPUTS, 0, number=1)
    assert len(trials) >= INPUTS and len(count_faults(trials)) > 8  # verbs
    wrong = [f"{t.fault}: {t.verb} {t.change} (exit {t.code})\n{t.said}" for t in trials if t.fault]
    assert not wrong, "\n".join(wrong)


def verb(action):
    """A stand-in for the command."""

    def main(argv):
        print("what it says")
        return action()

    return main


@pytest.mark.parametrize(
    "action, fault",
    [
        (lambda: 0, ""),
        (lambda: time.sleep(30), "hang"),
        (lambda: 1 / 0, "traceback"),
        (lambda: os._exit(3), "exit code"),
        (lambda: os.kill(os.getpid(), 9), "exit code"),
        (lambda: print("error: file a.json is odd") or 2, ""),
        (lambda: print("error: it is odd") or 2, "nameless refusal"),
        (lambda: print("error: file a.json is odd") or 0, "exit code"),
    ],
)
def test_the_judge_finds_each_kind_of_fault(tmp_path, monkeypatch, action, fault):
    monkeypatch.setattr(command, "main", verb(action))
    outcome = run_forked([], tmp_path, tmp_path / "log.txt", limit_s=1.0)
    assert "what it says" in outcome.said or fault in ("hang", "exit code")
    assert find_fault(outcome, ["a.json"], []) == fault


@pytest.mark.parametrize(
    "name, content", [("a.json", b"[1, "), ("a.json", b"[NaN]"), ("a.png", b""), (".a.json.1.tmp", b"")]
)
def test_the_judge_finds_half_an_output(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert find_fault(Outcome(0, "", 0.1), [], [tmp_path / name]) == "partial output"
