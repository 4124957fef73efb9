"""One run of d2road score-stream: model, windows, alarms, files, and what is left for the next run."""

import argparse
import json
import math
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd

from d2road.cli.stream_output import ScoreFile, alarm_line, over_line, write_alarm_picture
from d2road.config.setup import make_cfg
from d2road.config.time_space import window_grid_of
from d2road.engine.predictor import Predictor
from d2road.traffic.baselines.baseline import Window
from d2road.traffic.events.alarms import SECONDS_PER_HOUR, alarm_threshold
from d2road.traffic.events.window_stream import Finding, Score, StreamScorer, window_scorer
from d2road.traffic.readers import Source, open_trajectories
from d2road.traffic.readers.fcd import Fcd
from d2road.traffic.readers.plain import PlainCsv
from d2road.traffic.readers.tail_reader import StoppedError, Tail, following
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import ConfigError
from d2road.utils.io import write_json

# Seconds of traffic that are read before windows are looked at: soon while the file grows, many at once else.
FOLLOW_CHUNK_S, CHUNK_S = 2.0, 60.0
SAVE_EVERY_S = 10.0
# Samples that readers take speeds and their signs from, before those of the next window.
REREAD_S = 5.0
ABOUT = ("input", "config_file", "weights", "opts")


class Session:
    """A stream from where it is to its end, or until somebody stops it.

    Args:
        args: of score_stream.parser().
        grid: of windows. score: of windows. None takes those that the config and the weights describe.
    Raises:
        FileNotFoundError, ValueError: the arguments, the config, the weights or the saved state cannot be used.
    """

    def __init__(self, args: argparse.Namespace, grid: WindowGrid | None = None, score: Score | None = None):
        self.args, self.stop, self.state = args, False, read_state(args)
        self.source, self.tail = self._open()
        if grid is None or score is None:
            cfg = make_cfg(args.config_file, args.opts)
            grid = window_grid_of(cfg)
        self.grid = replace(grid, start=self.state.get("next_t0"))
        of_model = math.nan
        if score is None:
            predict = Predictor(cfg, args.weights or None, args.batch)
            score, known = window_scorer(predict), getattr(predict.model, "state", None)
            of_model = float(known.threshold) if known is not None and known.has_threshold else math.nan
        self.scorer = StreamScorer(score, self._threshold(of_model), args.batch)
        if self.state:
            self.scorer.restore(self.state["scorer"])
        self.held: list[Window] = []
        self.next_t0: float | None = self.state.get("next_t0")
        # Seconds of traffic: of recordings that are over, beginning and end of the present one.
        self.over_s, self.recording = 0.0, ""
        self.began: float | None = self.state.get("began")
        self.seen = self.first_seen = self.state.get("seen", math.nan)
        self.saved = time.monotonic()
        self.scores = ScoreFile(args.scores, self.next_t0) if args.scores else None
        # A calibration needs the scores of all good windows at its end: 24 hours are some ten thousand.
        self.good: list[tuple] = [tuple(row) for row in self.state.get("good", [])]

    def _open(self) -> tuple[Source, Tail | None]:
        source = open_trajectories(self.args.input)
        if not isinstance(source, (Fcd, PlainCsv)) or source.path.suffix == ".gz":
            if self.args.follow or self.args.state:
                raise ConfigError(f"{source.path}: --follow and --state need a file of FCD or CSV that is not packed")
            return source, None
        if isinstance(source, Fcd):
            source.partial = True
        tail = Tail(source.path, self.args.follow, int(self.state.get("offset", 0)), lambda: self.stop)
        return following(source, tail), tail

    def _threshold(self, of_model: float) -> float:
        args = self.args
        if args.calibrate is not None:
            return math.inf
        if args.threshold is not None:
            return args.threshold
        if args.calibration is None:
            if not math.isfinite(of_model):
                raise ConfigError("the model has no threshold of its own: give --threshold or --calibration")
            print(
                f"threshold {of_model:.4g} is the model's own, for single images; --calibrate sets one for a rate of "
                "false alarms",
                flush=True,
            )
            return of_model
        try:
            return float(json.loads(args.calibration.read_text())["threshold"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{args.calibration} holds no threshold ({error}); write it with --calibrate") from error

    def run(self) -> int:
        """Score to the end; returns the exit code."""
        start = time.monotonic()
        chunks = self.source.chunks(FOLLOW_CHUNK_S if self.args.follow else CHUNK_S)
        with self._signals():
            try:
                for window in self.grid.over(self._watched(chunks)):
                    self.held.append(Window.drawn(window, self.grid.renderer))
                self._settle()
            except StoppedError:
                pass
        self._save()
        if not self.stop:
            self._tell_over(math.inf)
            if self.args.calibrate is not None:
                self._write_threshold()
        self._conclude(time.monotonic() - start)
        return 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Interrupts ask to stop; what is under way is finished first."""

        def stop(*_) -> None:
            self.stop = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watched(self, chunks: Iterable[Trajectories]) -> Iterator[Trajectories]:
        """Chunks; who comes for the next one has handed out all windows of those before, which are settled then."""
        for chunk in chunks:
            (recording,), (first, last) = chunk.recordings, chunk.span
            if self.recording and recording != self.recording:
                self.over_s += self.seen - self.began
                self.began = self.next_t0 = None
            self.recording = recording
            self.began = first if self.began is None else self.began
            self.first_seen = first if math.isnan(self.first_seen) else self.first_seen
            self.seen = last
            yield chunk
            self._settle()
            if self.stop:
                raise StoppedError
            if time.monotonic() - self.saved > SAVE_EVERY_S:
                self._save()

    def _settle(self) -> None:
        """Judge the windows at hand."""
        held, self.held = self.held, []
        for finding in self.scorer.judge(held):
            self._tell(finding)
        if held:
            # The grid's next step; windows without vehicles may follow before the next one that is handed out.
            self.next_t0 = held[-1].t0 + self.grid.stride
            self._tell_over(self.next_t0)

    def _tell(self, finding: Finding) -> None:
        window = finding.window
        row = (window.recording, window.t0, window.t1, window.s0, window.s1, finding.score, window.direction)
        if self.args.calibrate is not None:
            self.good.append(row)
        if self.scores:
            self.scores.add(row)
        if not finding.begins:
            return
        path = None
        if self.args.pictures is not None:
            path = self.args.pictures / f"{self.scorer.raised:06d}.png"
            write_alarm_picture(path, finding, self.grid, self.scorer.threshold)
        print(alarm_line(finding, self.grid.renderer, self.scorer.threshold, path), flush=True)

    def _tell_over(self, before: float) -> None:
        for alarm in self.scorer.closed(before):
            print(over_line(alarm), flush=True)

    def _save(self) -> None:
        """Scores first: the state may lag behind them, never run ahead."""
        self.saved = time.monotonic()
        if self.scores:
            self.scores.flush()
        if self.args.state is None:
            return
        offset = self.tail.first
        if self.next_t0 is not None:
            offset = self.tail.mark_before(self.next_t0 - self.grid.renderer.margin - REREAD_S)
        state = {
            "about": about(self.args),
            "offset": offset,
            "next_t0": self.next_t0,
            "began": self.began,
            "seen": self.seen,
            "scorer": self.scorer.state(),
            "good": self.good,
        }
        self.args.state.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.args.state, state, indent=None)

    def _write_threshold(self) -> None:
        windows = pd.DataFrame(self.good, columns=list(ScoreFile.COLUMNS))
        hours = self._hours()
        threshold, alarms = alarm_threshold(windows, hours, self.args.rate)
        found = {"rate": self.args.rate, "hours": hours, "false_alarms": alarms, "windows": len(windows)}
        self.args.calibrate.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.args.calibrate, {"threshold": threshold, **found, **about(self.args)})
        print(f"threshold {threshold:.6g}: {alarms} alarm(s) in {hours:.2f} h of good traffic -> {self.args.calibrate}")

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


def about(args: argparse.Namespace) -> dict:
    """What a state or a threshold belongs to."""
    return {name: getattr(args, name) for name in ABOUT}


def read_state(args: argparse.Namespace) -> dict:
    """What an earlier run left; {} without one.

    Raises:
        ValueError: the file is damaged, or of a run with another input or other options.
    """
    path = args.state
    if path is None or not path.is_file():
        return {}
    try:
        state = json.loads(path.read_text())
        theirs = state["about"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ConfigError(f"{path} is no state of a stream ({error}); delete it to begin anew") from error
    changed = [name for name, value in about(args).items() if theirs.get(name) != value]
    if changed:
        raise ConfigError(
            f"{path} was left by a run with other {', '.join(changed)}: name another --state, or delete it to begin "
            "anew"
        )
    return state
