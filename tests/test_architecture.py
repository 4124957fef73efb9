"""The house rules that import-linter keeps: its list of layers is that of the folders."""

from pathlib import Path

import pytest


def test_the_layers_name_every_part_of_the_platform(repo_dir: Path):
    tomllib = pytest.importorskip("tomllib")
    contracts = tomllib.loads((repo_dir / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    listed = {name.strip() for layer in layers for name in layer.replace("|", ":").split(":")}
    folders = {f"d2road.{path.parent.name}" for path in (repo_dir / "d2road").glob("*/__init__.py")}
    assert listed == folders | {"diffusion_det", "efficientad", "mono3dvg", "benchmarks"}
