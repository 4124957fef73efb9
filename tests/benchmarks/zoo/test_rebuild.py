"""What is rebuilt of the model zoo, and what is listed for later."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.zoo import rebuild
from d2road.model_zoo import shipped_entries
from d2road.utils.errors import ConfigError

BASE, ON_IT, ALONE = "diffusion_det_toy", "diffusion_det_toy3d", "patchcore_fasteners"


@pytest.fixture
def entries(tmp_path, monkeypatch):
    """Three entries of which one builds on another, with trained models of their own to be put there."""
    found = {name: replace(shipped_entries()[name], source=str(tmp_path / name)) for name in (BASE, ON_IT, ALONE)}
    monkeypatch.setattr(rebuild, "shipped_entries", lambda: found)
    return found


@pytest.fixture
def ran(monkeypatch):
    """Commands that would be run, as their words after `python -m`; measuring ALONE fails."""
    commands = []

    def run(command, **_):
        commands.append(command[2:])
        is_bad = command[2:] == ["benchmarks.zoo.measure", ALONE]
        return subprocess.CompletedProcess(command, int(is_bad), None, "a warning\nerror: no data\n" if is_bad else "")

    monkeypatch.setattr(rebuild.subprocess, "run", run)
    return commands


@pytest.mark.parametrize(
    ("trained", "named", "ready"),
    [
        ((), (), ()),
        ((ON_IT,), (), (ON_IT,)),
        ((BASE,), (), ()),
        ((BASE, ON_IT, ALONE), (), (BASE, ON_IT, ALONE)),
        ((BASE, ON_IT), (BASE,), ()),
        ((BASE, ON_IT), (ON_IT,), (ON_IT,)),
    ],
)
def test_a_base_is_rebuilt_with_what_builds_on_it_or_not_at_all(entries, trained, named, ready):
    for name in trained:
        Path(entries[name].source).touch()
    needs = rebuild.needed_first(entries, named or entries)
    assert tuple(name for name, need in needs.items() if not need) == ready
    for name in set(needs) - set(trained):
        assert entries[name].command in needs[name] and entries[name].source in needs[name]


def test_what_fails_or_is_missing_stops_nothing_and_is_listed(entries, ran, capsys):
    for name in (ON_IT, ALONE):
        Path(entries[name].source).touch()
    assert rebuild.main([]) == 1
    steps = [[f"benchmarks.zoo.{step}", name] for name in (ON_IT, ALONE) for step in ("pack", "measure")]
    assert ran == [*steps, ["benchmarks.zoo.page"]]
    said = capsys.readouterr().out
    assert f"1 of 3 rebuilt: {ON_IT}\n" in said
    assert f"left: {ALONE}: `python -m benchmarks.zoo.measure {ALONE}` failed: no data\n" in said
    assert f"left: {BASE}: {entries[BASE].source} is not there: `{entries[BASE].command}`\n" in said
    ran.clear()
    assert rebuild.main([ON_IT]) == 0 and len(ran) == 3


def test_a_plan_changes_nothing(entries, ran, capsys):
    assert rebuild.main(["--plan"]) == 1 and not ran
    assert "0 of 3 can be rebuilt: none\n" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=f"did you mean '{ALONE}'"):
        rebuild.main(["patchcore_fastener"])


def test_packing_without_its_source_says_what_makes_it(tmp_path, monkeypatch, repo_dir):
    monkeypatch.setenv("PYTHONPATH", str(repo_dir))
    monkeypatch.chdir(tmp_path)
    said = rebuild.rebuild("efficientad_teacher_narrow_own")
    assert "`python -m benchmarks.zoo.pack efficientad_teacher_narrow_own` failed: " in said
    assert "run `make bench-zoo-teachers` first" in said
