"""Traffic without incidents: how many vehicles come, where they are at first, and what slows them down ahead.

| scenario | |
|---|---|
| free | below half of the capacity; speeds as the drivers like |
| dense | near capacity; platoons, and merging that is felt |
| stop_and_go | a bottleneck behind the end of the road lets waves of standing traffic run backwards |
| tunnel | moderate traffic below 100 km/h in which nobody changes lanes |

Congestion is no incident: it is in the good data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from d2road.synthetic.traffic_incidents.drivers import IDM, POPULATIONS, Driver, Population
from d2road.synthetic.traffic_incidents.network import ROUTE, SHOULDER, THREE_LANES, TWO_LANES, Road
from d2road.utils.output_files import write_small

DEMAND_FILE, SIGNS_FILE = "demand.rou.xml", "signs.add.xml"
LEAST_HEADWAY_S = 1.0


@dataclass(frozen=True)
class Scenario:
    """A kind of traffic; pairs are ranges that a recording draws from.

    flow: vehicles an hour and lane that come. ramp: an hour, from the on-ramp. limit: m/s. density: vehicles per km and
    lane that are there at first; None follows from the flow. waves: whether a bottleneck is ahead. warm_up: s before
    anything is recorded. road, population: where, and who drives.
    """

    name: str
    flow: tuple[float, float]
    ramp: tuple[float, float]
    limit: float = 33.3
    density: tuple[float, float] | None = None
    waves: bool = False
    lane_changes: bool = True
    warm_up: float = 60.0
    road: Road = THREE_LANES
    population: Population = POPULATIONS[IDM]

    @property
    def observed(self) -> tuple[float, float]:
        """m; of a tunnel the part in which nobody changes lanes."""
        return self.road.observed if self.lane_changes else self.road.tunnel


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("free", (450, 1000), (100, 300)),
        Scenario("dense", (1250, 1700), (150, 300)),
        Scenario("stop_and_go", (1300, 1600), (150, 350), density=(24, 36), waves=True, warm_up=120.0),
        Scenario("tunnel", (700, 1300), (60, 200), limit=27.8, lane_changes=False),
    )
}


# Roads by name, each with its scenarios: the same kinds of traffic, under other limits.
DEFAULT_ROAD = "three_lanes"
ROADS = {
    DEFAULT_ROAD: SCENARIOS,
    "two_lanes": {
        name: replace(one, road=TWO_LANES, limit=30.6 if one.lane_changes else 22.2)  # 110 and 80 km/h
        for name, one in SCENARIOS.items()
    },
}


def find_scenario(name: str, road: str = DEFAULT_ROAD, drivers: str = IDM) -> Scenario:
    """A scenario on a road of ROADS, with drivers of POPULATIONS."""
    return replace(ROADS[road][name], population=POPULATIONS[drivers])


@dataclass(frozen=True)
class Start:
    """A vehicle that comes: at a time (s), to a lane; at s (m) where it is there from the beginning."""

    time: float
    driver: Driver
    lane: str
    ramp: bool = False
    s: float | None = None
    speed: float = 0.0


@dataclass(frozen=True)
class Demand:
    """All vehicles of a recording in order of time, and the speeds (time s, m/s) that the bottleneck's signs show."""

    drivers: list[Driver]
    starts: list[Start]
    signs: list[tuple[float, float]]


def sample_demand(rng: np.random.Generator, scenario: Scenario, duration: float) -> Demand:
    """Draw the traffic of a recording of so many seconds, warm-up included."""
    drivers, lanes = scenario.population.sample(rng), scenario.road.lanes
    flow, ramp = rng.uniform(*scenario.flow), rng.uniform(*scenario.ramp)
    starts = [start for lane in lanes for start in _first_ones(rng, scenario, drivers, lane, flow)]
    for lane in lanes:
        # The left lane carries a bit more than the right one, which the ramp fills.
        share = {lanes[0]: 0.8, lanes[-1]: 1.1}.get(lane, 1.0)
        starts += arrivals(rng, scenario, drivers, lane, flow * share, duration)
    starts += arrivals(rng, scenario, drivers, SHOULDER, ramp, duration)
    signs = sample_signs(rng, duration) if scenario.waves else []
    return Demand(drivers, sorted(starts, key=lambda start: (start.time, start.lane, -(start.s or 0.0))), signs)


