"""Every program among the benchmarks says its own command, and a target of the Makefile runs it."""

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

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
# Who runs those that no target names.
RUN_BY = {
    "benchmarks.efficientad.anomaly_benchmark_tables": "benchmarks/efficientad/anomaly_mvtec.py",
    "benchmarks.efficientad.fusion_tables": "benchmarks/efficientad/anomaly_fusion.py",
    "benchmarks.speed.revision_worker": "benchmarks/speed/earlier_revision.py",
    "benchmarks.reliability.stream_program": "benchmarks/reliability/stream_faults.py",
    "benchmarks.speed.gpu_samples": "benchmarks/speed/gpu_check.sh",
    "benchmarks.zoo.measure": "benchmarks/zoo/rebuild.py",
}
# They keep what a command of d2road left in a folder, which their first lines name.
OF_A_FOLDER = ("benchmarks.traffic.quickstart_record", "benchmarks.traffic.watched_record")


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


def test_every_table_can_be_made_by_a_target():
    named = set(re.findall(r"-m (benchmarks\.[\w.]+)", MAKEFILE))
    named = {name for name in named if not (ROOT / name.replace(".", "/") / "__main__.py").is_file()}
    assert named <= set(PROGRAMS)
    left = set(PROGRAMS) - named - set(RUN_BY) - set(OF_A_FOLDER)
    assert not left, f"no target of the Makefile runs {', '.join(sorted(left))}"
    for name, runner in RUN_BY.items():
        assert name.rpartition(".")[2] in (ROOT / runner).read_text(encoding="utf-8"), f"{runner} does not run {name}"
    for name in OF_A_FOLDER:
        assert "--folder" in (importlib.import_module(name).__doc__ or "")


def test_targets_of_benchmarks_are_no_files():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    targets = set(re.findall(r"^(bench-[\w-]+): ", MAKEFILE, re.MULTILINE))
    assert phony and len(targets) > 20 and targets <= set(phony[1].split())
