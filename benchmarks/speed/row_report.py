"""Rows of figures as they come: printed, written as JSON, kept as a record."""

import argparse
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.common.records import machine, revision, write_record
from d2road.utils.output_files import write_json


def report_rows(
    system: str,
    argv: Sequence[str],
    args: argparse.Namespace,
    rows: Iterable[dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    config: dict[str, Any] | str,
    note: str = "",
) -> int:
    """Print each row when it is measured, then write what --json and --record ask for.

    Args:
        system: as `python -m benchmarks.speed.benchmark` calls it; argv: the words behind it.
        args: with json, record and seed.
        rows: measured while they are gone through.
        note: end of the line that says machine, revision and seed.
    Returns:
        0, the exit code.
    """
    start, measured = time.perf_counter(), []
    print(f"# {machine()}, revision {revision() or 'unknown'}, seed {args.seed}{note}")
    for row in rows:
        print(describe(row), flush=True)
        measured.append(row)
    if args.json:
        write_json(args.json, measured)
    if args.record:
        command = f"python -m benchmarks.speed.benchmark {system} {shlex.join(argv)}"
        write_record("benchmark", args.record, metrics={"rows": measured}, command=command, config=config,
                     seed=args.seed, seconds=time.perf_counter() - start)  # fmt: skip
    return 0
