"""Fuzz every verb that reads files, print what went wrong, and keep the table for docs/reliability.md.

python -m tests.fuzz                      # what `make fuzz` runs: 2,000 inputs, 50 of them as whole processes
python -m tests.fuzz --count 200 --seed 7 --verb check-data
"""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

VERBS_TO_LOAD = (
    "eval",
    "predict",
    "check_data",
    "visualize_data",
    "eval_kitti",
    "eval_rope",
    "eval_grounding",
    "convert",
)
MORE_TO_LOAD = ("render_trajectories", "score_stream", "eval_anomaly", "make_data", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="inputs (default: 2000)")
    parser.add_argument("--whole", type=int, default=50, help="of them as whole processes (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--verb", action="append", help="this verb alone; may be repeated")
    parser.add_argument("--record", action="store_true", help="keep the counts under benchmarks/results/reliability")
    parser.add_argument("--table", action="store_true", help="print the recorded table; run nothing")
    args = parser.parse_args(argv)
    if args.table:
        print_table()
        return 0

    # Loaded before the fork, so that a trial costs what the verb itself does.
    for name in (*VERBS_TO_LOAD, *MORE_TO_LOAD):
        importlib.import_module(f"d2road.cli.{name}")
    from benchmarks.common.records import write_record
    from tests.factories.verb_inputs import VERB_INPUTS
    from tests.fuzz.campaign import count_faults, run_jobs

    inputs = [i for i in VERB_INPUTS if not args.verb or i.verb in args.verb]
    start = time.monotonic()
    trials = run_jobs(inputs, args.count, args.jobs, args.whole, args.seed)
    table = count_faults(trials)
    for trial in trials:
        if trial.fault:
            print(f"--- {trial.fault}: {trial.verb}, {trial.change} (exit {trial.code})\n{trial.said}")
    for verb, row in sorted(table.items()):
        print(f"{verb:<20} " + "  ".join(f"{name} {count}" for name, count in row.items() if count))
    if args.record:
        command = f"make fuzz SEED={args.seed}"
        metrics = {verb: dict(row) for verb, row in table.items()}
        write_record(
            "reliability", "fuzz", metrics=metrics, command=command, config=f"{args.count} inputs", seed=args.seed,
            seconds=time.monotonic() - start,
        )  # fmt: skip
    return int(any(trial.fault for trial in trials))


def print_table() -> None:
    """The recorded counts by verb, and their sums."""
    from benchmarks.common.records import read_metrics
    from d2road.utils.markdown import markdown_table
    from tests.fuzz.verdict import FAULTS

    rows = read_metrics("reliability", "fuzz")
    columns = ["inputs", "whole processes", "result", "told", "refused", *FAULTS]
    sums = {name: sum(row.get(name, 0) for row in rows.values()) for name in columns}
    lines = [
        [verb, *(str(row.get(name, 0)) for name in columns)] for verb, row in sorted({**rows, "all": sums}.items())
    ]
    print("\n".join(markdown_table(["verb", *columns], lines)))


if __name__ == "__main__":
    sys.exit(main())
