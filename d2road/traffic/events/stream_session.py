"""One run over a stream: windows, alarms, files, and what is left for the next run. Scores come from a function."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from d2road.traffic.events.alarms import SECONDS_PER_HOUR, alarm_threshold
from d2road.traffic.events.stream_options import StreamOptions, choose_threshold, read_state
from d2road.traffic.events.stream_output import ScoreFile, alarm_line, over_line, write_alarm_picture
from d2road.traffic.events.window_stream import ScoredWindow, StreamScorer, WindowScorer
from d2road.traffic.readers import Source, open_trajectories
from d2road.traffic.readers.fcd import Fcd
from d2road.traffic.readers.growing_file import GrowingFile, StoppedError
from d2road.traffic.readers.plain import PlainCsv
from d2road.traffic.readers.tail_reader import TailReader
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import make_folder, write_json

# Seconds of traffic that are read before windows are scored: soon while the file grows, many at once else.
FOLLOW_CHUNK_S, CHUNK_S = 2.0, 60.0
SAVE_EVERY_S = 10.0
# Samples that readers take speeds and their signs from, before those of the next window.
REREAD_S = 5.0


@dataclass(frozen=True)
class StreamModel:
    """What scores a stream: a grid of windows, a function of windows, and a threshold of its own or None."""

    grid: WindowGrid
    score: WindowScorer
    threshold: float | None = None


class StreamSession:
    """A stream from where it is to its end, or until somebody stops it.

    Args:
        options: of the run.
        load_model: gives what scores; called once the input and the saved state are known to be good.
    Raises:
        FileNotFoundError, ConfigError: the options, the saved state or what `load_model` reads cannot be used.
    """

    def __init__(self, options: StreamOptions, load_model: Callable[[], StreamModel]):
        self.options, self.stop, self.state = options, False, read_state(options)
        self.source, self.file = self._open()
        model = load_model()
        self.grid = replace(model.grid, start=self.state.get("next_t0"))
        self.scorer = StreamScorer(model.score, choose_threshold(options, model.threshold), options.batch)
        if self.state:
            self.scorer.restore(self.state["scorer"])
        self.pending: list[TrafficWindow] = []
        self.next_t0: float | None = self.state.get("next_t0")
        # Seconds of traffic: of recordings that are over, beginning and end of the present one.
        self.over_s, self.recording = 0.0, ""
        self.began: float | None = self.state.get("began")
        self.seen = self.first_seen = self.state.get("seen", math.nan)
        self.saved = time.monotonic()
        self.scores = ScoreFile(options.scores, self.next_t0) if options.scores else None
        # A calibration needs the scores of all good windows at its end: 24 hours are some ten thousand.
        self.good: list[tuple] = [tuple(row) for row in self.state.get("good", [])]

    def _open(self) -> tuple[Source, GrowingFile | None]:
        source = open_trajectories(self.options.input)
        if not isinstance(source, (Fcd, PlainCsv)) or source.path.suffix == ".gz":
            if self.options.follow or self.options.state:
                raise ConfigError(f"{source.path}: --follow and --state need a file of FCD or CSV that is not packed")
            return source, None
        offset = int(self.state.get("offset", 0))
        file = GrowingFile(source.path, self.options.follow, offset, lambda: self.stop)
        return TailReader(source, file), file

    def run(self) -> int:
        """Score to the end; returns the exit code."""
        start = time.monotonic()
        chunks = self.source.chunks(FOLLOW_CHUNK_S if self.options.follow else CHUNK_S)
        with self._signals():
            try:
                for window in self.grid.over(self._watched(chunks)):
                    self.pending.append(TrafficWindow.rendered(window, self.grid.renderer))
                self._finalize()
            except StoppedError:
                pass
        self._save()
        if not self.stop:
            self._report_over(math.inf)
            if self.options.calibrate is not None:
                self._write_threshold()
        self._conclude(time.monotonic() - start)
        return 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Interrupts ask to stop; what is under way is finished first."""

        def stop(*_: object) -> None:
            self.stop = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watched(self, chunks: Iterable[Trajectories]) -> Iterator[Trajectories]:
        """Chunks; who comes for the next one has handed out all windows of those before, which are finalized then."""
        for chunk in chunks:
            (recording,), (first, last) = chunk.recordings, chunk.span
            if self.began is not None and self.recording and recording != self.recording:
                self.over_s += self.seen - self.began
                self.began = self.next_t0 = None
            self.recording = recording
            self.began = first if self.began is None else self.began
            self.first_seen = first if math.isnan(self.first_seen) else self.first_seen
            self.seen = last
            yield chunk
            self._finalize()
            if self.stop:
                raise StoppedError
            if time.monotonic() - self.saved > SAVE_EVERY_S:
                self._save()

    def _finalize(self) -> None:
        """Score the windows at hand."""
        pending, self.pending = self.pending, []
        for scored in self.scorer.score_windows(pending):
            self._report(scored)
        if pending:
            # The grid's next step; windows without vehicles may follow before the next one that is handed out.
            self.next_t0 = pending[-1].t0 + self.grid.stride
            self._report_over(self.next_t0)

    def _report(self, scored: ScoredWindow) -> None:
        window = scored.window
        row = (window.recording, window.t0, window.t1, window.s0, window.s1, scored.score, window.direction)
        if self.options.calibrate is not None:
            self.good.append(row)
        if self.scores:
            self.scores.add(row)
        if not scored.begins:
            return
        path = None
        if self.options.pictures is not None:
            path = self.options.pictures / f"{self.scorer.raised:06d}.png"
            write_alarm_picture(path, scored, self.grid, self.scorer.threshold)
        print(alarm_line(scored, self.grid.renderer, self.scorer.threshold, path), flush=True)

    def _report_over(self, before: float) -> None:
        for alarm in self.scorer.pop_closed(before):
            print(over_line(alarm), flush=True)

    def _save(self) -> None:
        """Scores first: the state may lag behind them, never run ahead."""
        self.saved = time.monotonic()
        if self.scores:
            self.scores.flush()
        if self.options.state is None or self.file is None:
            return
        offset = self.file.first
        if self.next_t0 is not None:
            offset = self.file.mark_before(self.next_t0 - self.grid.renderer.margin - REREAD_S)
        state: dict[str, Any] = {
            "about": self.options.about(),
            "offset": offset,
            "next_t0": self.next_t0,
            "began": self.began,
            "seen": self.seen,
            "scorer": self.scorer.state(),
            "good": self.good,
        }
        make_folder(self.options.state.parent)
        write_json(self.options.state, state, indent=None)

    def _write_threshold(self) -> None:
        path, rate = self.options.calibrate, self.options.rate
        assert path is not None
        windows = pd.DataFrame(self.good, columns=list(ScoreFile.COLUMNS))
        hours = self._hours()
        threshold, alarms = alarm_threshold(windows, hours, rate)
        found = {"rate": rate, "hours": hours, "false_alarms": alarms, "windows": len(windows)}
        make_folder(path.parent)
        write_json(path, {"threshold": threshold, **found, **self.options.about()})
        print(f"threshold {threshold:.6g}: {alarms} alarm(s) in {hours:.2f} h of good traffic -> {path}")

    def _hours(self) -> float:
        present = 0.0 if self.began is None else self.seen - self.began
        return (self.over_s + present) / SECONDS_PER_HOUR

    def _conclude(self, wall: float) -> None:
        seconds = self._hours() * SECONDS_PER_HOUR
        if self.state and self.began is not None:  # this run alone
            seconds = self.seen - self.first_seen
        times = f"{seconds / wall:.1f} times real time" if wall > 0 else ""
        print(
            f"{'stopped' if self.stop else 'end of the file'}: {self._hours():.2f} h, {self.scorer.windows} windows, "
            f"{self.scorer.raised} alarm(s); this run {seconds / SECONDS_PER_HOUR:.2f} h in {wall:.0f} s, {times}",
            flush=True,
        )
