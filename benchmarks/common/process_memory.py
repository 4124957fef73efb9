"""Peak memory of a process, without that of the one which started it.

getrusage's ru_maxrss outlives exec: a small program that a large one starts has the large one's peak from its first
line on, so that growth of the small one cannot be seen.
"""

import sys
from pathlib import Path

import psutil

MEGABYTE = 2**20


def peak_mb() -> float:
    """Highest resident memory of this process so far, libraries included, in MB of 2^20 bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        # Each is summed up from counters of several processors, at a moment of its own.
        return max(int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS")) / 1024
    info = psutil.Process().memory_info()
    try:
        import resource
    except ImportError:  # Windows
        return getattr(info, "peak_wset", info.rss) / MEGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
