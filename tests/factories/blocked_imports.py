"""Programs that run as if packages were not installed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""


def run_without(packages: Sequence[str], code: str, folder: Path) -> str:
    """What a program prints in a process of its own that cannot import these packages; asserts that it ends well."""
    program = _PROGRAM.format(packages=tuple(packages)) + code
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
