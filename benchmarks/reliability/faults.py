"""Faults on purpose, and what they cost: the proof behind docs/reliability.md.

python -m benchmarks.reliability.faults                 all faults that have no record yet
python -m benchmarks.reliability.faults --faults kills  some of them
python -m benchmarks.reliability.faults --table         the table of all records

The real program trains a small DiffusionDet on toy images while it is killed, terminated, starved of disk space and
disturbed by a second run; checkpoints are damaged; a stream's file is replaced. Only counts matter, so a busy machine
will do. Records go to benchmarks/results/reliability/. The exit code is 1 if a promise was broken.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.records import read_record, write_record
from benchmarks.reliability import checkpoint_faults, stream_faults, training_faults
from benchmarks.reliability.training_program import CONFIG, OPTIONS, Program, prepare
from d2road.utils.errors import report_errors
from d2road.utils.markdown import markdown_table

BENCH = "reliability"
Fault = Callable[[Program, Path, int, random.Random, list[str]], Counter]


class Case(NamedTuple):
    """A kind of fault: what does it, how often, and counts of which must be equal to others or zero."""

    run: Fault
    count: int
    what: str
    promises: tuple[tuple[str, str], ...]


CASES = {
    "kills": Case(training_faults.kills, 12, "SIGKILL at random moments, twice a run, then resumed to the end",
                  (("equal", "runs"),)),
    "full_disks": Case(training_faults.full_disks, 8, "no space for a checkpoint, then space again",
                       (("named", "disks+limits"), ("old_checkpoints_whole", "disks+limits"),
                        ("equal", "disks+limits"))),
    "two_runs": Case(training_faults.two_runs, 6, "a second training, resumption or evaluation in the folder of a run",
                     (("refused", "pairs"), ("first_equal", "pairs"))),
    "terminations": Case(training_faults.terminations, 14,
                         "SIGTERM or SIGINT to the process group or the main process, then resumed to the end",
                         (("saved_and_stopped", "signals"), ("finished", "signals"))),
    "damaged_checkpoints": Case(checkpoint_faults.damaged_checkpoints, 4000,
                                "one bit, a page or the end of the newest checkpoint, resumed and loaded by itself",
                                (("resumed_wrong", ""), ("resume_failed", ""), ("loaded_wrong", ""),
                                 ("load_tracebacks", ""))),
    "streams": Case(stream_faults.replaced_files, 6, "the file of a followed stream is replaced or rewritten",
                    (("silent", ""), ("failed", ""))),
}  # fmt: skip


def broken_promises(name: str, counts: dict[str, int]) -> list[str]:
    """Counts that are not what they must be."""
    broken = []
    for key, of in CASES[name].promises:
        expected = sum(counts.get(part, 0) for part in of.split("+")) if of else 0
        if counts.get(key, 0) != expected:
            broken.append(f"{name}: {key} is {counts.get(key, 0)}, promised is {expected}")
    return broken


def run_case(name: str, folder: Path, seed: int) -> list[str]:
    """Run one kind of fault and keep its record; returns the promises that it broke."""
    case, failures = CASES[name], list[str]()
    program = prepare(folder)
    start = time.monotonic()
    counts = dict(case.run(program, folder, case.count, random.Random(seed), failures))
    write_record(
        BENCH, name, metrics=counts, command=f"python -m benchmarks.reliability.faults --faults {name}",
        config=f"{CONFIG} {' '.join(value or repr(value) for value in OPTIONS)}", seed=seed,
        seconds=time.monotonic() - start, failures=failures[:10],
    )  # fmt: skip
    print(f"{name}: {counts}", flush=True)
    for failure in failures[:10]:
        print(f"  {failure}", flush=True)
    return broken_promises(name, counts)


def table() -> str:
    """A row for each kind of fault that has a record."""
    rows = []
    for name, case in CASES.items():
        record = read_record(BENCH, name)
        if record is not None:
            counts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record["metrics"].items())
            rows.append([case.what, counts])
    return "\n".join(markdown_table(["fault", "counts"], rows))


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=list(CASES), default=list(CASES), help="kinds (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and places of faults; 1")
    parser.add_argument("--table", action="store_true", help="print the table of all records")
    args = parser.parse_args(argv)
    if args.table:
        print(table())
        return 0
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.faults:
            record = read_record(BENCH, name)
            if record is None:
                broken += run_case(name, Path(folder), args.seed)
            else:
                broken += broken_promises(name, record["metrics"])
    print("\n".join(broken) or "every promise was kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
