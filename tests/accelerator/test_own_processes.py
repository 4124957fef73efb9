"""The other files of this folder, each in a process of its own: conftest.py says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", sorted({path.name for path in FOLDER.glob("test_*.py")} - {Path(__file__).name}))
def test_file(name, repo_dir):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(FOLDER / name)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {"D2ROAD_ALONE": "1"}
    done = subprocess.run(command, cwd=repo_dir, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
