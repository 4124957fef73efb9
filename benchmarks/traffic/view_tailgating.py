"""Why tailgating is not found in a view of 60 m: what its culprits show exactly there, beside good traffic.

python -m benchmarks.traffic.view_tailgating --record

Of each such event of `benchmarks.traffic.view_benchmark`: for how long its culprit is in view; the inverse of the
longest time gap behind one vehicle that lasts as long as the rules ask; how rare that is, and the score of its windows.
Beside them the inverse gaps of the good windows that the rules were fitted on. Exact tracks: no error of seeing.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common.records import read_record, write_record
from benchmarks.traffic.view_recordings import FOLDER, ViewPiece, list_view_pieces, site_of
from benchmarks.traffic.view_results import BENCH
from benchmarks.traffic.view_scores import EXACT, describe_view
from d2road.traffic.baselines.road_tracks import KINDS
from d2road.traffic.baselines.track_surprise import CameraSurprise, columns_of
from d2road.traffic.baselines.vehicle_rarity import sum_beyond_usual
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json

KIND = "tailgating"
CLOSE = KINDS.index("close")
QUANTILES = (0.5, 0.95, 0.99)


def of_event(piece: ViewPiece, rules: CameraSurprise) -> dict[str, Any] | None:
    """What one event's recording shows in view; None where it is of another kind, or never there."""
    about = read_json(piece.about, "recording")
    event = about["event"]
    if event is None or event["kind"] != KIND:
        return None
    site = site_of(piece, 0)
    at_zero = CameraSite(site.camera, 0.0, site.direction, site.lanes, site.near_m, site.far_m)
    tracks, rows = describe_view(at_zero.crop(Trajectories.from_parquet(piece.near(0))), at_zero)
    during = [k for k, row in enumerate(rows) if row[1] < event["end"] and row[2] > event["start"]]
    if not during:
        return None
    assert rules.rarity is not None, "read from a file"
    ((road, places),) = tracks.groups
    vehicles, _ = road.vehicles(rules.forecaster, places)
    there = np.isin(vehicles.window, during)
    by_kind = rules.rarity.by_kind(vehicles)[there]
    return {
        "recording": piece.name,
        "severity": event["severity"],
        "seconds_in_view": event["end"] - event["start"],
        "inverse_gap": float(vehicles.values[there, CLOSE].max()),
        "rarity_of_gap": float(by_kind[:, CLOSE].max()),
        "score": float(sum_beyond_usual(by_kind[:, columns_of(rules.kinds)]).max()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Describe the events and the good windows, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=13, help="as the benchmark of the view was run; 13")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args(argv)
    start, record = time.perf_counter(), read_record(BENCH, "fitted_seeing")
    if record is None:
        raise DataError("no record of the view: python -m benchmarks.traffic.view_benchmark --seeing MODEL")
    path = FOLDER / "rules_exact.json"
    rules = CameraSurprise.from_json(read_json(path, "rules"), str(path))
    assert rules.rarity is not None, "read from a file"
    pieces = [p for p in list_view_pieces(args.hours, 2, 96) if p.part == "incidents" and p.about.is_file()]
    events = [one for one in (of_event(piece, rules) for piece in pieces) if one is not None]
    good = rules.rarity.usual.features[:, CLOSE]
    metrics = {
        "threshold": record["metrics"][EXACT]["threshold"],
        "events": events,
        "good_windows": len(good),
        "inverse_gap_of_good_windows": {f"{q:g}": float(np.quantile(good, q)) for q in QUANTILES},
        "good_windows_at_or_above_the_median_event": float(
            (good >= np.median([e["inverse_gap"] for e in events])).mean()
        ),
    }
    for event in events:
        print(event)
    print({name: value for name, value in metrics.items() if name != "events"})
    if args.record:
        write_record(
            BENCH, KIND, metrics=metrics, config="", seed=0, seconds=time.perf_counter() - start,
            command="python -m benchmarks.traffic.view_tailgating --record",
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
