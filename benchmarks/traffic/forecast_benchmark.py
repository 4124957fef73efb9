"""Rules with a learned forecast as a stream has them: event recall at a rate of false alarms, on both roads.

python -m benchmarks.traffic.forecast_benchmark                 50 hours for thresholds, 50 for rates, 200 incidents
python -m benchmarks.traffic.forecast_benchmark --hours 12 --incidents 120 --second-hours 4 --second-incidents 24
python -m benchmarks.traffic.forecast_benchmark --table         the records and the tables of what is there

The rows "added" of `benchmarks.traffic.rules_benchmark --learned` see whole tracks. Here windows are scored one time
after the other, as `d2road score-stream --method rules_forecast` does, by the shipped calibration and by one that is
fitted where the road's ends are known (`forecast_streams`), beside the rules alone. The second road is that of
`benchmarks.traffic.second_road`. An interrupted run goes on. Records: benchmarks/results/traffic_rules/, second_road/.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.markdown import write_page
from benchmarks.common.records import record_path
from benchmarks.traffic.forecast_streams import (
    ENDS,
    REFIT,
    SHIPPED,
    SHIPPED_ENDS,
    StreamScorer,
    read_scores,
    score_pieces,
)
from benchmarks.traffic.rules_benchmark import FIT_SEED, make_pieces
from benchmarks.traffic.rules_results import (
    BENCH,
    RATE,
    SECOND,
    Scored,
    keep_results,
    lowest_threshold,
    measure,
    realised,
    write_table,
)
from benchmarks.traffic.rules_versions import second_version
from benchmarks.traffic.rules_windows import (
    PIECES_AN_HOUR,
    Piece,
    complete_hours,
    list_pieces,
    read_events,
    read_windows,
)
from benchmarks.traffic.second_road import REFIT_HOURS, second_pieces
from benchmarks.traffic.second_road import SEED as SECOND_SEED
from benchmarks.traffic.second_road_results import BENCH as SECOND_BENCH
from benchmarks.traffic.second_road_results import Windows, judge, rate_tables
from d2road.traffic.baselines.road_tracks import ABSENT, KINDS
from d2road.traffic.events.event_metrics import check_events
from d2road.utils.errors import DataError, report_errors
from d2road.utils.values import integer_option, number_option

SEED, FIT_HOURS = 0, 2
SHIPPED_HOURS = 11  # of SEED, which gave the shipped threshold
ROWS = {
    SHIPPED: "rules and forecast, as shipped",
    SHIPPED_ENDS: "rules and forecast, as shipped, ends of the road given",
    ENDS: "rules and forecast, fitted and scored with the ends of the road",
}
PAIRS = (*((ROWS[name], SECOND) for name in ROWS), (ROWS[ENDS], ROWS[SHIPPED]), (ROWS[SHIPPED_ENDS], ROWS[SHIPPED]))


@dataclass(frozen=True)
class Roads:
    """Recordings of both roads, and what scores them."""

    first: Sequence[Piece]
    second: Sequence[Piece]

    def of_part(self, part: str) -> tuple[Piece, ...]:
        """Recordings of the first road that are for something, or those of the second one to refit on."""
        return tuple(piece for piece in (*self.first, *self.second) if piece.part == part)

    def scorers(self) -> dict[str, StreamScorer]:
        """By name."""
        fits = {SHIPPED: (), SHIPPED_ENDS: (), ENDS: self.of_part("fit"), REFIT: self.of_part("refit")}
        return {name: StreamScorer(name, pieces) for name, pieces in fits.items()}


@dataclass(frozen=True)
class Road:
    """The recordings of a road that have all scores, and its events."""

    hours: Mapping[str, list[list[Piece]]]
    incidents: list[Piece]
    events: pd.DataFrame

    @classmethod
    def of(cls, pieces: Sequence[Piece], scorers: Sequence[StreamScorer], parts: Sequence[str]) -> "Road":
        """What is complete of a road.

        Raises:
            DataError: not one hour of each part is, or there is no incident.
        """

        def done(piece: Piece) -> bool:
            return all(one.scores_path(piece).is_file() for one in scorers)

        hours = {part: list(complete_hours(list(pieces), part, done)) for part in parts}
        incidents = [piece for piece in pieces if piece.part == "incidents" and done(piece)]
        counts = {part: len(found) for part, found in hours.items()}
        if not all(counts.values()) or not incidents:
            raise DataError(f"hours {counts}, {len(incidents)} incidents: at least one of each is needed for a result")
        return cls(hours, incidents, check_events(read_events(incidents)))

    def pieces(self, part: str) -> list[Piece]:
        """Recordings of a part."""
        return [piece for hour in self.hours[part] for piece in hour]

    def windows(self, scorer: StreamScorer, part: str) -> pd.DataFrame:
        """Scored windows of a part, "incidents" too."""
        return read_scores(self.incidents if part == "incidents" else self.pieces(part), scorer)


def usual_absence(scorer: StreamScorer) -> float:
    """Seconds that a vehicle is missing in one of twenty of the good windows that a scorer was fitted on."""
    assert scorer.rules.rarity is not None, "a calibration holds it"
    return float(np.quantile(scorer.rules.rarity.usual.features[:, KINDS.index(ABSENT)], 0.95))


def evaluate_first(roads: Roads) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of the first road, and what they are of."""
    scorers = {name: one for name, one in roads.scorers().items() if name != REFIT}
    road = Road.of(roads.first, list(scorers.values()), ("threshold", "rate"))
    counts = {part: len(hours) for part, hours in road.hours.items()}
    windows = {part: read_windows(road.pieces(part)) for part in road.hours}
    windows["incidents"], fit = read_windows(road.incidents), read_windows(list(roads.of_part("fit")))
    scored = {SECOND: Scored(*(part.assign(score=second_version(fit, part)) for part in windows.values()))}
    for name, scorer in scorers.items():
        scored[ROWS[name]] = Scored(*(road.windows(scorer, part) for part in windows))
    metrics = measure(scored, road.events, counts, PAIRS)
    for name, scorer in scorers.items():
        metrics[ROWS[name]]["absent_s"] = usual_absence(scorer)
    shipped = scorers[SHIPPED]
    unseen = [
        hour for part in road.hours.values() for hour in part if hour[0].job.index >= SHIPPED_HOURS * PIECES_AN_HOUR
    ]
    if unseen:
        held = read_scores([piece for hour in unseen for piece in hour], shipped)
        rate = realised(held, len(unseen), float(shipped.calibration["threshold"]))
        metrics[ROWS[SHIPPED]]["shipped_threshold"] = {"threshold": shipped.calibration["threshold"], "realised": rate}
    return metrics, {"hours": {"fit": FIT_HOURS, **counts}, "events": len(road.events)}


