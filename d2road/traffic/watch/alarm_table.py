"""Table of alarms as CSV: a row an alarm, for spreadsheets."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2road.traffic.events.stream_output import clock
from d2road.traffic.watch.alarm_report import ALARM, UPDATE
from d2road.traffic.watch.delivery import RefusedError
from d2road.utils.output_files import append_text

CAMERA_MOVED = "camera_moved"
COLUMNS = (
    "id", "recording", "t", "start", "end", "s_m", "x_m", "y_m", "direction", "score", "threshold", "rate_per_hour",
    "rule", "sentence", "track", "cls", "lane", "speed_kmh", "image", "clip",
)  # fmt: skip


class AlarmTable:
    """Writes alarms as rows; of the vehicles that of the alarm."""

    name = "csv"

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file() or not path.stat().st_size:
            append_text(path, _line(COLUMNS))

    def deliver(self, line: bytes) -> None:
        """Add one alarm; see `AlarmReceiver`."""
        record = json.loads(line)
        if record.get("kind") in (CAMERA_MOVED, UPDATE):
            return  # in the lines of alarms; a row is an alarm
        if record.get("kind") != ALARM:
            raise RefusedError(f"a record of kind {record.get('kind')!r} is no row of alarms")
        culprit: dict[str, Any] = next((one for one in record["vehicles"] if one["culprit"]), {})
        values = {**{name: culprit.get(name, "") for name in ("track", "cls", "lane", "speed_kmh")}, **record}
        append_text(self.path, _line("" if values[name] is None else values[name] for name in COLUMNS))

    def close(self) -> None:
        """Every row is on the disk already."""


def moved_line(event: Mapping[str, Any]) -> str:
    """The line that tells of an event of CAMERA_MOVED."""
    return f"MOVED  t {clock(event['t'])}  {event['sentence']}"


def _line(values) -> str:  # type: ignore[no-untyped-def]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
