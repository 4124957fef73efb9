"""Every program among the benchmarks says its own command."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


def test_there_are_programs():
    assert "benchmarks.speed.benchmark" in PROGRAMS and len(PROGRAMS) > 10


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_names_the_command(name, monkeypatch, capsys):
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    try:
        code = module.main()
    except SystemExit as end:
        code = end.code
    assert not code
    assert re.search(rf"python -m {re.escape(name)}\b", capsys.readouterr().out)


@pytest.mark.parametrize("system", ["diffusion_det", "efficientad", "mono3dvg"])
def test_each_system_has_its_own_help(system, capsys):
    from benchmarks.speed.benchmark import main

    with pytest.raises(SystemExit) as end:
        main([system, "--help"])
    assert not end.value.code and f"benchmarks.speed.benchmark {system}" in capsys.readouterr().out
