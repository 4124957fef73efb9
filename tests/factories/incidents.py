"""A recording with and without an incident that no simulator made: steady vehicles, one of which stops."""

from pathlib import Path

import numpy as np
import pandas as pd

from d2road.synthetic.traffic_incidents.incident_kinds import Incident
from d2road.synthetic.traffic_incidents.scenarios import SCENARIOS, Scenario
from d2road.synthetic.traffic_incidents.simulate import SimulatedRecording
from d2road.traffic.table import Trajectories

SPEED, START_S, END_S, ONSET, STOP_S = 25.0, 60.0, 160.0, 100.0, 20.0
CULPRIT, FOLLOWER = "7", "8"


def steady(lane: int, number: int, times: np.ndarray) -> pd.DataFrame:
    """A vehicle at SPEED that passes s = 410 at a time of its own, as long as it is observed."""
    s = 410 + SPEED * (times - (40 + 6 * number + 2 * lane))
    frame = pd.DataFrame({"t": times, "s": s, "speed": SPEED, "acceleration": 0.0, "lane": str(lane)})
    return frame.assign(vehicle=f"{number}" if lane == 2 else f"{lane}.{number}")


def traffic(incident: bool) -> Trajectories:
    """Three lanes; with an incident, vehicle 7 of the middle lane stands from ONSET on, and 8 stands behind it."""
    times = np.round(np.arange(START_S * 10, END_S * 10 + 1) / 10, 1)
    frames = [steady(lane, number, times) for lane in (1, 2, 3) for number in range(18)]
    for frame in frames if incident else ():
        name = frame["vehicle"].iloc[0]
        if name in (CULPRIT, FOLLOWER):
            onset = ONSET if name == CULPRIT else ONSET + 4.0
            gone = np.clip(times - onset, 0, STOP_S)
            frame["s"] -= SPEED * gone
            frame.loc[(times >= onset) & (times < onset + STOP_S), "speed"] = 0.0
    frame = pd.concat(frames)
    frame = frame[(frame["s"] >= 410) & (frame["s"] <= 1434)]
    columns = {"recording": "true", "cls": "car", "direction": 1, "length": 4.5, "width": 1.8}
    return Trajectories.from_frame(frame.assign(**columns))


def recording(folder: Path, scenario: Scenario | None = None, seconds: float | None = None) -> SimulatedRecording:
    """The traffic as a recording of good traffic."""
    folder.mkdir(parents=True, exist_ok=True)
    fcd = folder / "fcd.csv"
    fcd.write_text("timestep_time;vehicle_id\n60.00;1\n")
    end = END_S if seconds is None else START_S + seconds
    return SimulatedRecording(
        scenario or SCENARIOS["free"], traffic(False).between(0, end + 0.05), START_S, end, 0, fcd
    )


def stop(severity: str = "mild") -> Incident:
    """What happens in `traffic(True)`."""
    return Incident("stopped_vehicle", severity, CULPRIT, ONSET, ONSET + STOP_S, STOP_S)


def recording_with_stop(folder: Path, severity: str = "mild") -> SimulatedRecording:
    """The traffic with the incident, as a recording."""
    good = recording(folder)
    return SimulatedRecording(
        good.scenario, traffic(True), good.start, good.end, 0, good.fcd, stop(severity), without=traffic(False)
    )
