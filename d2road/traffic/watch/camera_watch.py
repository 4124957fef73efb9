"""Watch over a camera: its tracks through rules of its scale, and every alarm as a record, an image and a clip.

OUTPUT/alarms.jsonl     one JSON object an alarm; on the disk before anybody is told
OUTPUT/alarms.csv       the same as a table
OUTPUT/images/ID.png    time-space image of the window with its heat map
OUTPUT/clips/ID.mp4     of the video around the alarm, where there is a video
OUTPUT/watch.json       what was watched, by what rules, how far it came
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events.rules_stream import load_rules
from d2road.traffic.events.stop_request import StopRequest
from d2road.traffic.events.stream_options import StreamOptions, read_calibration
from d2road.traffic.events.stream_session import PRINT, ChunkSource, StreamModel, StreamSession
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.seeing.camera_site import FAR_M, NEAR_M, view_stretch
from d2road.traffic.time_space.camera_grid import STRIDE_S, camera_grid
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.traffic.watch.alarm_heat import write_alarm_image
from d2road.traffic.watch.alarm_naming import AlarmNaming
from d2road.traffic.watch.alarm_report import AlarmReport, make_report
from d2road.traffic.watch.alarm_table import AlarmTable, moved_line
from d2road.traffic.watch.delivery import AlarmReceiver, Delivery, wait_until_delivered
from d2road.traffic.watch.outbox import Outbox
from d2road.traffic.watch.watch_record import WatchAbout, recorded
from d2road.utils.errors import DataError, OutputError
from d2road.utils.output_files import make_folder
from d2road.utils.values import as_number

if TYPE_CHECKING:  # its package loads torch
    from d2road.structures.roadside_camera import RoadsideCamera

LOG, TABLE, IMAGES, CLIPS = "alarms.jsonl", "alarms.csv", "images", "clips"
BEFORE_S, AFTER_S = 6.0, 6.0  # of a clip, around the instant of its alarm
PATIENCE_S = 15.0  # at the end, for receivers that do not answer

# (from s, to s, file) writes a clip of the video; whether there was something to write.
ClipWriter = Callable[[float, float, Path], bool]

logger = logging.getLogger(__name__)


class CameraMoves(Protocol):
    """Who says that the camera has moved: calls `tell` with each event, as JSON has it."""

    tell: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class CameraWatch:
    """What a watch is made of.

    Args:
        camera: with its road. output: folder. receivers: who is told besides. clip: writes clips, None without a video.
        near_m, far_m: distances between which vehicles are looked at. stride_s: from a window to the next.
        about: what the record says of the input.
        check: says when the camera itself has moved, while the source is read.
    """

    camera: RoadsideCamera
    output: Path
    receivers: Sequence[AlarmReceiver] = ()
    clip: ClipWriter | None = None
    near_m: float = NEAR_M
    far_m: float = FAR_M
    stride_s: float = STRIDE_S
    about: WatchAbout = field(default_factory=WatchAbout)
    check: CameraMoves | None = None

    def grid(self) -> WindowGrid:
        """Windows of what the camera sees.

        Raises:
            DataError: the camera knows no road, or does not see it.
        """
        road = self.camera.road
        if road is None or not len(road.directions):
            raise DataError(
                "to watch, the calibration has to know the road: its heading and lane borders (`road` in camera.yaml); "
                "`d2road calibrate-camera --road` finds them by tracks"
            )
        ways = sorted(set(road.directions.tolist()))
        direction = ways[0] if len(ways) == 1 else None
        return camera_grid(view_stretch(self.camera, direction, self.near_m, self.far_m), direction, self.stride_s)

    def to_ground(self, s: float, direction: int, lane: str) -> tuple[float, float]:
        """X and Y (m, ground frame) of a place on the road, in the middle of a lane."""
        road = self.camera.road
        assert road is not None, "the grid asked for it"
        number = int(lane) if lane.isdecimal() and int(lane) < len(road.directions) else 0
        offset = (road.borders_m[number] + road.borders_m[number + 1]) / 2
        x, y = road.to_ground(np.array([direction * s, offset]))
        return round(float(x), 2), round(float(y), 2)

    def run(
        self,
        options: StreamOptions,
        source: ChunkSource | None = None,
        stop: StopRequest | None = None,
        say: Callable[[str], None] = PRINT,
    ) -> int:
        """Watch to the end of the stream; returns the exit code, as `StreamSession.run`.

        Args:
            options: with method and calibration or good traffic. source: of the tracks; None reads the options' input.
        Raises:
            FileNotFoundError, ConfigError, DataError, OutputError: as `StreamSession`.
        """
        model = load_rules(options, self.grid(), stop)
        outbox = Outbox(make_folder(self.output) / LOG)
        alarms = _Alarms(self, outbox, model, stated_rate(options), say)
        session = StreamSession(options, lambda: model, stop, say, source, alarms.add, alarms.more)
        alarms.threshold = session.scorer.threshold
        if self.check is not None:
            self.check.tell = partial(_add_move, outbox, say)
        receivers = [AlarmTable(self.output / TABLE), *self.receivers]
        deliveries = [Delivery(outbox, receiver) for receiver in receivers]
        try:
            with recorded(self.output, self.about, options, session):
                return session.run()
        finally:
            if not wait_until_delivered(deliveries, PATIENCE_S):
                say(f"not every alarm has reached everybody; all are in {outbox.path}, the next run delivers the rest")


def _add_move(outbox: Outbox, say: Callable[[str], None], event: Mapping[str, Any]) -> None:
    """Hand a move of the camera to the receivers of alarms, among which it has its place and number."""
    outbox.add({"kind": event["kind"], "id": f"{outbox.count + 1:06d}", **event})
    say(moved_line(event))


@dataclass
class _Alarms:
    """Takes the alarms of a session down."""

    watch: CameraWatch
    outbox: Outbox
    model: StreamModel
    rate: float | None
    say: Callable[[str], None]
    threshold: float = 0.0
    naming: AlarmNaming = field(default_factory=AlarmNaming)

    def add(self, scored: ScoredWindow, why: Explanation | None) -> Path | None:
        """Take down an alarm that begins."""
        report = self._written(scored, why, None)
        self.naming.begin(scored, report.id, why.vehicle if why else "")
        return self.watch.output / (report.image or LOG)

    def more(self, scored: ScoredWindow) -> None:
        """Name an alarm anew where a further window scores above those before it and speaks for another vehicle."""
        alarm = self.naming.known(scored)
        if alarm is None or scored.score <= alarm.peak:
            return
        alarm.peak = scored.score
        why = self.model.explain(scored.window) if self.model.explain else None
        if why is None or why.vehicle == alarm.vehicle:
            return
        alarm.vehicle = why.vehicle
        report = self._written(scored, why, alarm.identity)
        self.say(f"NAMED  alarm {alarm.identity}, score {report.score:.3g}: {report.sentence}")

    def _written(self, scored: ScoredWindow, why: Explanation | None, updates: str | None) -> AlarmReport:
        """Image, clip, then the record, whose files are there when somebody reads of them."""
        identity = f"{self.outbox.count + 1:06d}"
        report = make_report(identity, scored, why, self.threshold, self.rate, self.watch.to_ground)
        report = replace(report, updates=updates)
        image = self.watch.output / IMAGES / f"{identity}.png"
        try:
            scores = self.model.vehicle_scores(scored.window) if self.model.vehicle_scores else {}
            title = f"{report.recording}: score {report.score:.3g}, threshold {self.threshold:.3g}\n{report.sentence}"
            write_alarm_image(image, scored, self.model.grid.renderer, self.threshold, scores, why, title)
            report = replace(report, image=f"{IMAGES}/{identity}.png")
        except OutputError as error:  # the alarm itself matters more
            logger.warning("%s: no image of alarm %s: %s", image, identity, error)
        report = self._with_clip(report)
        self.outbox.add(report.to_json())
        return report

    def _with_clip(self, report: AlarmReport) -> AlarmReport:
        if self.watch.clip is None:
            return report
        path = make_folder(self.watch.output / CLIPS) / f"{report.id}.mp4"
        try:
            written = self.watch.clip(max(0.0, report.t - BEFORE_S), report.t + AFTER_S, path)
        except (OutputError, DataError) as error:
            logger.warning("%s: no clip of alarm %s: %s", path, report.id, error)
            written = False
        return replace(report, clip=f"{CLIPS}/{report.id}.mp4") if written else report


def stated_rate(options: StreamOptions) -> float | None:
    """False alarms an hour that the threshold of a run was set for; None where nobody said."""
    if options.threshold is not None or options.calibrate is not None:
        return None
    if options.calibration is not None:
        return read_calibration(options.calibration, options.method, "rate", as_number, required=False)
    return options.rate
