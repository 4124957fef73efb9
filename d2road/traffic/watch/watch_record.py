"""Record of a watch: what was watched by what rules, how far it came, and how many alarms there were.

OUTPUT/watch.json is written when a run begins and when it ends; the alarms of all runs are in alarms.jsonl.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.traffic.events.stream_options import read_calibration
from d2road.utils.environment import now, run_environment
from d2road.utils.output_files import write_json
from d2road.utils.values import as_number

if TYPE_CHECKING:
    from d2road.traffic.events.stream_options import StreamOptions
    from d2road.traffic.events.stream_session import StreamSession

RECORD = "watch.json"
RUNNING, COMPLETE, STOPPED, FAILED = "running", "complete", "stopped", "failed"


@dataclass(frozen=True)
class WatchAbout:
    """What the record says of the input.

    Args:
        values: known before the run, such as input, camera and settings.
        counts: asked at the end, such as frames and where the time went.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    counts: Callable[[], Mapping[str, Any]] = dict


@contextmanager
def recorded(folder: Path, about: WatchAbout, options: StreamOptions, session: StreamSession) -> Iterator[None]:
    """Write the record at the beginning and at the end of the block, which runs the session.

    Raises:
        OutputError: it cannot be written.
    """
    begun, clock, processor = now(), time.monotonic(), time.process_time()
    rules = {
        "method": options.method,
        "good": list(options.good),
        "calibration": None if options.calibration is None else str(options.calibration),
        "scores": None if options.scores is None else str(options.scores),
        "threshold": session.scorer.threshold if options.calibrate is None else None,
        "threshold_is": threshold_note(options, session),
    }

    def write(state: str) -> None:
        counted = {"windows": session.scorer.windows, "alarms": session.scorer.raised}
        took = {
            "wall_seconds": round(time.monotonic() - clock, 3),
            "processor_seconds": round(time.process_time() - processor, 3),
        }
        write_json(
            folder / RECORD,
            {"state": state, "started": begun, **about.values, "rules": rules, **counted, **about.counts(), **took}
            | {"environment": run_environment()},
        )

    write(RUNNING)
    try:
        yield
    except BaseException:
        write(FAILED)
        raise
    write(STOPPED if session.stop else FAILED if about.counts().get("problems") else COMPLETE)


def threshold_note(options: StreamOptions, session: StreamSession) -> str:
    """Where the threshold comes from, in words."""
    if options.calibrate is not None:
        return f"threshold: being counted for {options.calibrate}"
    threshold = session.scorer.threshold
    if options.threshold is not None:
        return f"threshold {threshold:.4g}: given by --threshold"
    if options.calibration is not None:
        return f"threshold {threshold:.4g}: that of the calibration {options.calibration}{_counted(options)}"
    return session.model.note.format(threshold)


def _counted(options: StreamOptions) -> str:
    """What a calibration says of its false alarms; "" where it does not."""
    path = options.calibration
    assert path is not None, "asked for a calibration alone"
    names = ("false_alarms", "hours", "rate")
    alarms, hours, rate = (read_calibration(path, options.method, one, as_number, required=False) for one in names)
    if alarms is None or hours is None or rate is None:
        return ""
    return f", {alarms:.0f} false alarm(s) in {hours:.1f} h of good traffic, at most {rate:g} an hour asked for"