def _first_ones(
    rng: np.random.Generator, scenario: Scenario, drivers: Sequence[Driver], lane: str, flow: float
) -> list[Start]:
    """Vehicles of a lane that are on the road at the beginning, at the speed that fits their distances."""
    speed = 0.85 * scenario.limit
    density = rng.uniform(*scenario.density) if scenario.density else flow / 3.6 / speed
    spacing = 1000 / density
    starts: list[Start] = []
    s = scenario.road.edges["tail"][1] - 20.0
    while s > 60.0:
        driver = scenario.population.pick(rng, drivers, lane, scenario.road.lanes)
        # A bit below what SUMO's rounding would refuse.
        wanted = min(driver.desired_speed(scenario.limit), speed) - 0.1
        own = max((spacing - driver.length - driver.gap) / (1.3 * driver.headway), 1.0) if scenario.density else wanted
        starts.append(Start(0.0, driver, lane, s=s, speed=min(own, wanted)))
        least = driver.length + driver.gap + min(own, wanted) * driver.headway
        # The mean distance is the spacing; no gap is closer than what its driver can bear.
        s -= least + rng.exponential(max(spacing - least, 1.0))
    return starts


def arrivals(
    rng: np.random.Generator,
    scenario: Scenario,
    drivers: Sequence[Driver],
    lane: str,
    flow: float,
    duration: float,
    begin: float = 0.0,
) -> list[Start]:
    """Vehicles that come to a lane, or from the ramp, within some seconds: a Poisson process with a least time gap."""
    starts: list[Start] = []
    time = begin
    while True:
        time += LEAST_HEADWAY_S + rng.exponential(max(3600 / flow - LEAST_HEADWAY_S, 0.1))
        if time >= begin + duration:
            return starts
        driver = scenario.population.pick(rng, drivers, lane, scenario.road.lanes)
        starts.append(Start(round(time, 1), driver, lane, ramp=lane == SHOULDER))


def sample_signs(rng: np.random.Generator, duration: float) -> list[tuple[float, float]]:
    """Speeds ahead of the road: slow spells, some of them nearly a halt, between faster ones."""
    times, speeds = [0.0], [float(rng.uniform(4.0, 8.0))]
    while times[-1] < duration:
        for low, high, spell in ((0.6, 5.0, rng.uniform(5, 25)), (10.0, 22.0, rng.uniform(25, 60))):
            # Down or up within some seconds, as the rear of a queue does, then steady.
            speed = float(rng.uniform(low, high))
            times += [times[-1] + rng.uniform(8, 15), times[-1] + 15 + spell]
            speeds += [speed, speed]
    return [(float(time), float(np.interp(time, times, speeds))) for time in range(int(duration) + 1)]


def write_demand(folder: Path, demand: Demand, road: Road = THREE_LANES) -> list[str]:
    """Write SUMO's files of the traffic into a folder.

    Returns:
        words of SUMO's command line that name them.
    """
    lines = [driver.xml() for driver in demand.drivers]
    lines += [f'  <route id="from_{name}" edges="{" ".join(ROUTE[i:])}"/>' for i, name in enumerate(ROUTE)]
    lines.append(f'  <route id="from_ramp" edges="ramp {" ".join(ROUTE[1:])}"/>')
    lines += [_vehicle(number, start, road) for number, start in enumerate(demand.starts)]
    write_small(folder / DEMAND_FILE, "\n".join(["<routes>", *lines, "</routes>", ""]))
    words = ["--route-files", DEMAND_FILE]
    if demand.signs:
        lanes = " ".join(f"tail_{lane}" for lane in road.lanes)
        steps = "".join(f'<step time="{time:g}" speed="{speed:.2f}"/>' for time, speed in demand.signs)
        text = f'<additional><variableSpeedSign id="ahead" lanes="{lanes}">{steps}</variableSpeedSign></additional>\n'
        write_small(folder / SIGNS_FILE, text)
        words += ["--additional-files", SIGNS_FILE]
    return words


def _vehicle(number: int, start: Start, road: Road) -> str:
    edge, pos = ("ramp" if start.ramp else "up", None) if start.s is None else road.edge_at(start.s)
    if pos is None:
        place = 'departPos="base" departSpeed="max"'
    else:
        place = f'departPos="{pos:.2f}" departSpeed="{start.speed:.2f}" insertionChecks="none"'
    return (
        f'  <vehicle id="{number}" type="{start.driver.name}" route="from_{edge}" depart="{start.time:g}" '
        f'departLane="{start.lane}" {place}/>'
    )
