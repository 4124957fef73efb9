"""Rules without any model, first and second version: event recall at a rate of false alarms, on simulated hours.

python -m benchmarks.traffic.rules_benchmark                      50 hours for thresholds, 50 for rates, 200 incidents
python -m benchmarks.traffic.rules_benchmark --hours 5 --incidents 80 --minutes 50    what fits; a later run goes on
python -m benchmarks.traffic.rules_benchmark --seed 1000 --fit-hours 2 --hours 2 --incidents 48    the validation data
python -m benchmarks.traffic.rules_benchmark --learned            forests, banks and forecasts of trajectories beside
python -m benchmarks.traffic.rules_benchmark --table              the record and the table of what is there

Rules are fitted on good hours of the validation seed, 1000, on which their features were chosen too. An hour is 15
minutes of each scenario of datasets/make_traffic_incidents.py; it is simulated, described (output/bench/traffic_rules/,
a file a recording) and forgotten. The record is benchmarks/results/traffic_rules/.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.common.records import record_path
from benchmarks.traffic.rules_windows import Piece, list_pieces, make_piece
from d2road.utils.errors import report_errors
from d2road.utils.progress import track
from d2road.utils.values import integer_option, number_option

FIT_SEED = 1000


def make_pieces(pieces: Sequence[Piece], minutes: float, keep_tables: bool = False) -> None:
    """Simulate and describe what is not there yet, as long as there is time."""
    todo = [p for p in pieces if not p.path.is_file() or (keep_tables and not p.table_path.is_file())]
    end = time.monotonic() + 60 * minutes

    def in_time() -> Iterator[Piece]:
        for piece in todo:
            if time.monotonic() > end:
                print(f"{minutes:g} minutes are over: the same command goes on", flush=True)
                return
            yield piece

    for piece in track(in_time(), len(pieces), "recordings", every_s=30, already_done=len(pieces) - len(todo)):
        make_piece(piece, keep_tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=integer_option(0), default=0, help="of the test; 0. 1000: validation")
    parser.add_argument("--fit-hours", type=integer_option(1), default=6, help="of good traffic to fit on; 6")
    parser.add_argument("--hours", type=integer_option(1), default=50, help="for thresholds, and again for rates; 50")
    parser.add_argument("--incidents", type=integer_option(8), default=200, help="200")
    parser.add_argument("--minutes", type=number_option(0), default=1e6, help="stop after so many; a later run goes on")
    parser.add_argument("--keep-tables", action="store_true", help="of trajectories too, 30 MB an hour")
    parser.add_argument("--learned", action="store_true", help="rows of what learns from trajectories; keeps tables")
    parser.add_argument("--table", action="store_true", help="simulate nothing: the record of what is there")
    args = parser.parse_args(argv)
    pieces = list_pieces(args.seed, FIT_SEED, args.fit_hours, args.hours, args.incidents)
    if not args.table:
        make_pieces(pieces, args.minutes, args.keep_tables or args.learned)
    from benchmarks.traffic.rules_results import BENCH, write_results

    learned = args.fit_hours if args.learned else 0
    if learned:
        from benchmarks.traffic.track_rows import describe_tracks

        describe_tracks(pieces, learned)
    command = f"--seed {args.seed} --fit-hours {args.fit_hours} --hours {args.hours} --incidents {args.incidents}"
    command += " --learned" if learned else ""
    name = write_results(pieces, args.seed, f"python -m benchmarks.traffic.rules_benchmark {command}", learned)
    print(f"record: {record_path(BENCH, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
