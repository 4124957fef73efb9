"""What answers `--help` and what reads trajectories imports neither torch nor Detectron2."""

import subprocess
import sys
from pathlib import Path

import d2road

HEAVY = ("torch", "torchvision", "detectron2", "timm")
USES_TORCH = {"processor", "rng", "text_tensors", "uploads"}  # of d2road.utils


def test_version_utilities_and_traffic_import_no_torch(repo_dir: Path):
    utilities = {path.stem for path in (repo_dir / "d2road" / "utils").glob("*.py")} - {"__init__"} - USES_TORCH
    names = [
        "d2road",
        *(f"d2road.utils.{name}" for name in sorted(utilities)),
        "d2road.traffic.readers",
        "d2road.cli.train",
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [each for each in {HEAVY!r} if each in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_dir, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_platform_names_its_parts(repo_dir: Path):
    folders = {path.parent.name for path in (repo_dir / "d2road").glob("*/__init__.py")}
    listed = {line.split()[0] for line in d2road.__doc__.splitlines() if line.startswith("    ")}
    assert listed == folders
