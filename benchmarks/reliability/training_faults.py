"""Faults of trainings: kills, full disks, two runs in one folder, signals to the process group."""

import os
import random
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.reliability.training_program import STARTED, TRAINING_S, Program, same_checkpoints

FINAL = "model_final.pth"


def kills(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """SIGKILL to the whole group at random moments of a run and of its resumption, then to the end."""
    counts: Counter = Counter()
    for number in range(count):
        output = folder / f"kill_{number}"
        for arguments in ((), ("--resume",)):
            process = program.start(output, *arguments, "DATALOADER.NUM_WORKERS", str(rng.randrange(3)))
            moment = rng.uniform(0, TRAINING_S)
            code, _ = program.signal_after(process, STARTED, moment, signal.SIGKILL, group=True)
            counts["kills"] += code == -signal.SIGKILL
        code, words = program.run(output, "--resume", "DATALOADER.NUM_WORKERS", "1")
        good = code == 0 and same_checkpoints(folder / "whole" / FINAL, output / FINAL)
        counts["runs"] += 1
        counts["equal"] += good
        if not good:
            failures.append(f"kills {number}: exit code {code}, {words[-300:]}")
        shutil.rmtree(output)
    return counts


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of `size` bytes at `folder`; False where we may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def limit_files(size: int) -> None:
    """No file of this process may become larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def full_disks(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """A run of six iterations that goes on where there is no space for the next checkpoint, then where there is."""
    counts: Counter = Counter()
    first = folder / "six"
    program.run(first, "SOLVER.CHECKPOINT_PERIOD", "3", "SOLVER.MAX_ITER", "24", before=None)
    last = first / "model_0000014.pth"
    size = last.stat().st_size
    for number in range(count):
        real = number % 2 == 0
        space = int(size * rng.uniform(1.05, 1.95)) + (1 << 20) if real else rng.randrange(1 << 16, size)
        with small_disk(folder / "disk", space) as mounted:
            output = (folder / "disk" if mounted and real else folder) / f"full_{number}"
            output.mkdir(parents=True)
            for name in (last.name, "run.json", "config.yaml"):
                shutil.copy(first / name, output / name)
            before = (output / last.name).read_bytes()
            limit: Callable[[], None] | None = None if mounted and real else partial(limit_files, space)
            counts["disks" if limit is None else "limits"] += 1
            code, words = program.run(output, "--resume", before=limit)
            kept = (output / last.name).read_bytes() == before and not list(output.glob(".model*"))
            said = code == 2 and f"error: cannot write {output}/model_00000" in words and "Traceback" not in words
            shutil.copytree(output, folder / "freed")
        counts["named"] += said
        counts["old_checkpoints_whole"] += kept
        code, _ = program.run(folder / "freed", "--resume")
        equal = code == 0 and same_checkpoints(folder / "whole" / FINAL, folder / "freed" / FINAL)
        counts["equal"] += equal
        if not (said and kept and equal):
            failures.append(f"full disk {number}: said {said}, kept {kept}, equal {equal}: {words[-300:]}")
        shutil.rmtree(folder / "freed")
        shutil.rmtree(folder / f"full_{number}", ignore_errors=True)
    shutil.rmtree(first)
    return counts


def two_runs(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """A second training, resumption or evaluation in the folder of one that runs."""
    counts: Counter = Counter()
    for number in range(count):
        output = folder / f"two_{number}"
        process = program.start(output)
        words = ""
        assert process.stdout is not None
        for line in process.stdout:
            words += line
            if STARTED in line:
                break
        arguments = [("SOLVER.BASE_LR", "0.1"), ("--resume",), ("--eval-only", "--weights=random")][number % 3]
        code, said = program.run(output, *arguments)
        refused = code == 2 and f"in use by another training (process {process.pid} on" in said
        first, words = program.finish(process, words)
        equal = first == 0 and same_checkpoints(folder / "whole" / FINAL, output / FINAL)
        counts.update(pairs=1, refused=int(refused), first_equal=int(equal))
        if not (refused and equal):
            failures.append(f"two runs {number}: refused {refused}, first equal {equal}: {said[-300:]}")
        shutil.rmtree(output)
    return counts


# Where the signal comes, to whom, with how many processes and workers; the marker is a line of the log.
TERMINATIONS = (
    (STARTED, True, 1, 2), (STARTED, True, 1, 0), (STARTED, False, 1, 2), ("Start inference", True, 1, 2),
    (STARTED, True, 2, 1), (STARTED, False, 2, 1), ("Start inference", True, 2, 1),
)  # fmt: skip


def terminations(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """SIGTERM or SIGINT to the process group or the main process, in steps and evaluations, then to the end."""
    counts: Counter = Counter()
    for number in range(count):
        marker, group, processes, workers = TERMINATIONS[number % len(TERMINATIONS)]
        by = signal.SIGTERM if number // len(TERMINATIONS) % 2 == 0 or not group else signal.SIGINT
        output = folder / f"term_{number}"
        several = ("--num-gpus=2", "--dist-url=auto") if processes > 1 else ()
        process = program.start(output, *several, "DATALOADER.NUM_WORKERS", str(workers))
        delay = rng.uniform(0.3, 1.5) if marker == STARTED else rng.uniform(0, 0.1)
        code, words = program.signal_after(process, marker, delay, by, group)
        tag = output / "last_checkpoint"
        saved = tag.is_file() and f"Stopped by {by.name} after iteration" in words
        stopped = code == 128 + by and saved and "Traceback" not in words
        code, rest = program.run(output, "--resume", *several)
        # Two processes sum in another order than one.
        equal = code == 0 and (processes > 1 or same_checkpoints(folder / "whole" / FINAL, output / FINAL))
        counts.update(signals=1, saved_and_stopped=int(stopped), finished=int(equal))
        if not (stopped and equal):
            failures.append(f"termination {number} ({marker}, group {group}): {words[-300:]} ... {rest[-200:]}")
        shutil.rmtree(output)
    return counts
