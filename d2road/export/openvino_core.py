"""OpenVINO's core, one a process."""

import functools
from typing import Any


@functools.cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which lives as long as the process.

    Its processor plugin exchanges the thread's alternate stack for signals as cores come and go (seen in 2026.4.1), and
    with several of them one that is freed may be left to the handlers that Python sets: a single one never goes.
    """
    import openvino

    return openvino.Core()
