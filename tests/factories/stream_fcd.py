"""Made-up FCD in which a vehicle stands for half a minute, and a score that sees it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid

DURATION_S = 150
GRID = WindowGrid(TimeSpaceRenderer(), s_range=(0, 512))
STOPPED = range(60, 90)  # s at which a vehicle stands at 300 m


def write_fcd(path: Path, seconds: int = DURATION_S, end: bool = True) -> str:
    """Vehicles every 3 s at 25 m/s on 600 m, 2 Hz; returns the text."""
    lines = ["<fcd-export>"]
    for step in range(2 * seconds):
        t = step / 2
        lines.append(f'  <timestep time="{t:.2f}">')
        for number in range(int(t // 3) + 1):
            s = 25 * (t - 3 * number)
            if s < 600:
                lines.append(
                    f'    <vehicle id="v{number}" x="{s}" y="0" type="car" speed="25" pos="{s:.2f}" lane="m_0"/>'
                )
        if int(t) in STOPPED:
            lines.append('    <vehicle id="x" x="0" y="0" type="car" speed="0" pos="300.00" lane="m_0"/>')
        lines.append("  </timestep>")
    text = "\n".join([*lines, "</fcd-export>" if end else "", ""])
    path.write_text(text)
    return text


def magenta(windows: Sequence[TrafficWindow]) -> list[tuple[float, np.ndarray]]:
    """Standing vehicles are magenta: their pixels as a map, their number as the score."""
    heat = [np.all(w.require_image() == (255, 0, 255), axis=2).astype(np.float32) for w in windows]
    return [(float(h.sum()), h) for h in heat]
