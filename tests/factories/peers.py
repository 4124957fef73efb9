"""Other programs that results are compared with, each in an environment of its own; see scripts/make_peers.sh."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def peer_python(name: str) -> str:
    """The interpreter of the environment of tests/peers/NAME.txt; the test is skipped where it is not as its list."""
    pins = ROOT / "tests" / "peers" / f"{name}.txt"
    peer = Path(os.environ.get("PEERS", ROOT / ".peers")) / name
    made = peer / "pins.txt"
    if not made.is_file() or made.read_bytes() != pins.read_bytes():
        pytest.skip("run `make peers`")
    return str(peer.absolute() / "bin" / "python")


def run_peer(name: str, code: str, *arguments: str | os.PathLike, timeout: float = 120) -> str:
    """What Python code, run in the environment `name` with these arguments, prints."""
    command = [peer_python(name), "-W", "ignore", "-c", code, *map(str, arguments)]
    # Without the project's own path, so that nothing but the peer speaks.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout
