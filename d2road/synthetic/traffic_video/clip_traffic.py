"""The traffic of a clip: SUMO drives ten steps a second, with lane changes that take seconds, and something may happen.

SUMO's sublane model moves vehicles sideways within bounds of speed and acceleration, so nobody jumps from lane to lane,
and its vehicles turn with their motion. Steps are ballistic: positions are the integral of the speeds.
"""

import gzip
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.control import STEP_S, SumoRoad
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS, Incident, IncidentScene
from d2road.synthetic.traffic_incidents.network import THREE_LANES, write_network
from d2road.synthetic.traffic_incidents.scenarios import Scenario, find_scenario, sample_demand, write_demand
from d2road.synthetic.traffic_incidents.simulate import LONGEST_S
from d2road.synthetic.traffic_video.vehicle_sizes import VehicleModel, sized_population, vehicle_models
from d2road.utils.output_files import atomic_write

# What is filmed lies behind the acceleration lane, so incidents happen from here on.
ROAD = replace(THREE_LANES, observed=(720.0, 1434.0))
LEAD = (0.1, 0.25)  # of a clip before its incident
EMPTY = (0.5, 1.0)  # vehicles an hour and lane
FCD_FILE = "fcd.xml"
ATTRIBUTES = "x,y,angle,type,lane,speed,pos,acceleration"


@dataclass(frozen=True)
class ClipTraffic:
    """What was driven in a clip.

    table: a row an instant and vehicle: frame, t (s of the clip), vehicle, driver, x, y (m, middle of its front on
    SUMO's map), heading_rad (from +x towards +y), speed (m/s), lane, s (m). start_s: SUMO's time at the first frame.
    models: vehicles by driver. incident: None without one; its times are SUMO's. fcd: SUMO's own file. frames: of the
    clip; the table has one more before and after them.
    """

    table: pd.DataFrame
    start_s: float
    models: dict[str, VehicleModel]
    incident: Incident | None
    collisions: int
    fcd: Path
    frames: int


def clip_scenario(name: str, limit: float, sizes: str) -> Scenario:
    """A kind of traffic of traffic_incidents, or "empty", with a limit in m/s and vehicles of a set of sizes."""
    one = replace(find_scenario("free"), flow=EMPTY, ramp=EMPTY) if name == "empty" else find_scenario(name)
    return replace(one, road=ROAD, limit=limit, population=sized_population("idm", sizes))


def drive(
    folder: Path, scenario: Scenario, rng: np.random.Generator, seconds: float, kind: str = "", severity: str = "mild"
) -> ClipTraffic:
    """Let SUMO drive; `folder` is for its files.

    Args:
        seconds: of the clip.
        kind, severity: of the incident, which begins some seconds after the clip; "" for none.
    Raises:
        NotPossibleError: the traffic that was drawn does not allow the incident.
        FileNotFoundError: SUMO is not installed.
        RuntimeError: SUMO fails.
    """
    latest = scenario.warm_up + LEAD[1] * seconds + LONGEST_S + seconds
    net = write_network(folder, scenario.road, scenario.limit, scenario.lane_changes)
    demand = sample_demand(rng, scenario, latest)
    words = ["--net-file", net.name, *write_demand(folder, demand, scenario.road), *_words(scenario.warm_up - 1)]
    words += ["--seed", str(int(rng.integers(2**31 - 1)))]
    incident, start = None, scenario.warm_up
    if kind:
        act_rng, lead = np.random.default_rng(rng.integers(2**63)), round(float(rng.uniform(*LEAD)) * seconds, 1)
        with sumo.controlled(words, folder) as connection:
            road = SumoRoad(connection, scenario.road, latest, sublanes=True)
            road.advance(scenario.warm_up + lead)
            # A ghost driver comes on the hard shoulder, as in a jam: in a lane it would have to jump aside.
            scene = IncidentScene(road, act_rng, replace(scenario, waves=scenario.waves or kind == "wrong_way"))
            incident = INCIDENT_KINDS[kind].happen(scene, severity)
            start = round(incident.onset - lead, 1)
            road.advance(max(start + seconds - road.time, 0.0) + 1)
    else:
        try:
            sumo.run_program("sumo", [*words, "--end", f"{start + seconds + 1:g}"], folder)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"SUMO stopped: {error.stderr.strip() or error}") from error
    table = read_fcd(folder / FCD_FILE, start, seconds)
    log = folder / "log.txt"
    collisions = log.read_text().count("collision with") if log.is_file() else 0
    return ClipTraffic(
        table, start, vehicle_models(demand.drivers), incident, collisions, folder / FCD_FILE, round(seconds / STEP_S)
    )


