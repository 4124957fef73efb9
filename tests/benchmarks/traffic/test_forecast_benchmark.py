"""Rules with a forecast: scored as the verb scores them, and the records of both roads from made-up scores."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic import forecast_benchmark as bench
from benchmarks.traffic.forecast_benchmark import ROWS, SHIPPED_HOURS
from benchmarks.traffic.forecast_streams import (
    ENDS,
    REFIT,
    SHIPPED,
    SHIPPED_ENDS,
    StreamScorer,
    describe_piece,
    score_pieces,
)
from benchmarks.traffic.rules_windows import PIECES_AN_HOUR, Piece, list_jobs, list_pieces, write_piece
from benchmarks.traffic.second_road import second_pieces
from d2road.cli import score_stream
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder, write_json
from tests.factories.traffic_windows import traffic, with_crawler

STEPS = 70


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_scorer_says_what_the_verb_says(place):
    piece = Piece(list_jobs(0, 0, 1)[0], "rate")
    make_folder(piece.path.parent)
    frame = with_crawler(traffic(3, 90.0)).assign(recording=piece.job.name)
    Trajectories.from_frame(frame).to_parquet(piece.table_path)
    score_pieces([piece], [StreamScorer(SHIPPED)])
    found = pd.read_csv(StreamScorer(SHIPPED).scores_path(piece))
    words = ["--calibration", "zoo:traffic_rules_forecast", "--input", str(piece.table_path), "--scores", "verb.csv"]
    assert score_stream.main(["--method", "rules_forecast", *words]) == 0
    expected = pd.read_csv("verb.csv")[list(found)]
    assert len(found) >= 10 and found["score"].max() > 0
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5, check_dtype=False)


def test_windows_lie_where_the_road_is_observed_if_its_ends_are_known(place):
    piece = Piece(list_jobs(0, 0, 1)[0], "rate")
    make_folder(piece.path.parent)
    frame = traffic(3, 60.0)
    shifted = frame.assign(s=frame["s"] + 600.0, recording=piece.job.name)
    Trajectories.from_frame(shifted).to_parquet(piece.table_path)
    with_ends, without = (describe_piece(piece, ends).places for ends in (True, False))
    assert set(with_ends["s0"]) <= {410.0, 922.0} and set(without["s0"]) <= {512.0 * i for i in range(4)}
    assert len(with_ends) == len(describe_piece(piece, True).described)


def made_up(piece, rng, names, factor: float = 1.0) -> None:
    """Windows of normal features and scores times a factor; in incidents one close gap and one high score."""
    features = np.abs(rng.normal(size=(STEPS, len(LASTING_FEATURES))))
    frame = pd.DataFrame(features, columns=[f"v2_{name}" for name in LASTING_FEATURES])
    t0 = 12.8 * np.arange(STEPS)
    frame = frame.assign(recording=piece.job.name, scenario="free", t0=t0, t1=t0 + 25.6, s0=410.0, s1=922.0)
    frame = frame.assign(density=7.0, v2_density=rng.uniform(10, 60, STEPS))
    event, scores = None, factor * np.abs(rng.normal(size=STEPS))
    if piece.job.kind:
        frame.loc[30, "v2_close"], scores[30] = 60.0, 50.0
        onset = float(t0[30]) + 13.0
        event = {"kind": piece.job.kind, "severity": "mild", "onset": onset, "end": onset + 5, "density": 7.0}
        event |= {"s_low": 500.0, "s_high": 600.0}
    write_piece(piece, frame, event)
    places = frame[["recording", "t0", "t1", "s0", "s1"]]
    for name in names:
        places.assign(score=scores, direction=1).to_csv(StreamScorer(name).scores_path(piece), index=False)


def test_figures_of_made_up_scores(place):
    rng = np.random.default_rng(0)
    first = [p for p in list_pieces(0, 1000, 2, 6, 8) if p.part != "fit"]
    with pytest.raises(DataError, match="at least one of each is needed"):
        bench.main(["--hours", "6", "--incidents", "8", "--table"])
    for piece in [*first, *list_pieces(1000, 1000, 2, 1, 0)[:8]]:
        made_up(piece, rng, (SHIPPED, SHIPPED_ENDS, ENDS))
    for piece in second_pieces(3000, 2, 8):
        made_up(piece, rng, (SHIPPED, SHIPPED_ENDS, ENDS, REFIT), factor=3.0)
    write_json(StreamScorer(REFIT, (first[0],)).path, {"rules": {}, "threshold": 20.0})
    write_json(StreamScorer(ENDS, (first[0],)).path, StreamScorer(SHIPPED).calibration)  # whose absences are known
    words = ["--hours", "6", "--incidents", "8", "--second-hours", "2", "--second-incidents", "8", "--table"]
    bench.main(words)
    record = json.loads((place / "benchmarks/results/traffic_rules/seed0_forecast.json").read_text())
    assert record["hours"] == {"fit": 2, "threshold": 6, "rate": 6} and record["events"] == 8
    shipped, ends = record["metrics"][ROWS[SHIPPED]], record["metrics"][ROWS[ENDS]]
    assert shipped["at_equal_rates"]["recall"] == 1 and set(ends["less rules_v2"]) == {"recall", "interval"}
    assert set(ends["at_equal_rates"]["recall_by_kind"]) == set(INCIDENT_KINDS)
    assert 0 < shipped["absent_s"] == ends["absent_s"] < 2  # beyond the ends of the road nobody is missing
    # Of twelve hours the last one did not set the shipped threshold, which is high above these scores.
    held = shipped["shipped_threshold"]["realised"]
    assert held["hours"] == 12 - SHIPPED_HOURS and held["alarms"] == 0
    other = json.loads((place / "benchmarks/results/second_road/seed3000_forecast.json").read_text())
    unseen, _, ends, borrowed, refitted = other["metrics"].values()
    assert unseen["realised"]["rate"] > 10 and refitted["realised"]["rate"] == 0 and refitted["threshold"] == 20
    assert borrowed["threshold"] == ends["threshold"] and borrowed["realised"]["rate"] > 10
    assert other["hours"] == {"threshold": 6, "rate": 2}
    page = (place / "benchmarks/results/second_road/seed3000_forecast.md").read_text()
    assert f"| {ROWS[ENDS]}, nothing fitted anew" in page and "| tailgating" in page


def test_hours_count_when_every_scorer_has_them(place):
    rng = np.random.default_rng(0)
    pieces = [p for p in list_pieces(0, 1000, 2, 1, 8) if p.part != "fit"]
    for piece in pieces:
        made_up(piece, rng, (SHIPPED,))
    with pytest.raises(DataError, match="'threshold': 0"):
        bench.Road.of(pieces, [StreamScorer(SHIPPED), StreamScorer(ENDS, (pieces[0],))], ("threshold",))
    road = bench.Road.of(pieces, [StreamScorer(SHIPPED)], ("threshold", "rate"))
    assert (
        len(road.pieces("rate")) == PIECES_AN_HOUR
        and len(road.windows(StreamScorer(SHIPPED), "incidents")) == 8 * STEPS
    )
