"""Alarm of a watched camera as a record: when, where, who, how unusual, and one sentence in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.watch.alarm_sentence import alarm_sentence
from d2road.traffic.watch.alarm_vehicles import AlarmVehicle, vehicles_near

ALARM, UPDATE = "alarm", "alarm_update"  # kinds of records

# (s m, direction, lane) of a track -> X and Y m in the camera's ground frame.
ToGround = Callable[[float, int, str], tuple[float, float]]


@dataclass(frozen=True)
class AlarmReport:
    """What an alarm says.

    id: of the alarm, never used again by one run's output folder; t: s of the video, start, end: of the window; s_m,
    s_low, s_high: m along the road; x_m, y_m: in the camera's ground frame, None without a camera; rate_per_hour:
    false alarms that the threshold was set for, None where nobody stated one; rule: of the highest evidence; image,
    clip: files, relative to the output folder; updates: id of the alarm that this one names anew, None for an alarm
    that begins.
    """

    id: str
    recording: str
    t: float
    start: float
    end: float
    s_m: float
    s_low: float
    s_high: float
    direction: int
    score: float
    threshold: float
    rate_per_hour: float | None
    rule: str
    sentence: str
    x_m: float | None = None
    y_m: float | None = None
    vehicles: tuple[AlarmVehicle, ...] = field(default_factory=tuple)
    image: str | None = None
    clip: str | None = None
    updates: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, of kind ALARM or UPDATE."""
        values = {**asdict(self), "vehicles": [asdict(one) for one in self.vehicles]}
        if self.updates is None:
            del values["updates"]
        return {"kind": ALARM if self.updates is None else UPDATE, **values}


def make_report(
    identity: str,
    scored: ScoredWindow,
    why: Explanation | None,
    threshold: float,
    rate_per_hour: float | None,
    to_ground: ToGround | None = None,
) -> AlarmReport:
    """The report of an alarm that begins.

    Args:
        why: the vehicle that speaks for the window; None leaves the middle of the window.
    """
    window = scored.window
    if why is None:
        t, s = (window.t0 + window.t1) / 2, (window.s0 + window.s1) / 2
        vehicles: tuple[AlarmVehicle, ...] = ()
    else:
        t, s = why.t, why.s
        vehicles = vehicles_near(window.table, window.direction, why)
    culprit = next((one for one in vehicles if one.culprit), None)
    place = to_ground(s, window.direction, culprit.lane) if to_ground and culprit else (None, None)
    return AlarmReport(
        id=identity, recording=window.recording, t=round(t, 3), start=window.t0, end=window.t1, s_m=round(s, 2),
        s_low=window.s0, s_high=window.s1, direction=window.direction, score=float(scored.score), threshold=threshold,
        rate_per_hour=rate_per_hour, rule=why.rule if why else "", sentence=alarm_sentence(t, s, why, culprit),
        x_m=place[0], y_m=place[1], vehicles=vehicles,
    )  # fmt: skip