def _words(begin: float) -> list[str]:
    """Words of SUMO's command line."""
    return [
        *("--step-length", f"{STEP_S:g}", "--step-method.ballistic", "--lateral-resolution", "0.8"),
        *("--precision", "4", "--log", "log.txt", "--no-step-log"),
        *("--fcd-output", FCD_FILE, "--fcd-output.attributes", ATTRIBUTES, "--device.fcd.begin", f"{begin:g}"),
        *("--time-to-teleport", "-1", "--collision.action", "warn", "--max-depart-delay", "20"),
    ]


def read_fcd(path: Path, start: float, seconds: float) -> pd.DataFrame:
    """The rows of a clip of SUMO's FCD, as `ClipTraffic.table` has them; one frame more at either end.

    Raises:
        RuntimeError: the file does not hold so many seconds.
    """
    frames, found = round(seconds / STEP_S), 0
    # A long jam has millions of rows: numbers as such, and every name once.
    numbers: dict[str, array] = {name: array("d") for name in ("x", "y", "heading_rad", "speed", "s")}
    names: dict[str, list[str]] = {name: [] for name in ("vehicle", "driver", "lane")}
    instants = array("q")
    for time, vehicles in _timesteps(path):
        frame = round((time - start) / STEP_S)
        if not -1 <= frame <= frames:
            continue
        found += 1
        for vehicle in vehicles:
            instants.append(frame)
            for name, value in _row(vehicle).items():
                if isinstance(value, str):
                    names[name].append(sys.intern(value))
                else:
                    numbers[name].append(value)
    if found < frames + 1:
        raise RuntimeError(f"SUMO wrote {found} of {frames + 2} instants of the clip")
    columns: dict[str, Any] = {"frame": np.array(instants, np.int64)}
    columns |= {name: np.array(values, object) for name, values in names.items()}
    table = pd.DataFrame(columns | {name: np.array(values, np.float64) for name, values in numbers.items()})
    table = table[["frame", "vehicle", "driver", "x", "y", "heading_rad", "speed", "lane", "s"]]
    table.insert(1, "t", (table["frame"] * STEP_S).round(1))
    return table


def _timesteps(path: Path) -> Iterator[tuple[float, list[ElementTree.Element]]]:
    for _, element in ElementTree.iterparse(path):
        if element.tag == "timestep":
            yield float(element.get("time", "nan")), list(element)
            element.clear()


def _row(vehicle: ElementTree.Element) -> dict[str, str | float]:
    edge, _, lane = vehicle.get("lane", "").rpartition("_")
    x, y, angle, speed, pos = (float(vehicle.get(name, "nan")) for name in ("x", "y", "angle", "speed", "pos"))
    # Over TraCI a vehicle of which something was changed has a type of its own, "car.3@17".
    driver = vehicle.get("type", "").partition("@")[0]
    heading = float(np.deg2rad((90.0 - angle + 180.0) % 360.0 - 180.0))
    s = ROAD.edges[edge][0] + pos if edge in ROAD.edges else np.nan
    name = vehicle.get("id", "")
    return {
        "vehicle": name, "driver": driver, "x": x, "y": y, "heading_rad": heading, "speed": speed, "lane": lane, "s": s
    }  # fmt: skip


def pack_fcd(source: Path, target: Path, start: float, seconds: float) -> None:
    """Copy the instants of a clip of SUMO's FCD, as SUMO wrote them, into a packed file.

    SUMO's remarks, which have the time of day, are left out.
    """
    with (
        open(source, encoding="utf-8") as lines,
        atomic_write(target) as file,
        # Without a time in its header the same content gives the same bytes.
        gzip.GzipFile("", "wb", 1, file, mtime=0) as packed,
    ):
        keeps = False
        for line in lines:
            found = re.search(r'<timestep time="([\d.]+)"', line)
            if found:
                keeps = start - 0.05 <= float(found[1]) <= start + seconds - STEP_S + 0.05
            if keeps or line.lstrip().startswith(("<?xml", "<fcd-export", "</fcd-export")):
                packed.write(line.encode())
