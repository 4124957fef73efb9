"""A long file of FCD, of one carriageway over a day, as SUMO writes it: good traffic to check a stream with.

Few vehicles by night, rush hours with stop-and-go in the morning and the afternoon. SUMO writes the file while it
drives, so memory does not grow with its length.
"""

import os
import re
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.drivers import IDM
from d2road.synthetic.traffic_incidents.network import SHOULDER, write_network
from d2road.synthetic.traffic_incidents.scenarios import (
    DEFAULT_ROAD,
    Demand,
    Scenario,
    Start,
    arrivals,
    find_scenario,
    sample_signs,
    write_demand,
)
from d2road.synthetic.traffic_incidents.simulate import EDGES_FILE, fcd_words, write_edges
from d2road.utils.errors import ConfigError

# Vehicles an hour and lane, by the hour of the day; between full hours it is linear.
FLOWS = (
    120, 80, 60, 60, 100, 350, 900, 1400, 1400, 1050, 900, 850,
    850, 900, 950, 1100, 1450, 1450, 1150, 800, 600, 400, 250, 160,
)  # fmt: skip
RUSH_H = ((7.0, 8.5), (16.0, 17.75))
RAMP_SHARE = 0.2  # of the flow of a lane
PIECE_S = 300.0  # of constant flow
SUFFIXES = (".csv", ".xml", ".csv.gz", ".xml.gz")
EVERY_S = 5.0


def make_day(path: str | Path, hours: float = 24.0, seed: int = 0, road: str = DEFAULT_ROAD, drivers: str = IDM) -> str:
    """Write the file; takes its name when it is complete.

    Args:
        path: .csv or .xml, or .gz of both.
        hours: from midnight on; after 24 the day begins again.
        seed: >= 0; decides everything.
        road, drivers: of scenarios.ROADS and drivers.POPULATIONS.
    Returns:
        what there is now, in words.
    Raises:
        ValueError: another suffix, a negative seed or no hours.
        FileNotFoundError: SUMO is not installed, or no such folder.
        RuntimeError: SUMO fails.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"--day {path}: the file has to end in one of {', '.join(SUFFIXES)}")
    if not hours > 0 or seed < 0:
        raise ConfigError(f"--day-hours is {hours:g} and --seed {seed}: expected more than 0 hours and 0 or more")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder: create it before writing {path.name}")
    end, traffic = round(hours * 3600, 1), find_scenario("free", road, drivers)
    # In the same folder, for it may be large, and taking its name must not copy it.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        work = Path(folder)
        net = write_network(work, traffic.road, traffic.limit)
        demand = sample_day(np.random.default_rng(np.random.SeedSequence([seed, 24])), end, traffic)
        write_edges(work / EDGES_FILE)
        output = "day" + "".join(path.suffixes[-2:] if path.name.endswith(".gz") else path.suffixes[-1:])
        words = ["--net-file", net.name, *write_demand(work, demand, traffic.road)]
        words += fcd_words(output, 0.0, quiet=False)
        _drive(work, [*words, "--end", f"{end:g}", "--seed", str(seed), "--step-log.period", "3000"], end)
        os.replace(work / output, path)
    size = path.stat().st_size / 1e6
    edges = traffic.road.fcd_edges.replace(" ", "")
    return f"{path} holds {hours:g} h, {size:.0f} MB; read it as fcd:{path}?edges={edges}"


def sample_day(rng: np.random.Generator, end: float, traffic: Scenario) -> Demand:
    """The traffic from midnight to `end` in s, and the signs ahead of it; traffic: road, drivers and limit."""
    drivers = traffic.population.sample(rng)
    starts: list[Start] = []
    for begin in np.arange(0.0, end, PIECE_S):
        flow = float(np.interp((begin + PIECE_S / 2) / 3600 % 24, np.arange(25), (*FLOWS, FLOWS[0])))
        for lane in (*traffic.road.lanes, SHOULDER):
            own = flow * (RAMP_SHARE if lane == SHOULDER else 1.0)
            starts += arrivals(rng, traffic, drivers, lane, own, min(PIECE_S, end - begin), begin)
    starts.sort(key=lambda start: (start.time, start.lane))
    rush = [(day * 24 + low, day * 24 + high) for day in range(int(end // 86400) + 1) for low, high in RUSH_H]
    signs = [(0.0, traffic.limit)]
    for low, high in rush:
        if low * 3600 < end:
            signs += [(low * 3600 + t, speed) for t, speed in sample_signs(rng, (high - low) * 3600)]
            signs.append((high * 3600 + 1, traffic.limit))
    return Demand(drivers, starts, signs)


def _drive(folder: Path, words: list[str], end: float) -> None:
    """Run SUMO to its end and say how far it is."""
    command = [str(sumo.program_path("sumo")), *words]
    began = last = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=sumo.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            # Its line of progress ends in a carriage return, which Python reads as the end of a line.
            assert process.stdout is not None
            for line in process.stdout:
                found = re.match(r"Step #([\d.]+)", line)
                now = time.monotonic()
                if found and now - last >= EVERY_S and float(found[1]) > 0:
                    done, last = float(found[1]), now
                    left = timedelta(seconds=round((end - done) / done * (now - began)))
                    print(f"simulate {done:.0f}/{end:.0f} s, {done / (now - began):.0f} times real time, eta {left}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        log = folder / "log.txt"
        raise RuntimeError(f"SUMO stopped: {log.read_text()[-500:].strip() if log.is_file() else 'it says nothing'}")
