"""What d2road score-stream prints and writes: lines of alarms, their pictures, the scores of all windows."""

import io
import os
from pathlib import Path

import pandas as pd

from d2road.traffic.events.alarms import WINDOW_COLUMNS, Alarm
from d2road.traffic.events.window_stream import ScoredWindow
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.output_files import atomic_write, make_folder


def clock(t: float) -> str:
    """Seconds as hh:mm:ss.s, days and more as hours."""
    tenths = round(t * 10)
    sign, tenths = ("-", -tenths) if tenths < 0 else ("", tenths)
    return f"{sign}{tenths // 36000:02d}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def alarm_line(scored: ScoredWindow, renderer: TimeSpaceRenderer, threshold: float, picture: Path | None) -> str:
    """The line of an alarm that begins: when and where the map is highest."""
    window, (t, s) = scored.window, scored.place(renderer)
    return (
        f"ALARM  t {clock(t)}  s {s:.0f} m  score {scored.score:.3g} (threshold {threshold:.3g})  window "
        f"{clock(window.t0)}-{clock(window.t1)}, {window.s0:g}-{window.s1:g} m" + (f"  {picture}" if picture else "")
    )


def over_line(alarm: Alarm) -> str:
    """The line of an alarm that is over: no window to come can belong to it."""
    return (
        f"OVER   {clock(alarm.start)}-{clock(alarm.end)}, {alarm.s_low:g}-{alarm.s_high:g} m  {alarm.windows} "
        f"window(s), highest score {alarm.peak:.3g} at {clock(alarm.peak_t0)}"
    )


def write_alarm_picture(path: Path, scored: ScoredWindow, grid: WindowGrid, threshold: float) -> None:
    """The window with axes, its map over it, and a line around what is above the threshold."""
    window = scored.window
    title = f"{window.recording}: score {scored.score:.3g}, threshold {threshold:.3g}"
    figure = plot_time_space(
        window.require_image(), grid.renderer, window.t0, window.s0, grid.lanes, scored.heat, threshold, title=title
    )
    make_folder(path.parent)
    save_figure(figure, path)


class ScoreFile:
    """A CSV file of the scores of windows that grows; what is kept of an earlier run ends where its state does.

    Args:
        path: of the file; another run's is replaced unless this one goes on.
        next_t0: s, of the first window to come; None begins anew.
    """

    COLUMNS = (*WINDOW_COLUMNS, "direction")

    def __init__(self, path: Path, next_t0: float | None):
        self.path = path
        self.rows: list[tuple] = []
        make_folder(path.parent)
        kept = pd.DataFrame(columns=list(self.COLUMNS))
        if next_t0 is not None and path.is_file():
            kept = pd.read_csv(path, dtype={"recording": str})
            kept = kept[kept["t0"] < next_t0 - 1e-6]
        with atomic_write(path, "w") as file:
            kept.to_csv(file, index=False, lineterminator="\n")

    def add(self, row: tuple) -> None:
        """A window's values of COLUMNS."""
        self.rows.append(row)

    def flush(self) -> None:
        """Write what was added, to the disk."""
        if not self.rows:
            return
        text = io.StringIO()
        pd.DataFrame(self.rows, columns=list(self.COLUMNS)).to_csv(text, index=False, header=False, lineterminator="\n")
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        self.rows = []
