"""Environment of a run: versions and processor, for its record."""

import importlib.metadata
import os
import platform
import re
import resource
from datetime import datetime
from pathlib import Path

import d2road

PACKAGES = (
    "torch", "detectron2", "sal-detectron2", "numpy", "opencv-python-headless", "av", "scikit-learn", "eclipse-sumo",
)  # fmt: skip


def run_environment() -> dict[str, str]:
    """Versions of this project, Python and the packages that are installed of PACKAGES; platform, processor, cores."""
    found = {"d2road": d2road.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform(), "processor": processor(), "cores": str(usable_cores())}


def now() -> str:
    """The time of day with its zone, ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", listed.read_text()) if listed.is_file() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_seconds() -> float:
    """Of this process and those that it has waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
