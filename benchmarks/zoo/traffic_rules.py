"""The traffic model of the zoo: rules and a forecast, fitted and calibrated by `d2road score-stream`, then measured.

python -m benchmarks.zoo.traffic_rules        simulates what is not there yet; an interrupted run goes on

Good traffic of seed 1000, on which the features of the rules were chosen, is fitted on; good traffic of seed 0 gives
the threshold; incidents of seed 0 are scored once with it. No incident sets anything. The recordings are those of
`benchmarks.traffic.rules_benchmark`, in its folder. Writes output/zoo/traffic_rules_forecast.json, for
`benchmarks.zoo.pack`, and benchmarks/results/zoo/traffic_rules_forecast.json.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common.records import write_record
from benchmarks.traffic.rules_windows import PIECES_AN_HOUR, Piece, list_jobs, make_piece, read_events
from d2road.cli import score_stream
from d2road.synthetic.traffic_incidents.recordings import observed_recording
from d2road.traffic.events.event_metrics import evaluate_events
from d2road.traffic.table import Trajectories
from d2road.utils.errors import report_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder
from d2road.utils.progress import track

FIT_SEED, SEED = 1000, 0
FIT_HOURS, GOOD_HOURS, INCIDENTS = 2, 11, 16
FOLDER = Path("output/zoo")
CALIBRATION = FOLDER / "traffic_rules_forecast.json"
METHOD = ("--method", "rules_forecast")


def list_recordings() -> dict[str, list[Piece]]:
    """Recordings of 15 minutes to fit on and for the threshold, and the incidents."""
    jobs = list_jobs(SEED, INCIDENTS, GOOD_HOURS)
    return {
        "fit": [Piece(job, "fit") for job in list_jobs(FIT_SEED, 0, FIT_HOURS)],
        "threshold": [Piece(job, "threshold") for job in jobs if not job.kind],
        "incidents": [Piece(job, "incidents") for job in jobs if job.kind],
    }


def make_table(piece: Piece) -> None:
    """Simulate good traffic and keep the table, without a description of its windows."""
    with observed_recording(piece.job, twin=False) as observed:
        seen = Trajectories.from_frame(observed.seen.frame.assign(recording=piece.job.name))
    make_folder(piece.path.parent)
    seen.to_parquet(piece.table_path)


def join_tables(pieces: Sequence[Piece], target: Path) -> Path:
    """One file of several recordings, row group by row group."""
    writer = None
    for piece in pieces:
        table = pq.read_table(piece.table_path).replace_schema_metadata()
        # Names are numbered in each recording by itself, in as many bytes as that takes: written as they are.
        types = [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
        table = table.cast(pa.schema(types))
        writer = writer or pq.ParquetWriter(target, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return target


def score(pieces: Sequence[Piece]) -> pd.DataFrame:
    """The windows of recordings with the score of the calibration, as `evaluate_events` wants them."""
    source, target = join_tables(pieces, FOLDER / "incidents.parquet"), FOLDER / "incident_scores.csv"
    words = [*METHOD, "--calibration", str(CALIBRATION), "--input", str(source), "--scores", str(target)]
    if score_stream.main(words) != 0:
        raise RuntimeError("the incidents were not scored; what failed is said above")
    return pd.read_csv(target)


def main() -> None:
    """Simulate, fit, calibrate, measure."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    start = time.perf_counter()
    recordings = list_recordings()
    todo = [piece for part in recordings.values() for piece in part if not piece.table_path.is_file()]
    for piece in track(iter(todo), len(todo), "recordings", every_s=30):
        make_piece(piece, keep_table=True) if piece.job.kind else make_table(piece)
    make_folder(FOLDER)
    good = join_tables(recordings["threshold"], FOLDER / "good.parquet")
    fit = [word for piece in recordings["fit"] for word in ("--good", str(piece.table_path))]
    words = [*METHOD, *fit, "--input", str(good), "--calibrate", str(CALIBRATION)]
    if not CALIBRATION.is_file() and score_stream.main(words) != 0:
        raise RuntimeError("no calibration was written; what failed is said above")
    held = read_json(CALIBRATION, "calibration")
    windows, events = score(recordings["incidents"]), read_events(recordings["incidents"])
    measured = evaluate_events(windows, events, held["threshold"])
    kept = {key: measured[key] for key in ("recall", "recall_by_kind", "delay_s", "intervals")}
    write_record(
        "zoo", CALIBRATION.stem, config="", seed=SEED, command="python -m benchmarks.zoo.traffic_rules",
        metrics={**kept, **{key: held[key] for key in ("threshold", "rate", "hours", "false_alarms", "windows")}},
        seconds=time.perf_counter() - start, events=len(events),
        recordings={part: len(pieces) for part, pieces in recordings.items()}, pieces_an_hour=PIECES_AN_HOUR,
        sha256={"json": hashlib.sha256(CALIBRATION.read_bytes()).hexdigest()},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
