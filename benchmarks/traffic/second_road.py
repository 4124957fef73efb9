"""Rules on a road and drivers that no calibration has seen: what the rate becomes, before and after refitting.

python -m benchmarks.traffic.second_road                  8 good hours, 2 to refit on, 48 incidents of the second road
python -m benchmarks.traffic.second_road --minutes 20     what fits; a later run goes on
python -m benchmarks.traffic.second_road --table          the record and the table of what is there

The rules are fitted on the first road's hours of seed 1000; their threshold comes from those hours of the first road
(seed 0) that `benchmarks.traffic.rules_benchmark` has left behind. The second road has two lanes, another limit and
drivers by another car-following model (`d2road make-data traffic-incidents --road two_lanes --drivers eidm`). The
record is benchmarks/results/second_road/.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common.records import record_path
from benchmarks.traffic.rules_benchmark import FIT_SEED, make_pieces
from benchmarks.traffic.rules_windows import PIECES_AN_HOUR, Piece, list_jobs, list_pieces
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option, number_option

SEED = 3000
OTHER = {"road": "two_lanes", "drivers": "eidm"}
REFIT_HOURS = 2


def second_pieces(seed: int, hours: int, incidents: int) -> list[Piece]:
    """Recordings of the second road: those to refit on first, then good hours ("rate") and incidents in turn."""
    jobs = list_jobs(seed, incidents, REFIT_HOURS + hours, OTHER)
    good = [job for job in jobs if not job.kind]
    events = [Piece(job, "incidents") for job in jobs if job.kind]
    first = REFIT_HOURS * PIECES_AN_HOUR
    pieces, done = [Piece(job, "refit") for job in good[:first]], 0
    for hour in range(hours):
        start = first + hour * PIECES_AN_HOUR
        pieces += [Piece(job, "rate") for job in good[start : start + PIECES_AN_HOUR]]
        due = -(-len(events) * (hour + 1) // hours)
        pieces += events[done:due]
        done = due
    return pieces


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=integer_option(0), default=SEED, help=f"of the second road; {SEED}")
    parser.add_argument("--hours", type=integer_option(1), default=8, help="of its good traffic; 8")
    parser.add_argument("--incidents", type=integer_option(8), default=48, help="on it; 48")
    parser.add_argument("--fit-hours", type=integer_option(1), default=6, help="of the first road to fit on; 6")
    parser.add_argument("--first-hours", type=integer_option(1), default=50, help="of it for the threshold; 50")
    parser.add_argument("--minutes", type=number_option(0), default=1e6, help="stop after so many; a later run goes on")
    parser.add_argument("--table", action="store_true", help="only the record and the table of what is there")
    args = parser.parse_args(argv)
    first = list_pieces(0, FIT_SEED, args.fit_hours, args.first_hours, 200)
    second = second_pieces(args.seed, args.hours, args.incidents)
    if not args.table:
        make_pieces(second, args.minutes, keep_tables=True)
    from benchmarks.traffic.second_road_results import BENCH, write_results

    command = f"--seed {args.seed} --hours {args.hours} --incidents {args.incidents} --first-hours {args.first_hours}"
    name = write_results(first, second, args.seed, f"python -m benchmarks.traffic.second_road {command}")
    print(f"record: {record_path(BENCH, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
