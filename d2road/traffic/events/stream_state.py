"""What a run over a stream leaves for the next one: where the stream is, in a JSON file that is checked when read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from d2road.traffic.events.alarms import Alarm
from d2road.traffic.events.drift_watch import DriftState
from d2road.traffic.events.stream_options import StreamOptions
from d2road.traffic.readers.growing_file import FileMark
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json
from d2road.utils.values import as_flag, as_integer, as_list, as_number, as_object, as_text, number_rows
from d2road.utils.values import field as value_of

CURE = "It is no state of a stream: delete it to begin anew, or name another --state"
# A window and its score, as it is kept for a threshold: recording, t0, t1, s0, s1, score, direction.
GoodWindow = tuple[str, float, float, float, float, float, int]


@dataclass(frozen=True)
class StreamState:
    """Where a stream is.

    Attributes:
        offset: byte of the input to go on at. behind: whether it is in the recording before, see `TailReader`.
        known: by what the input is known again; None in states of earlier versions.
        number: of the recording, since others may have taken its place. recording: its name, "" before its first row.
        next_t0: s, beginning of the windows to come; None before the first one.
        began, seen: s, beginning and end of what was seen of the recording; None before its first row.
        over_s: s, of the recordings before.
        windows, raised: scored windows and alarms. open: alarms that are not over, with their last windows.
        good: windows for a threshold; conditions: density and speed of each, fewer in states of earlier versions.
        digest: of what was fitted, "" for a model. drift: of the watch, None where there is none.
    """

    offset: int = 0
    behind: bool = False
    known: FileMark | None = None
    number: int = 1
    recording: str = ""
    next_t0: float | None = None
    began: float | None = None
    seen: float | None = None
    over_s: float = 0.0
    windows: int = 0
    raised: int = 0
    open: list[tuple[Alarm, list[Alarm]]] = field(default_factory=list)
    good: list[GoodWindow] = field(default_factory=list)
    digest: str = ""
    conditions: list[tuple[float, float]] = field(default_factory=list)
    drift: DriftState | None = None

    def check_scorer(self, digest: str, path: Path | None) -> None:
        """Make sure that a stream which goes on is scored by the rules that scored it before.

        Raises:
            ConfigError: it was scored by others.
        """
        if self.began is not None and digest != self.digest:
            raise ConfigError(
                f"{path} was left by a run with other rules: the good traffic was another one. Name another --state, "
                "or delete it to begin anew"
            )

    def write(self, path: Path, options: StreamOptions) -> None:
        """Write it as JSON, with what it belongs to."""
        apart = ("known", "windows", "raised", "open", "drift")
        plain = {name: value for name, value in vars(self).items() if name not in apart}
        open_ = [{"alarm": vars(alarm), "parts": [vars(part) for part in parts]} for alarm, parts in self.open]
        scorer = {"windows": self.windows, "raised": self.raised, "open": open_}
        known, drift = (vars(one) if one else None for one in (self.known, self.drift))
        make_folder(path.parent)
        plain |= {"known": known, "drift": drift, "scorer": scorer}
        write_json(path, {"about": options.about(), **plain}, indent=None)


def read_state(options: StreamOptions) -> StreamState | None:
    """What an earlier run left; None without one.

    Raises:
        ConfigError: the file is damaged, or of a run with another input or other options.
    """
    path = options.state
    if path is None or not path.exists():
        return None
    source = f"state {path}"
    try:
        values = as_object(read_json(path, "state", CURE), source)
        theirs = value_of(values, "about", as_object, source)
        changed = [name for name, value in options.about().items() if theirs.get(name) != value]
        if not changed:
            return _checked(values, source)
    except DataError as error:
        text = str(error)
        raise ConfigError(text if CURE in text else f"{text}. {CURE}") from error
    raise ConfigError(
        f"{path} was left by a run with other {', '.join(changed)}: name another --state, or delete it to begin anew"
    )


def _checked(values: Mapping[str, Any], source: str) -> StreamState:
    scorer = value_of(values, "scorer", as_object, source)
    state = StreamState(
        offset=value_of(values, "offset", as_integer, source, 0),
        next_t0=_number_or_none(values, "next_t0", source),
        began=_number_or_none(values, "began", source),
        seen=_number_or_none(values, "seen", source),
        windows=value_of(scorer, "windows", as_integer, source, 0),
        raised=value_of(scorer, "raised", as_integer, source, 0),
        open=[_open_alarm(entry, source) for entry in value_of(scorer, "open", as_list, source)],
        good=[_good_window(row, source) for row in value_of(values, "good", as_list, source)],
    )
    if (state.began is None) != (state.seen is None) or (state.next_t0 is not None and state.began is None):
        raise DataError(f"{source}: 'began', 'seen' and 'next_t0' do not belong together")
    if "known" not in values:  # of an earlier version
        return state
    known, drift = values["known"], values.get("drift")
    return replace(
        state,
        behind=value_of(values, "behind", as_flag, source),
        known=None if known is None else _file_mark(as_object(known, f"{source}: 'known'"), source),
        number=value_of(values, "number", as_integer, source, 1),
        recording=value_of(values, "recording", as_text, source),
        over_s=value_of(values, "over_s", as_number, source, 0),
        digest=value_of(values, "digest", as_text, source) if "digest" in values else "",
        conditions=_conditions(values, source) if "conditions" in values else [],
        drift=None if drift is None else DriftState.from_json(drift, f"{source}: 'drift'"),
    )


def _number_or_none(values: Mapping[str, Any], name: str, source: str) -> float | None:
    return None if name in values and values[name] is None else value_of(values, name, as_number, source)


def _file_mark(values: Mapping[str, Any], source: str) -> FileMark:
    return FileMark(
        value_of(values, "read", as_integer, source, 0),
        value_of(values, "head", as_text, source),
        value_of(values, "tail", as_text, source),
    )


def _open_alarm(value: Any, source: str) -> tuple[Alarm, list[Alarm]]:
    entry = as_object(value, f"{source}: an alarm that is open")
    parts = value_of(entry, "parts", as_list, source)
    return _alarm(value_of(entry, "alarm", as_object, source), source), [_alarm(part, source) for part in parts]


def _alarm(value: Any, source: str) -> Alarm:
    values = as_object(value, f"{source}: an alarm")
    numbers = ("start", "end", "s_low", "s_high", "raised", "peak", "peak_t0", "peak_s0")
    return Alarm(
        recording=value_of(values, "recording", as_text, source),
        windows=value_of(values, "windows", as_integer, source, 1),
        direction=_direction(value_of(values, "direction", as_integer, source, -1, 1), source),
        **{name: value_of(values, name, as_number, source) for name in numbers},
    )


def _good_window(value: Any, source: str) -> GoodWindow:
    source = f"{source}: a window of 'good'"
    row = as_list(value, source)
    if len(row) != 7:
        raise DataError(f"{source} has {len(row)} values, expected recording, t0, t1, s0, s1, score, direction")
    t0, t1, s0, s1, score = (as_number(number, source) for number in row[1:6])
    return as_text(row[0], source), t0, t1, s0, s1, score, _direction(as_integer(row[6], source, -1, 1), source)


def _conditions(values: Mapping[str, Any], source: str) -> list[tuple[float, float]]:
    rows = number_rows(values, "conditions", 2, source)
    return [(density, speed) for density, speed in rows]


def _direction(value: int, source: str) -> int:
    if not value:
        raise DataError(f"{source}: a direction is 0, expected 1 or -1")
    return value


def finite_or_none(value: float) -> float | None:
    """A number for JSON, which knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None
