"""One run over a stream: windows, alarms, files, and what is left for the next run. Scores come from a function."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.data_quality import DROPPED, QualityReport
from d2road.traffic.events.alarms import SECONDS_PER_HOUR, alarm_threshold
from d2road.traffic.events.drift import DriftReference, describe_conditions
from d2road.traffic.events.drift_watch import open_watch
from d2road.traffic.events.stop_request import StopRequest
from d2road.traffic.events.stream_options import MODELS_THRESHOLD, StreamOptions, choose_threshold
from d2road.traffic.events.stream_output import ScoreFile, alarm_line, drift_line, over_line, write_alarm_picture
from d2road.traffic.events.stream_state import GoodWindow, StreamState, finite_or_none, read_state
from d2road.traffic.events.window_stream import ScoredWindow, StreamScorer, WindowScorer
from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.fcd import Fcd
from d2road.traffic.readers.growing_file import GrowingFile, StoppedError
from d2road.traffic.readers.plain import PlainCsv
from d2road.traffic.readers.tail_reader import TailReader, can_grow
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import Tick, WindowGrid
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.output_files import make_folder, write_json

# Seconds of traffic that are read before windows are scored: soon while the file grows, many at once else.
FOLLOW_CHUNK_S, CHUNK_S = 2.0, 60.0
SAVE_EVERY_S = 10.0
# Samples that readers take speeds and their signs from, before those of the next window.
REREAD_S = 5.0
# Seconds without any row after which there was no traffic to watch: they have no windows and are no hours of it.
LONGEST_GAP_S = 3600.0

PRINT = partial(print, flush=True)
AlarmListener = Callable[[ScoredWindow, Explanation | None], Path | None]
WindowListener = Callable[[ScoredWindow], None]

logger = logging.getLogger(__name__)


class ChunkSource(Protocol):
    """Where trajectories come from, in pieces in order of time: a reader of files, or a tracker that runs.

    path: for messages; problems: with its rows.
    """

    path: Path
    problems: QualityReport

    def chunks(self, seconds: float) -> Iterator[Trajectories | Tick]:
        """The table in pieces of about so many seconds; a Tick where there is nothing new up to an instant."""
        ...


@dataclass(frozen=True)
class StreamModel:
    """What scores a stream.

    grid: of windows; score: of them; threshold: its own, or None; note: what that is, printed where it is taken;
    images: whether windows are drawn before they are scored; explain: why a window alarms; vehicle_scores: of its
    vehicles by name; digest: tells what was fitted apart; fitted: what a calibration keeps beside the threshold.
    """

    grid: WindowGrid
    score: WindowScorer
    threshold: float | None = None
    note: str = MODELS_THRESHOLD
    images: bool = True
    explain: Callable[[TrafficWindow], Explanation | None] | None = None
    vehicle_scores: Callable[[TrafficWindow], Mapping[str, float]] | None = None
    digest: str = ""
    fitted: Mapping[str, Any] = field(default_factory=dict)


class StreamSession:
    """A stream from where it is to its end, or until somebody stops it.

    Args:
        options: of the run.
        load_model: gives what scores; called once the input and the saved state are known to be good.
        stop: asked whether somebody wants it to end; interrupts ask while it runs.
        say: told each line of alarms, of drift and of the end.
        source: of the trajectories, in the place of the options' input; it has no state to go on from.
        on_alarm: told of each alarm that begins and why, in the place of a picture; returns a file to name, or None.
        on_more: told of each further window of an alarm.
    Raises:
        FileNotFoundError, ConfigError, DataError: the options, the input, the saved state or what `load_model` reads
            cannot be used.
        OutputError: an output cannot be written.
    """

    def __init__(
        self,
        options: StreamOptions,
        load_model: Callable[[], StreamModel],
        stop: StopRequest | None = None,
        say: Callable[[str], None] = PRINT,
        source: ChunkSource | None = None,
        on_alarm: AlarmListener | None = None,
        on_more: WindowListener | None = None,
    ):
        self.options, self.say, saved = options, say, read_state(options)
        self.on_alarm, self.on_more = on_alarm, on_more
        self.stop = StopRequest() if stop is None else stop  # one that nobody asked yet is False
        options.check_outputs()
        self.resumed, state = saved is not None, saved or StreamState()
        self.source: ChunkSource
        self.tail: TailReader | None
        self.source, self.tail = self._open(state) if source is None else (source, None)
        self.model = model = load_model()
        state.check_scorer(model.digest, options.state)
        self.grid = replace(model.grid, start=state.next_t0, longest_gap=LONGEST_GAP_S)
        threshold = choose_threshold(options, model.threshold, model.note)
        self.scorer = StreamScorer(model.score, threshold, options.batch)
        self.scorer.windows, self.scorer.raised, self.scorer.tracker.open = state.windows, state.raised, state.open
        self.pending: list[TrafficWindow] = []
        self.next_t0, self.recording = state.next_t0, state.recording
        # Seconds of traffic: of recordings that are over, in all and in this run; beginning and end of the present one.
        self.over_s, self.over_here_s = state.over_s, 0.0
        self.began = state.began
        self.seen = self.first_seen = math.nan if state.seen is None else state.seen
        self.saved = time.monotonic()
        self.told: dict[str, int] = {}
        self.drift = open_watch(options, state.drift)
        self.scores: ScoreFile | None = None
        if options.scores:
            watched = self.drift is not None
            self.scores = ScoreFile(options.scores, self.resumed, state.recording, state.next_t0, watched)
        # A calibration needs the scores of all good windows at its end: 24 hours are some ten thousand.
        self.good: list[GoodWindow] = list(state.good)
        self.conditions = list(state.conditions)

    def _open(self, state: StreamState) -> tuple[ChunkSource, TailReader | None]:
        source = open_trajectories(self.options.input)
        if not isinstance(source, (Fcd, PlainCsv)) or not can_grow(source.path):
            if self.options.follow or self.options.state:
                raise ConfigError(f"{source.path}: --follow and --state need a file of FCD or CSV in text, not packed")
            return source, None
        file = GrowingFile(source.path, self.options.follow, state.offset, lambda: bool(self.stop), known=state.known)
        tail = TailReader(source, file, state.number, state.behind)
        return tail, tail

    def run(self) -> int:
        """Score to the end; returns the exit code, that of a signal where one has ended it."""
        start = time.monotonic()
        with self.stop.listening():
            try:
                self._score_all()
            except StoppedError:
                pass
            except DataError:  # what was right before it stays
                self._save()
                raise
            self._save()
            if not self.stop:
                self._report_over(math.inf)
                if self.options.calibrate is not None:
                    self._write_threshold()
            elif self.source.problems.counts:
                logger.warning("%s: %s", self.source.path, self.source.problems.report())
            self._conclude(time.monotonic() - start)
        return self.stop.exit_code

    def _score_all(self) -> None:
        chunks = self.source.chunks(FOLLOW_CHUNK_S if self.options.follow else CHUNK_S)
        for window in self.grid.over(self._watched(chunks)):
            if self.stop:
                raise StoppedError
            made = TrafficWindow.rendered if self.model.images else TrafficWindow.unrendered
            self.pending.append(made(window, self.grid.renderer))
        self._finalize()

    def _watched(self, chunks: Iterable[Trajectories | Tick]) -> Iterator[Trajectories | Tick]:
        """Chunks; who comes for the next one has handed out all windows of those before, which are finalized then."""
        for chunk in chunks:
            if isinstance(chunk, Tick):
                self.seen = max(self.seen, chunk.t) if self.began is not None else self.seen
            else:
                self._note_time(chunk)
            yield chunk
            self._finalize()
            self._tell_dropped()
            if self.stop:
                raise StoppedError
            if time.monotonic() - self.saved > SAVE_EVERY_S:
                self._save()

    def _note_time(self, chunk: Trajectories) -> None:
        """Take in when a chunk is, and whether another recording begins with it."""
        (recording,), (first, last) = chunk.recordings, chunk.span
        if self.began is not None and self.recording and recording != self.recording:
            self.over_s += self.seen - self.began
            self.over_here_s += self.seen - self.first_seen
            self.began, self.next_t0, self.first_seen = None, None, first
        elif first - self.seen > LONGEST_GAP_S and self.began is not None:
            gap = first - self.seen
            logger.warning("no row for %.0f s after t = %g s: no hours of traffic, no windows", gap, self.seen)
            self.began, self.first_seen = self.began + gap, self.first_seen + gap
        self.recording = recording
        self.began = first if self.began is None else self.began
        self.first_seen = first if math.isnan(self.first_seen) else self.first_seen
        self.seen = last

    def _tell_dropped(self) -> None:
        """Say of each kind of rows that are dropped that it is there, and again whenever they have become tenfold."""
        if not self.options.follow:  # else all is said at the end
            return
        for kind in DROPPED:
            count = self.source.problems.counts.get(kind, 0)
            if count >= self.told.get(kind, 1):
                self.told[kind] = 10 * count
                example = self.source.problems.examples[kind][0]
                logger.warning("%s: %s: %d row(s) dropped until t = %g s, first %s",
                               self.source.path, kind, count, self.seen, example)  # fmt: skip

    def _finalize(self) -> None:
        """Score the windows at hand."""
        pending, self.pending = self.pending, []
        for recording in dict.fromkeys(window.recording for window in pending):
            windows = [window for window in pending if window.recording == recording]
            for scored in self.scorer.score_windows(windows):
                self._report(scored)
            if recording == self.recording:
                # The grid's next step; windows without vehicles may follow before the next one that is handed out.
                self.next_t0 = windows[-1].t0 + self.grid.stride
                self._report_over(self.next_t0)
            else:
                self._report_over(math.inf)

    def _report(self, scored: ScoredWindow) -> None:
        window = scored.window
        row = (window.recording, window.t0, window.t1, window.s0, window.s1, scored.score, window.direction)
        if self.options.calibrate is not None:
            self.good.append(row)
            self.conditions.append(describe_conditions(window))
        if self.drift:
            density, speed = describe_conditions(window)
            report = self.drift.add(window.recording, window.t0, density, (scored.score, speed))
            if report:
                self.say(drift_line(report))
        if self.scores:
            self.scores.add(row, self.drift.evidence if self.drift else None)
        if scored.alarms and not scored.begins and self.on_more is not None:
            self.on_more(scored)
        if not scored.begins:
            return
        path: Path | None = None
        why = self.model.explain(window) if self.model.explain else None
        if self.on_alarm is not None:
            path = self.on_alarm(scored, why)
        elif self.options.pictures is not None:
            path = self.options.pictures / f"{self.scorer.raised:06d}.png"
            write_alarm_picture(path, scored, self.grid, self.scorer.threshold, why)
        self.say(alarm_line(scored, self.grid.renderer, self.scorer.threshold, path, why))

    def _report_over(self, before: float) -> None:
        for alarm in self.scorer.pop_closed(before):
            self.say(over_line(alarm))

    def _save(self) -> None:
        """Scores first: the state may lag behind them, never run ahead."""
        self.saved = time.monotonic()
        if self.scores:
            self.scores.flush()
        if self.options.state is None or self.tail is None:
            return
        needed = None if self.next_t0 is None else self.next_t0 - self.grid.renderer.margin - REREAD_S
        offset, behind = self.tail.place_before(needed)
        tracker = self.scorer.tracker
        state = StreamState(
            offset, behind, self.tail.file.mark_of_read(), self.tail.number, self.recording,
            self.next_t0, self.began, finite_or_none(self.seen), self.over_s,
            self.scorer.windows, self.scorer.raised, tracker.open, self.good, self.model.digest,
            self.conditions, self.drift.state if self.drift else None,
        )  # fmt: skip
        state.write(self.options.state, self.options)

    def _write_threshold(self) -> None:
        path, rate = self.options.calibrate, self.options.rate
        assert path is not None
        windows = pd.DataFrame(self.good, columns=list(ScoreFile.COLUMNS))
        hours = self._hours()
        threshold, alarms = alarm_threshold(windows, hours, rate)
        found = {"rate": rate, "hours": hours, "false_alarms": alarms, "windows": len(windows)}
        make_folder(path.parent)
        drift = self._drift_reference()
        held = {"threshold": threshold, **found, **self.options.about(), **self.model.fitted, **drift}
        write_json(path, held, indent=None)  # some ten thousand numbers: a line each would double the file
        self.say(f"threshold {threshold:.6g}: {alarms} alarm(s) in {hours:.2f} h of good traffic -> {path}")

    def _drift_reference(self) -> dict[str, Any]:
        """What a calibration keeps for `DriftWatch`; nothing where it would be too little."""
        if len(self.conditions) != len(self.good):  # begun by an earlier version
            return {}
        starts = [(recording, t0) for recording, t0, *_ in self.good]
        values = [(density, row[5], speed) for row, (density, speed) in zip(self.good, self.conditions)]
        reference = DriftReference.fit(starts, values, self.grid.stride)
        return {} if reference is None else {"drift": reference.to_json()}

    def _hours(self) -> float:
        present = 0.0 if self.began is None else self.seen - self.began
        return (self.over_s + present) / SECONDS_PER_HOUR

    def _conclude(self, wall: float) -> None:
        seconds = self._hours() * SECONDS_PER_HOUR
        if self.resumed and self.began is not None:  # this run alone
            seconds = self.over_here_s + self.seen - self.first_seen
        times = f"{seconds / wall:.1f} times real time" if wall > 0 else ""
        self.say(
            f"{'stopped' if self.stop else 'end of the file'}: {self._hours():.2f} h, {self.scorer.windows} windows, "
            f"{self.scorer.raised} alarm(s); this run {seconds / SECONDS_PER_HOUR:.2f} h in {wall:.0f} s, {times}"
        )
