"""Follows a file of trajectories and scores by standing vehicles, without any model: what `stream_faults` disturbs.

python -m benchmarks.reliability.stream_program INPUT   until it is terminated
"""

import sys
from collections.abc import Sequence

import numpy as np

from d2road.traffic.events.stream_options import StreamOptions
from d2road.traffic.events.stream_session import StreamModel, StreamSession
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.errors import report_errors

STANDING = (255, 0, 255)  # colour of vehicles that stand


def score(windows: Sequence[TrafficWindow]) -> list[tuple[float, np.ndarray]]:
    """Pixels of standing vehicles."""
    heat = [np.all(window.require_image() == STANDING, axis=2).astype(np.float32) for window in windows]
    return [(float(each.sum()), each) for each in heat]


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Follow a stream; returns the exit code."""
    (source,) = sys.argv[1:] if argv is None else argv
    if source == "--help":
        print(__doc__)
        return 0
    grid = WindowGrid(TimeSpaceRenderer(), s_range=(0, 512))
    options = StreamOptions(input=source, config_file="", threshold=50.0, follow=True)
    return StreamSession(options, lambda: StreamModel(grid, score)).run()


if __name__ == "__main__":
    sys.exit(main())
