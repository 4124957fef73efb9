"""OpenVINO beside Python's own handling of signals."""

import subprocess
import sys

from tests.factories.exported_files import needs_openvino, onnx_file
from tests.factories.exported_graphs import grey_graph

# Sessions that end in the order in which they began, then a signal.
PROGRAM = """
import signal, sys
from d2road.export.engines import OpenVinoSession

sessions = [OpenVinoSession(sys.argv[1]) for _ in range(2)]
while sessions:
    sessions.pop(0)
signal.signal(signal.SIGALRM, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGALRM)
"""


@needs_openvino
def test_a_signal_after_several_sessions_is_handled(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(onnx_file(grey_graph(), tmp_path))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr
