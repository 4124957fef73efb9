"""One recording: SUMO drives, something happens or nothing, and what it writes becomes a table.

A recording depends on its seed alone. An incident's recording is driven twice, with and without the incident, from the
same seed: what differs is what the incident has caused.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.control import STEP_S, SumoRoad
from d2road.synthetic.traffic_incidents.drivers import WIDTHS_M, Driver
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS, Incident, IncidentScene
from d2road.synthetic.traffic_incidents.network import OBSERVED_EDGES, write_network
from d2road.synthetic.traffic_incidents.scenarios import Demand, Scenario, sample_demand, write_demand
from d2road.traffic.readers import open_trajectories
from d2road.traffic.table import Trajectories
from d2road.utils.output_files import write_small

BEFORE_S = 40.0  # of good traffic, more than an image
AFTER_S = 40.0
LONGEST_S = 260.0  # an incident and the wait for it
FCD_FILE, EDGES_FILE, LOG_FILE = "fcd.csv", "observed.txt", "log.txt"
FCD_COLUMNS = "id,type,lane,speed,pos,acceleration"


@dataclass(frozen=True)
class SimulatedRecording:
    """What was simulated: true positions, without noise.

    table: what was observed. incident: None in good traffic. without: the same traffic without the incident, None in
    good traffic and where nobody asked for it. start, end: s. collisions: how many SUMO counted. fcd: its file.
    """

    scenario: Scenario
    table: Trajectories
    start: float
    end: float
    collisions: int
    fcd: Path
    incident: Incident | None = None
    without: Trajectories | None = None


def simulate_good(
    folder: Path, scenario: Scenario, rng: np.random.Generator, seconds: float, period: float = STEP_S
) -> SimulatedRecording:
    """So many seconds of good traffic, after a warm-up; `folder` is for SUMO's files.

    Args:
        period: s from a sample of the table to the next; the traffic is the same.
    Raises:
        FileNotFoundError: SUMO is not installed.
        RuntimeError: SUMO fails.
    """
    end = scenario.warm_up + seconds
    demand, words = _prepare(folder, scenario, rng, end)
    more = [] if period == STEP_S else ["--device.fcd.period", f"{period:g}"]
    _drive(folder, [*words, *more, "--end", f"{end:g}"])
    table = read_observed(folder / FCD_FILE, demand.drivers, scenario)
    return SimulatedRecording(scenario, table, scenario.warm_up, end, _collisions(folder), folder / FCD_FILE)


def simulate_incident(
    folder: Path, scenario: Scenario, rng: np.random.Generator, kind: str, severity: str, twin: bool = True
) -> SimulatedRecording:
    """Good traffic in which something happens after a while.

    Args:
        twin: drive the same traffic without the incident too; False leaves `without` None.
    Raises:
        NotPossibleError: the traffic that was drawn does not allow it.
        FileNotFoundError, RuntimeError: as `simulate_good`.
    """
    latest = scenario.warm_up + BEFORE_S + LONGEST_S
    demand, words = _prepare(folder, scenario, rng, latest)
    act_rng = np.random.default_rng(rng.integers(2**63))
    with sumo.controlled(words, folder) as connection:
        road = SumoRoad(connection, scenario.road, latest)
        road.advance(scenario.warm_up + BEFORE_S)
        incident = INCIDENT_KINDS[kind].happen(IncidentScene(road, act_rng, scenario), severity)
        road.advance(AFTER_S)
    collisions = _collisions(folder)
    table = read_observed(folder / FCD_FILE, demand.drivers, scenario)
    actual = folder / f"actual_{FCD_FILE}"
    shutil.move(folder / FCD_FILE, actual)
    without = None
    if twin:
        _drive(folder, [*words, "--end", f"{road.time:g}"])
        without = read_observed(folder / FCD_FILE, demand.drivers, scenario)
    return SimulatedRecording(scenario, table, scenario.warm_up, road.time, collisions, actual, incident, without)


def _prepare(folder: Path, scenario: Scenario, rng: np.random.Generator, end: float) -> tuple[Demand, list[str]]:
    """Write SUMO's input; returns the traffic and words of its command line."""
    net = write_network(folder, scenario.road, scenario.limit, scenario.lane_changes)
    demand = sample_demand(rng, scenario, end)
    write_edges(folder / EDGES_FILE)
    words = ["--net-file", net.name, *write_demand(folder, demand, scenario.road)]
    words += fcd_words(FCD_FILE, scenario.warm_up)
    return demand, [*words, "--seed", str(int(rng.integers(2**31 - 1)))]


def write_edges(path: Path) -> None:
    """Write the list of edges that FCD is recorded of."""
    write_small(path, "".join(f"edge:{name}\n" for name in OBSERVED_EDGES))


def fcd_words(name: str, begin: float, quiet: bool = True) -> list[str]:
    """Words of SUMO's command line: steps of 0.1 s, and FCD of what is observed, from an instant (s) on."""
    return [
        *("--step-length", f"{STEP_S:g}", "--precision", "2", "--log", LOG_FILE, *(["--no-step-log"] if quiet else [])),
        *("--fcd-output", name, "--fcd-output.attributes", FCD_COLUMNS, "--device.fcd.begin", f"{begin:g}"),
        *("--fcd-output.filter-edges.input-file", EDGES_FILE),
        # Nobody vanishes: neither who waits long nor who collides. Who finds no room to enter stays at home.
        *("--time-to-teleport", "-1", "--collision.action", "warn", "--max-depart-delay", "20"),
    ]


def _drive(folder: Path, words: Sequence[str]) -> None:
    try:
        sumo.run_program("sumo", words, folder)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"SUMO stopped: {error.stderr.strip() or error}") from error


def read_observed(path: Path, drivers: Sequence[Driver], scenario: Scenario) -> Trajectories:
    """The table of a file of FCD, of what is observed, with the drivers' lengths and widths; the margin is a lane."""
    lengths = ", ".join(f"{driver.name}:{driver.length:g}" for driver in drivers)
    # Over TraCI vehicles move backwards with their bodies as the lane leads.
    road = scenario.road
    source = open_trajectories(f"fcd:{path}", edges=road.fcd_edges, recording="true", lengths=lengths, body="lane")
    frame = source.table().frame
    low, high = scenario.observed
    s = frame["s"].to_numpy()
    frame = frame[(s >= low) & (s <= high)].reset_index(drop=True)
    names = frame["cls"].cat.categories
    # A vehicle of which something was changed over TraCI has a type of its own, "car.3@17".
    of_name = {driver.name: driver for driver in drivers}
    mine = [of_name[name.partition("@")[0]] for name in names]
    codes = frame["cls"].cat.codes.to_numpy()
    lanes = frame["lane"].astype(object)
    frame = frame.assign(
        lane=lanes.where(lanes != road.margin, road.lanes[-1]),
        cls=np.array([driver.cls for driver in mine])[codes],
        length=np.array([driver.length for driver in mine])[codes],
        width=np.array([WIDTHS_M[driver.cls] for driver in mine])[codes],
    )
    return Trajectories.from_frame(frame)


def _collisions(folder: Path) -> int:
    log = folder / LOG_FILE
    return log.read_text().count("collision with") if log.is_file() else 0
