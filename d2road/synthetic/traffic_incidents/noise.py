"""What a sensor makes of true positions: noise and missing samples, in good traffic too; and tracks that it loses."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.incident_kinds import Incident
from d2road.traffic.table import Trajectories

# A track is lost while the vehicle is seen for so long before and after.
SEEN_S = 2.0
SECOND_NAME = "b"


@dataclass(frozen=True)
class Sensor:
    """Standard deviations of independent normal noise in each sample, and the share of samples that are missing.

    position: m; speed: m/s; acceleration: m/s^2.
    """

    position: float = 0.3
    speed: float = 0.1
    acceleration: float = 0.2
    dropout: float = 0.01


def observe(table: Trajectories, rng: np.random.Generator, sensor: Sensor | None = None) -> Trajectories:
    """The table as the sensor has it, numbers rounded to hundredths."""
    sensor = sensor or Sensor()
    frame = table.frame
    noisy = {
        name: np.round(frame[name].to_numpy(float) + rng.normal(0, deviation, len(frame)), 2)
        for name, deviation in (("s", sensor.position), ("speed", sensor.speed), ("acceleration", sensor.acceleration))
    }
    kept = rng.random(len(frame)) >= sensor.dropout
    return Trajectories.from_frame(frame.assign(**noisy)[kept])


def lose_track(
    table: Trajectories, rng: np.random.Generator, seconds: float, start: float, end: float
) -> tuple[Trajectories, Incident]:
    """Lose a vehicle for some time; when it is found again, it has got another name.

    Args:
        table: of one recording.
        start, end: s; where the gap may begin.
    Returns:
        the table without the samples of the gap, and what happened; its vehicle is the name before the gap.
    Raises:
        NotPossibleError: no vehicle is there for long enough.
    """
    times = table.frame.groupby("vehicle", observed=True)["t"].agg(["min", "max"])
    earliest = np.maximum(times["min"] + SEEN_S, start)
    latest = np.minimum(times["max"] - SEEN_S - seconds, end)
    possible = sorted(times.index[(latest > earliest).to_numpy()], key=str)
    if not possible:
        raise NotPossibleError(f"no vehicle is seen for {seconds + 2 * SEEN_S:g} s")
    name = possible[int(rng.integers(len(possible)))]
    onset = round(float(rng.uniform(earliest[name], latest[name])), 1)
    frame, t = table.frame, table.frame["t"].to_numpy()
    its = (frame["vehicle"] == name).to_numpy()
    # The ends of the gap are seen.
    lost = its & (t > onset + 0.05) & (t < onset + seconds - 0.05)
    vehicle = frame["vehicle"].astype(object).where(~(its & (t >= onset + seconds - 0.05)), f"{name}{SECOND_NAME}")
    frame = frame.assign(vehicle=pd.Categorical(vehicle))[~lost]
    return Trajectories.from_frame(frame), Incident("lost_track", "", str(name), onset, round(onset + seconds, 1))
