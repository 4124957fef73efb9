"""Rules with a learned forecast on recordings as `d2road score-stream` sees them: windows, not whole tracks.

Scored once and kept, a file a recording and scorer:

    shipped       the calibration of the model zoo, on the windows of the verb where the ends of the road are not told
    shipped_ends  the same calibration on windows of what is observed (TIME_SPACE.S_RANGE)
    ends          fitted on hours of the first road on such windows
    refit         the same, fitted on hours of the second road, with the threshold that `--good` gives them
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmarks.traffic.rules_results import RATE
from benchmarks.traffic.rules_windows import FOLDER, RENDERER, Piece
from benchmarks.traffic.traffic_streams import StreamRecording, grid_of
from d2road.config import make_cfg
from d2road.config.time_space import window_grid_of
from d2road.model_zoo import shipped_file
from d2road.synthetic.traffic_incidents.scenarios import find_scenario
from d2road.traffic.baselines.road_tracks import DescribedTracks
from d2road.traffic.baselines.track_surprise import TrackSurprise
from d2road.traffic.events.rules_stream import PLACE_COLUMNS, GoodTraffic, threshold_of
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow, windows_of_one_time
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.input_files import read_json
from d2road.utils.output_files import atomic_write, write_json
from d2road.utils.progress import track

ZOO_NAME = "traffic_rules_forecast"
SHIPPED, SHIPPED_ENDS, ENDS, REFIT = "shipped", "shipped_ends", "ends", "refit"


@dataclass(frozen=True)
class StreamScorer:
    """One of the scorers; pieces: good traffic that it is fitted on, none for the shipped one."""

    name: str
    pieces: tuple[Piece, ...] = ()

    @property
    def path(self) -> Path:
        """Of the rules."""
        return FOLDER / f"forecast_{self.name}.json" if self.pieces else shipped_file(ZOO_NAME)

    @cached_property
    def calibration(self) -> dict:
        """Rules as a calibration holds them, with the threshold of REFIT; fitted where they have not been."""
        if not self.path.is_file():
            good = _joined([describe_piece(piece, True) for piece in track(self.pieces, label=self.name)])
            fit, held_out = good.split() if self.name == REFIT else (good, None)
            rules = TrackSurprise().fit_described(fit.described)
            threshold = {} if held_out is None else {"threshold": threshold_of(rules, held_out, RATE)[0]}
            write_json(self.path, {"rules": rules.to_json(), **threshold})
        return read_json(self.path, "calibration", "Delete it to fit it again")

    @cached_property
    def file_digest(self) -> str:
        """Eight hexadecimal digits of the file of the rules."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:8]

    @cached_property
    def rules(self) -> TrackSurprise:
        """What scores."""
        return TrackSurprise.from_json(self.calibration["rules"], str(self.path))

    def scores_path(self, piece: Piece) -> Path:
        """Of the windows of a recording; of other shipped rules they are other ones."""
        name = f"{self.name}_{self.file_digest}" if self.name in (SHIPPED, SHIPPED_ENDS) else self.name
        return piece.path.with_suffix(f".stream_{name}.csv")

    def score(self, good: GoodTraffic) -> pd.DataFrame:
        """Places of windows with their scores."""
        return good.places.assign(score=self.rules.scores_described(good.described))


def _joined(parts: Sequence[GoodTraffic]) -> GoodTraffic:
    places = pd.concat([part.places for part in parts], ignore_index=True)
    return GoodTraffic(places, DescribedTracks.joined([part.described for part in parts]))


def grid_of_piece(piece: Piece, ends: bool) -> WindowGrid:
    """Windows of a recording; ends: of what is observed, else those that the verb has by itself."""
    if not ends:
        return window_grid_of(make_cfg("", []))
    job = piece.job
    observed = find_scenario(job.scenario, job.road, job.drivers).observed
    return grid_of(StreamRecording(job.name, "", job.scenario, 0.0, observed, Path()), RENDERER)


def describe_piece(piece: Piece, ends: bool) -> GoodTraffic:
    """The windows of a recording and what they show."""
    grid = grid_of_piece(piece, ends)

    def windows() -> Iterator[TrafficWindow]:
        for one in grid.over([Trajectories.from_parquet(piece.table_path)]):
            yield TrafficWindow.unrendered(one, grid.renderer)

    rows: list[tuple] = []
    parts: list[DescribedTracks] = []
    for group in windows_of_one_time(windows()):
        parts.append(TrackSurprise.describe(group))
        rows += [(w.recording, w.t0, w.t1, w.s0, w.s1, w.direction) for w in group]
    return GoodTraffic(pd.DataFrame(rows, columns=list(PLACE_COLUMNS)), DescribedTracks.joined(parts))


def score_pieces(pieces: Sequence[Piece], scorers: Sequence[StreamScorer]) -> None:
    """Score the recordings whose tables are there, as far as that has not been done."""
    todo = [
        piece
        for piece in pieces
        if piece.table_path.is_file() and not all(one.scores_path(piece).is_file() for one in scorers)
    ]
    for piece in track(todo, len(todo), "streams of recordings", every_s=30):
        for ends in (False, True):
            own = [one for one in scorers if (one.name != SHIPPED) == ends and not one.scores_path(piece).is_file()]
            described = describe_piece(piece, ends) if own else None
            for scorer in own:
                assert described is not None
                with atomic_write(scorer.scores_path(piece), "w") as file:
                    scorer.score(described).to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def read_scores(pieces: Sequence[Piece], scorer: StreamScorer) -> pd.DataFrame:
    """The scored windows of recordings."""
    return pd.concat([pd.read_csv(scorer.scores_path(piece)) for piece in pieces], ignore_index=True)
