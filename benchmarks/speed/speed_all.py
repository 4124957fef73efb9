"""All ratios in one table: ours beside what a user would take instead, with what was aimed at.

    python -m benchmarks.speed all --record all                 one and two threads
    python -m benchmarks.speed all --nncf ENV/bin/python        with OpenVINO in 8 bits, quantized by an NNCF there
    python -m benchmarks.speed all --before TREE                with an earlier checkout, such as a git worktree

`python -m benchmarks.speed.speed_all` is the same. Each part runs in a process of its own, its candidates in turns: one
thread by processor time, two by wall time.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common.records import machine, read_record, revision, write_record

HEADER = "| what | threads | ms | beside it, ms | times as fast | aim |\n|---|---|---|---|---|---|"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed all",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="default: all of them")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=5, help="turns of all candidates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nncf", default="", metavar="PYTHON", help="interpreter in whose environment NNCF is")
    parser.add_argument("--before", default="", metavar="TREE", help="checkout of an earlier revision")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    parser.add_argument("--table", nargs="+", metavar="NAME", help="print these records; measure nothing")
    parser.add_argument("--part-to", metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and record the table; returns 0, or 1 where a part failed."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    if args.part_to:
        return measure_part(args)
    if args.table:
        records = [read_record("benchmark", name) or {"metrics": {"rows": []}} for name in args.table]
        print("\n".join([HEADER, *(line(row) for record in records for row in record["metrics"]["rows"])]))
        return 0
    start, found, failed = time.perf_counter(), [], []
    print(f"# {machine()}, revision {revision() or 'unknown'}, seed {args.seed}\n{HEADER}", flush=True)
    for part in args.parts:
        for threads in args.threads:
            rows = run_part(args, part, threads)
            failed += [] if rows is not None else [f"{part} with {threads} threads"]
            for each in rows or []:
                print(line(each), flush=True)
                found.append(each)
    if args.record:
        write_record("benchmark", args.record, metrics={"rows": found, "failed": failed}, config="all", seed=args.seed,
                     command=f"python -m benchmarks.speed all {shlex.join(portable(args, argv))}",
                     seconds=time.perf_counter() - start)  # fmt: skip
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def portable(args: argparse.Namespace, argv: Sequence[str]) -> list[str]:
    """The options without the paths of this machine."""
    named = {args.nncf: "ENV/bin/python", args.before: "TREE"}
    return [named.get(word, word) for word in argv]


def line(row: dict) -> str:
    """A row of the table."""
    ratio = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    missed = "" if row["ratio"] >= row["aim"] else ", missed"
    return (
        f"| {row['what']} | {row['threads']} | {row['ms']:.0f} | {row['beside_ms']:.0f} | {ratio} | "
        f"{row['aim']:.2g}{missed} |"
    )


def run_part(args: argparse.Namespace, part: str, threads: int) -> list[dict] | None:
    """The rows of a part, measured in a process that does nothing else; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        options = ["--parts", part, "--threads", str(threads), "--runs", str(args.runs), "--seed", str(args.seed)]
        options += ["--nncf", args.nncf, "--before", args.before, "--part-to", str(file)]
        done = subprocess.run([sys.executable, "-W", "ignore", "-m", "benchmarks.speed", "all", *options], check=False)
        return json.loads(file.read_text()) if done.returncode == 0 else None


def measure_part(args: argparse.Namespace) -> int:
    """Write the rows of one part to a file; returns 0."""
    from benchmarks.speed.interleaved import prepare_process

    prepare_process(args.threads[0])
    Path(args.part_to).write_text(json.dumps(PARTS[args.parts[0]](args)))
    return 0


def _efficientad(args: argparse.Namespace) -> list[dict]:
    from benchmarks.speed import efficientad_libraries

    return efficientad_libraries.rows(args.runs, args.seed, args.nncf)


def _diffusion_det(args: argparse.Namespace) -> list[dict]:
    from benchmarks.speed import diffusion_det_precisions

    return [row for steps in (1, 4) for row in diffusion_det_precisions.rows(args.runs, args.seed, steps)]


def _products(args: argparse.Namespace) -> list[dict]:
    from benchmarks.speed import interleaved

    return interleaved.product_rows(args.runs, args.seed)


def _before(args: argparse.Namespace) -> list[dict]:
    from benchmarks.speed import earlier_revision

    return earlier_revision.rows(args.runs, args.before) if args.before else []


PARTS: dict[str, Callable[[argparse.Namespace], list[dict]]] = {
    "efficientad": _efficientad,
    "diffusion_det": _diffusion_det,
    "products": _products,
    "before": _before,
}


if __name__ == "__main__":
    sys.exit(main())
