"""What d2road score-stream prints and writes: lines of alarms, their pictures, the scores of all windows."""

import csv
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.events.alarms import WINDOW_COLUMNS, Alarm
from d2road.traffic.events.drift_watch import DriftReport
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text
from d2road.utils.output_files import append_text, atomic_write, make_folder

logger = logging.getLogger(__name__)


def clock(t: float) -> str:
    """Seconds as hh:mm:ss.s, days and more as hours."""
    tenths = round(t * 10)
    sign, tenths = ("-", -tenths) if tenths < 0 else ("", tenths)
    return f"{sign}{tenths // 36000:02d}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def alarm_line(
    scored: ScoredWindow,
    renderer: TimeSpaceRenderer,
    threshold: float,
    picture: Path | None,
    why: Explanation | None = None,
) -> str:
    """The line of an alarm that begins: when and where the map is highest, or where the vehicle is that it names."""
    window, (t, s) = scored.window, (why.t, why.s) if why else scored.place(renderer)
    more = "".join(f"  {one}" for one in (why, picture) if one)
    return (
        f"ALARM  t {clock(t)}  s {s:.0f} m  score {scored.score:.3g} (threshold {threshold:.3g})  window "
        f"{clock(window.t0)}-{clock(window.t1)}, {window.s0:g}-{window.s1:g} m{more}"
    )


def over_line(alarm: Alarm) -> str:
    """The line of an alarm that is over: no window to come can belong to it."""
    return (
        f"OVER   {clock(alarm.start)}-{clock(alarm.end)}, {alarm.s_low:g}-{alarm.s_high:g} m  {alarm.windows} "
        f"window(s), highest score {alarm.peak:.3g} at {clock(alarm.peak_t0)}"
    )


def drift_line(report: DriftReport) -> str:
    """The line that says that traffic no longer looks like that of the calibration, and what to do."""
    return f"DRIFT  t {clock(report.t)}  {report}"


def write_alarm_picture(
    path: Path, scored: ScoredWindow, grid: WindowGrid, threshold: float, why: Explanation | None = None
) -> None:
    """The window with axes, its map over it and a line around what is above the threshold, or a ring at a vehicle.

    Of a vehicle beyond the stretch of the window, where rules watch it too, the road around it is drawn instead.
    """
    window, renderer, s0 = scored.window, grid.renderer, scored.window.s0
    if why and scored.heat is None and not s0 <= why.s < window.s1:
        s0 = why.s - renderer.stretch / 2
    image = window.image
    if image is None or s0 != window.s0:
        image = renderer.render(window.table, window.t0, s0, window.direction, grid.lanes)
    title = f"{window.recording}: score {scored.score:.3g}, threshold {threshold:.3g}" + (f"\n{why}" if why else "")
    figure = plot_time_space(image, renderer, window.t0, s0, grid.lanes, scored.heat, threshold, title=title)
    if why and renderer.lane_layout == "overlay":
        figure.axes[0].plot(why.t, why.s, "o", markersize=24, markerfacecolor="none", markeredgecolor="tab:red")
    make_folder(path.parent)
    save_figure(figure, path)


class ScoreFile:
    """A CSV file of the scores of windows that grows; what is kept of an earlier run ends where its state does.

    Args:
        path: of the file; another run's is replaced unless this one goes on.
        goes_on: whether this run goes on with a recording, of whose windows those before `next_t0` (s) are kept, None:
            none. Windows of other recordings are kept.
        drift: whether rows hold the evidence of drift too; a file of an earlier version goes on without it.
    Raises:
        DataError: the file to go on with is no such file.
        OutputError: it cannot be written.
    """

    COLUMNS = (*WINDOW_COLUMNS, "direction")
    DRIFT = "drift"

    def __init__(
        self,
        path: Path,
        goes_on: bool = False,
        recording: str = "",
        next_t0: float | None = None,
        drift: bool = False,
    ):
        self.path = path
        self.columns: tuple[str, ...] = (*self.COLUMNS, self.DRIFT) if drift else self.COLUMNS
        self.rows: list[tuple] = []
        make_folder(path.parent)
        kept = []
        if goes_on and path.is_file():
            end = -math.inf if next_t0 is None else next_t0 - 1e-6
            kept += [line for line, name, t0 in self._lines() if t0 < end or (recording and name != recording)]
        elif goes_on:
            logger.warning("%s is not there: it begins with the windows to come, those before are not in it", path)
        with atomic_write(path, "w") as file:
            file.write("\n".join([",".join(self.columns), *kept, ""]))

    def _lines(self) -> Iterator[tuple[str, str, float]]:
        """Each row with its recording and t0 (s), checked; a last line without its end was cut off and is left out."""
        cure = "Name another --scores, or delete it and the state to begin anew"
        text = read_text(self.path, "scores", None)
        lines = text.replace("\r\n", "\n").split("\n")[:-1]
        header = tuple(lines[0].split(",")) if lines else ()
        if header in (self.COLUMNS, (*self.COLUMNS, self.DRIFT)):
            self.columns = header
        else:
            found = repr(lines[0][:80]) if lines else "nothing"
            raise DataError(
                f"scores {self.path} begins with {found}, expected {','.join(self.COLUMNS)}: no scores of a stream. "
                f"{cure}"
            )
        for number, line in enumerate(lines[1:], 2):
            source = f"scores {self.path}, line {number}"
            row = next(csv.reader([line]), [])
            if len(row) != len(self.columns):
                raise DataError(f"{source} has {len(row)} values, expected {len(self.columns)}. {cure}")
            numbers = [_number(value) for value in row[1:]]
            for name, value in zip(self.columns[1:], numbers):
                if not math.isfinite(value) or (name == "direction" and value not in (-1, 1)):
                    bad = row[self.columns.index(name)]
                    raise DataError(f"{source}: {name} is {bad!r}, expected a finite number. {cure}")
            yield line, row[0], numbers[0]

    def add(self, row: tuple, drift: float | None = None) -> None:
        """A window's values of COLUMNS, and the evidence of drift where the file has it."""
        self.rows.append((*row, drift) if self.DRIFT in self.columns else row)

    def flush(self) -> None:
        """Write what was added, to the disk.

        Raises:
            OutputError: it cannot be written; the rows are kept for another time.
        """
        if not self.rows:
            return
        text = io.StringIO()
        pd.DataFrame(self.rows, columns=list(self.columns)).to_csv(text, index=False, header=False, lineterminator="\n")
        append_text(self.path, text.getvalue())
        self.rows = []


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
