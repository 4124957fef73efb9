"""Freed pages are kept, in bounds, and only where glibc is in charge."""

import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

PROGRAM = """
import json, random, resource, sys
import numpy as np
from benchmarks.common.process_memory import peak_mb
from d2road.utils.allocator import keep_freed_pages

def faults(sizes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(size, np.uint8) for size in sizes]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_pages()
sizes = [2**20 * k for k in (3, 40, 7, 60, 1)]
steady = [faults(sizes) for _ in range(4)][-1]
draw = random.Random(0)
for _ in range(int(sys.argv[1])):  # at most 160 MB at once
    faults([draw.randrange(2**12, 2**24) for _ in range(10)])
print(json.dumps([kept, steady, peak_mb()]))
"""


def run(repo_dir, rounds, **environment):
    names = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_")
    env = {name: value for name, value in os.environ.items() if name not in names} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(rounds)], cwd=repo_dir, env=env, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def test_the_same_blocks_cost_no_page_faults_again_and_others_stay_bounded(repo_dir):
    kept, steady, peak_mb = run(repo_dir, 200)
    assert kept and steady < 10
    chosen, anew, plain_peak_mb = run(repo_dir, 200, MALLOC_TRIM_THRESHOLD_="131072")
    assert not chosen and anew > 1000
    assert peak_mb < 1.5 * plain_peak_mb + 50


@pytest.mark.parametrize("choice", [{"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}])
def test_a_choice_of_the_user_is_left_alone(repo_dir, choice):
    assert run(repo_dir, 0, **choice)[0] is False