def evaluate_second(roads: Roads) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of the second road at thresholds of the first one, and refitted, and what they are of."""
    scorers = roads.scorers()
    first = Road.of(roads.first, [scorers[name] for name in ROWS], ("threshold",))
    second = Road.of(roads.second, list(scorers.values()), ("rate",))
    hours, metrics = len(second.hours["rate"]), {}
    count = len(first.hours["threshold"])
    thresholds = {name: lowest_threshold(first.windows(scorers[name], "threshold"), count, RATE) for name in ROWS}
    for name, scorer in scorers.items():
        parts = (second.windows(scorer, "rate"), second.windows(scorer, "incidents"))
        road = Windows(*parts, second.events, hours)
        if name == REFIT:
            refitted = f"refitted on {REFIT_HOURS} h of it"
            metrics[f"{refitted}, threshold of the first road"] = judge(road, thresholds[ENDS])
            metrics[f"{refitted}, threshold from them"] = judge(road, float(scorer.calibration["threshold"]))
        else:
            metrics[f"{ROWS[name]}, nothing fitted anew"] = judge(road, thresholds[name])
    about = {"threshold": count, "rate": hours}
    return metrics, {"hours": about, "events": len(second.events)}


def write_second_table(path: Path, record: Mapping) -> None:
    """The record of the second road as a page."""
    hours = record["hours"]
    about = (
        f"`{record['command']}`; {record['machine']}. Thresholds from {hours['threshold']} h of the first road; rates "
        f"from {hours['rate']} h and recall from {record['events']} incidents of the second."
    )
    head = ["# Rules with a forecast on a road and drivers that no calibration has seen", "", about]
    write_page(path, [head, *rate_tables(record["metrics"])])


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=integer_option(1), default=50, help="for thresholds, and again for rates; 50")
    parser.add_argument("--incidents", type=integer_option(8), default=200, help="200")
    parser.add_argument("--second-hours", type=integer_option(1), default=8, help="of the second road; 8")
    parser.add_argument("--second-incidents", type=integer_option(8), default=48, help="on it; 48")
    parser.add_argument("--minutes", type=number_option(0), default=1e6, help="stop after so many; a later run goes on")
    parser.add_argument("--table", action="store_true", help="simulate nothing: the records of what is there")
    args = parser.parse_args(argv)
    first = list_pieces(SEED, FIT_SEED, FIT_HOURS, args.hours, args.incidents)
    roads = Roads(first, second_pieces(SECOND_SEED, args.second_hours, args.second_incidents))
    if not args.table:
        make_pieces([*roads.first, *roads.second], args.minutes, keep_tables=True)
        scorers = roads.scorers()
        score_pieces([p for p in roads.first if p.part != "fit"], [scorers[name] for name in ROWS])
        score_pieces([p for p in roads.second if p.part != "refit"], list(scorers.values()))
    command = f"python -m benchmarks.traffic.forecast_benchmark --hours {args.hours} --incidents {args.incidents}"
    command += f" --second-hours {args.second_hours} --second-incidents {args.second_incidents}"
    for bench, seed, evaluate, write in (
        (BENCH, SEED, evaluate_first, write_table),
        (SECOND_BENCH, SECOND_SEED, evaluate_second, write_second_table),
    ):
        name = f"seed{seed}_forecast"
        keep_results(bench, name, partial(evaluate, roads), write, command=command, seed=seed)
        print(f"record: {record_path(bench, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
