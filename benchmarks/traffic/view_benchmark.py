"""What is lost by seeing instead of knowing: rules on whole FCD, on FCD of a camera's view, and on tracks seen there.

python -m benchmarks.traffic.view_benchmark --hours 13                  52 camera hours for thresholds, 52 for the test
python -m benchmarks.traffic.view_benchmark --hours 13 --minutes 35     what fits; the same command goes on
python -m benchmarks.traffic.view_benchmark --table                     the record and the table of what is there
python -m benchmarks.traffic.view_benchmark --seeing seeing.json        another model of seeing than the stated one

Three seeds that share nothing: hours to fit the rules on, hours for thresholds, hours and incidents of the test. Four
cameras look at every hour, so simulated hours are a quarter of the camera hours. Kept: output/bench/camera_view/.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.common.records import record_path
from benchmarks.traffic.view_recordings import (
    FOLDER,
    ViewPiece,
    describe_whole,
    list_view_pieces,
    make_view_piece,
    places_of,
)
from d2road.traffic.baselines.track_surprise import TrackSurprise
from d2road.traffic.table import Trajectories
from d2road.utils.errors import report_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json
from d2road.utils.progress import track
from d2road.utils.values import integer_option, number_option

WHOLE_RULES = FOLDER / "whole_rules.json"


def simulate(pieces: Sequence[ViewPiece], minutes: float) -> None:
    """Simulate what is not there yet, as long as there is time: first the hours to fit on, then the others."""
    end = time.monotonic() + 60 * minutes
    for rules, part in ((None, [p for p in pieces if p.part == "fit"]), (True, [p for p in pieces if p.part != "fit"])):
        todo = [piece for piece in part if not piece.about.is_file()]
        whole = whole_rules(pieces) if rules and todo and time.monotonic() < end else None

        def in_time(todo: Sequence[ViewPiece] = todo) -> Iterator[ViewPiece]:
            for piece in todo:
                if time.monotonic() > end:
                    print(f"{minutes:g} minutes are over: the same command goes on", flush=True)
                    return
                yield piece

        for piece in track(in_time(), len(part), "recordings", every_s=30, already_done=len(part) - len(todo)):
            make_view_piece(piece, whole)


def whole_rules(pieces: Sequence[ViewPiece]) -> TrackSurprise:
    """Rules of the whole road, fitted once on the hours to fit on."""
    if WHOLE_RULES.is_file():
        return TrackSurprise.from_json(read_json(WHOLE_RULES, "rules"), str(WHOLE_RULES))
    described = [
        (tracks, places_of(windows))
        for tracks, windows in (
            describe_whole(piece, Trajectories.from_parquet(piece.whole)) for piece in pieces if piece.part == "fit"
        )
    ]
    rules = TrackSurprise()
    rules.fit_tracks([tracks for tracks, _ in described], [places for _, places in described])
    write_json(WHOLE_RULES, rules.to_json())
    return rules


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hours", type=integer_option(1), default=13, help="simulated for thresholds, as many more; 13"
    )
    parser.add_argument("--fit-hours", type=integer_option(1), default=2, help="simulated, to fit rules on; 2")
    parser.add_argument("--incidents", type=integer_option(8), default=96, help="of the test; 96, an eighth unseen")
    parser.add_argument("--minutes", type=number_option(0), default=1e6, help="stop after so many; a later run goes on")
    parser.add_argument("--seeing", type=Path, help="model of seeing that was fitted on clips; the stated one without")
    parser.add_argument("--table", action="store_true", help="simulate nothing: the record of what is there")
    args = parser.parse_args(argv)
    pieces = list_view_pieces(args.hours, args.fit_hours, args.incidents)
    if not args.table:
        simulate(pieces, args.minutes)
    from benchmarks.traffic.view_results import BENCH, write_results

    command = f"--hours {args.hours} --fit-hours {args.fit_hours} --incidents {args.incidents}"
    command += f" --seeing {args.seeing}" if args.seeing else ""
    name = write_results(pieces, args.seeing, f"python -m benchmarks.traffic.view_benchmark {command}")
    print(f"record: {record_path(BENCH, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
