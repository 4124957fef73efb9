"""The other files of this folder in processes of their own: conftest.py says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent
COMPILED = {"test_compiled_decoder.py"}  # its compiler must not know of the device of the others
OTHERS = {path.name for path in FOLDER.glob("test_*.py")} - {Path(__file__).name} - COMPILED


@pytest.mark.parametrize("names", [COMPILED, OTHERS], ids=["compiled", "others"])
def test_files(names, repo_dir):
    files = [str(FOLDER / name) for name in sorted(names)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {"D2ROAD_ALONE": "1"}
    done = subprocess.run(command, cwd=repo_dir, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
