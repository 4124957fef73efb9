"""Whom alarms name: the culprit or another vehicle, of simulated incidents as the shipped detector's model sees them.

python -m benchmarks.traffic.alarm_culprits --seed 30 --record validation
python -m benchmarks.traffic.alarm_culprits --seed 20 --record test          the incidents of `view_benchmark`

Windows, rules and threshold are those of `view_benchmark --seeing benchmarks/results/camera_view/seeing_model.json`,
whose rules have to be there (output/bench/camera_view/rules_seen_*.json). An alarm counts where one of its windows and
the culprit's time in view overlap. Incidents that are not there yet are simulated.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common.records import RESULTS, write_record
from benchmarks.traffic.rules_windows import list_jobs
from benchmarks.traffic.view_recordings import LOST_TRACK, ViewPiece, make_view_piece, site_of
from benchmarks.traffic.view_results import BENCH
from benchmarks.traffic.view_scores import EXACT, FOLDER, SEEN, both_tables, tag_of
from d2road.traffic.baselines.track_surprise import CameraSurprise
from d2road.traffic.events.window_stream import ScoredWindow, StreamScorer
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.camera_grid import camera_grid
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.watch.alarm_naming import AlarmNaming
from d2road.utils.input_files import read_json
from d2road.utils.progress import track

SEEING = RESULTS / BENCH / "seeing_model.json"
SAME_M = 6.0  # metres, and m/s, between a track and the vehicle that it is of


@dataclass
class ToldAlarm:
    """An alarm of a recording: from when to when, and the true vehicles that it named, one after the other."""

    start: float
    end: float
    named: list[str]


def alarms_of(
    rules: CameraSurprise, threshold: float, seen: Trajectories, exact: Trajectories, grid: Any
) -> list[ToldAlarm]:
    """The alarms of what a camera sees, named and named anew as `d2road watch` does."""
    scorer = StreamScorer(lambda windows: [(float(one), None) for one in rules.scores(windows)], threshold)
    naming, told, vehicle_of = AlarmNaming(), {}, true_vehicles(seen, exact)

    def name(scored: ScoredWindow) -> str:
        why = rules.explain(scored.window)
        assert why is not None, "it has vehicles"
        return why.vehicle

    for window in grid.over([seen]):
        (scored,) = scorer.score_windows([TrafficWindow.unrendered(window, grid.renderer)])
        if scored.begins:
            vehicle = name(scored)
            naming.begin(scored, str(len(told)), vehicle)
            told[str(len(told))] = ToldAlarm(scored.window.t0, scored.window.t1, [vehicle_of.get(vehicle, "nobody")])
        elif scored.alarms:
            alarm = naming.known(scored)
            assert alarm is not None, "it goes on with one"
            one = told[alarm.identity]
            one.end = max(one.end, scored.window.t1)
            if scored.score > alarm.peak:
                alarm.peak, vehicle = scored.score, name(scored)
                if vehicle != alarm.vehicle:
                    alarm.vehicle = vehicle
                    one.named.append(vehicle_of.get(vehicle, "nobody"))
    return list(told.values())


def true_vehicles(seen: Trajectories, exact: Trajectories) -> dict[str, str]:
    """The vehicle that most rows of each seen track are nearest to, by place and speed; none for tracks of nothing."""
    by_time = {round(t, 1): rows for t, rows in exact.frame.groupby(exact.frame["t"].round(1))}
    votes: dict[str, Counter[str]] = {}
    for row in seen.frame.itertuples():
        there = by_time.get(round(row.t, 1))
        if there is None:
            continue
        middle = there["s"].to_numpy() - there["length"].to_numpy(float) / 2
        off = np.abs(middle - (row.s - row.length / 2)) + np.abs(there["speed"].to_numpy(float) - row.speed)
        if off.min() < SAME_M:
            votes.setdefault(str(row.vehicle), Counter())[str(there["vehicle"].iloc[int(off.argmin())])] += 1
    return {name: count.most_common(1)[0][0] for name, count in votes.items()}


def incidents(seed: int, count: int) -> Iterator[tuple[ViewPiece, dict[str, Any]]]:
    """Incidents of a seed whose culprit is at least two seconds in view, each with its event."""
    pieces = [ViewPiece(job, "incidents") for job in list_jobs(seed, count, 0) if job.kind != LOST_TRACK]
    for piece in track(iter(pieces), len(pieces), "incidents", every_s=30):
        about = read_json(piece.about, "recording") if piece.about.is_file() else None
        if about is None or (about["origins"] and "vehicle" not in about["event"]):  # of an earlier version
            make_view_piece(piece, None)
            about = read_json(piece.about, "recording")
        if about["origins"]:
            yield piece, about["event"]


def evaluate(seed: int, count: int) -> dict[str, Any]:
    """Shares of alarms at incidents that name the culprit, first and once they were named anew."""
    model = SeeingModel.from_json(read_json(SEEING, "model of seeing"), str(SEEING))
    file = FOLDER / f"rules_seen_{tag_of(model)}.json"
    rules = CameraSurprise.from_json(read_json(file, "rules"), str(file))
    threshold = read_json(RESULTS / BENCH / "fitted_seeing.json", "record")["metrics"][SEEN]["threshold"]
    events, rows = 0, []
    for piece, event in incidents(seed, count):
        events += 1
        site = site_of(piece, 0)
        tables = both_tables(piece, 0, site, model)
        if not len(tables[SEEN]):
            continue
        grid = camera_grid(site.view, site.direction)
        for one in alarms_of(rules, threshold, tables[SEEN], tables[EXACT], grid):
            if one.start <= event["end"] and one.end >= event["start"]:
                right = [name == event["vehicle"] for name in one.named]
                rows.append({"incident": piece.name, "kind": event["kind"], "first": right[0], "last": right[-1],
                             "any": any(right), "names": len(right)})  # fmt: skip
    shares = {name: sum(row[name] for row in rows) for name in ("first", "last", "any")}
    named_anew = sum(row["names"] > 1 for row in rows)
    return {"events": events, "alarms": len(rows), "naming_the_culprit": shares, "named_anew": named_anew,
            "threshold": threshold, "of": rows}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, print, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=30, help="of the incidents; 20 is the test")
    parser.add_argument("--incidents", type=int, default=96)
    parser.add_argument("--record", metavar="NAME", help="of the record, below benchmarks/results/camera_view/")
    args = parser.parse_args(argv)
    begun = time.time()
    metrics = evaluate(args.seed, args.incidents)
    print({name: value for name, value in metrics.items() if name != "of"})
    if args.record:
        write_record(
            BENCH, f"alarm_culprits_{args.record}", metrics=metrics, seed=args.seed, seconds=time.time() - begun,
            config={},
            command=f"python -m benchmarks.traffic.alarm_culprits --seed {args.seed} --incidents {args.incidents} "
            f"--record {args.record}",
        )  # fmt: skip


if __name__ == "__main__":
    main()
