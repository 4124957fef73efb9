"""glibc's allocator, told to keep the pages of freed tensors.

A step of training on a CPU frees and asks for the same gigabyte again and again. By default glibc maps each large
block anew and gives the top of the heap back, so that the system has to clear every page in every step. In one heap
that is not trimmed, freed blocks are joined and used again: no page faults once a step has been seen, at the same peak.
"""

import ctypes
import os
import platform
from functools import cache

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
# Somebody who sets one of these has chosen.
_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


@cache
def keep_freed_pages() -> bool:
    """Ask the allocator of this process to keep what is freed; whether it does.

    Left alone: allocators that LD_PRELOAD brings (jemalloc, tcmalloc, mimalloc), systems without glibc, and processes
    whose environment sets MALLOC_... or glibc.malloc in GLIBC_TUNABLES.
    """
    if platform.libc_ver()[0] != "glibc" or "malloc" in os.environ.get("LD_PRELOAD", ""):
        return False
    if any(name in os.environ for name in _CHOICES) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
