"""The rarest driving in a recording, by rules fitted to good traffic: python examples/find_incidents.py GOOD TRAFFIC

Both are READER:PATH?OPTIONS, such as "fcd:fcd.xml?edges=main:0" (docs/trajectories.md).
"""

import sys
from collections.abc import Iterator

from d2road.traffic.baselines.lasting_rules import LastingRules
from d2road.traffic.readers import open_trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid


def windows(source: str) -> Iterator[TrafficWindow]:
    """Windows of a recording, 12.8 s apart, read as a stream."""
    grid = WindowGrid(TimeSpaceRenderer(lane_layout="overlay"), stride=12.8)
    for window in grid.over(open_trajectories(source).chunks(seconds=60)):
        yield TrafficWindow.unrendered(window, grid.renderer)


def main(good: str, traffic: str, most: int = 5) -> list[tuple[float, str]]:
    """Print score, place, vehicle and what it does, rarest window first; returns scores and vehicles."""
    rules = LastingRules().fit(windows(good))
    scored = [(float(rules.scores([window])[0]), rules.explain(window)) for window in windows(traffic)]
    rarest = sorted(((score, why) for score, why in scored if why), key=lambda one: -one[0])[:most]
    for score, why in rarest:
        print(f"score {score:.1f}  t {why.t:.0f} s  s {why.s:.0f} m  {why}")
    return [(score, why.vehicle) for score, why in rarest]


if __name__ == "__main__":
    main(*sys.argv[1:])
