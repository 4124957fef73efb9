"""Who drives: cars, vans and trucks, each sort a number of drivers who differ in speed, distance and patience.

They follow by the Intelligent Driver Model (Treiber et al., Phys. Rev. E 62, 2000, Eq. 1 to 3) and change lanes by
SUMO's LC2013, both of which are SUMO's own; the ranges of their parameters are this file's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Drivers of each class in a recording; a vehicle is driven by one of them.
COUNTS = {"car": 48, "van": 12, "truck": 20}
WIDTHS_M = {"car": 1.8, "van": 2.0, "truck": 2.55}
# Of emergencies; the comfortable braking of the model is a driver's own.
EMERGENCY_BRAKING = {"car": 9.0, "van": 8.5, "truck": 7.0}


@dataclass(frozen=True)
class Driver:
    """A driver with a vehicle; SUMO's vType `name`.

    name: class, dot, number; length: m; speed_factor: of the limit, what the driver would like; top_speed: m/s;
    acceleration, braking: comfortable, m/s^2; headway: s; gap: m when standing; keep_right, gain: eagerness to change
    to the right, and to the left for speed.
    """

    name: str
    length: float
    speed_factor: float
    top_speed: float
    acceleration: float
    braking: float
    headway: float
    gap: float
    keep_right: float
    gain: float

    @property
    def cls(self) -> str:
        """car, van or truck."""
        return self.name.partition(".")[0]

    def desired_speed(self, limit: float) -> float:
        """m/s on an empty road with a speed limit in m/s."""
        return min(self.speed_factor * limit, self.top_speed)

    def xml(self) -> str:
        """As a vType of SUMO."""
        values = {
            "id": self.name,
            "vClass": {"car": "passenger", "van": "delivery", "truck": "truck"}[self.cls],
            "carFollowModel": "IDM",
            "length": f"{self.length:.2f}",
            "width": WIDTHS_M[self.cls],
            "speedFactor": f"{self.speed_factor:.3f}",
            "speedDev": "0",  # SUMO would draw another factor for each vehicle
            "maxSpeed": f"{self.top_speed:.2f}",
            "accel": f"{self.acceleration:.2f}",
            "decel": f"{self.braking:.2f}",
            "emergencyDecel": EMERGENCY_BRAKING[self.cls],
            "tau": f"{self.headway:.2f}",
            "minGap": f"{self.gap:.2f}",
            "lcKeepRight": f"{self.keep_right:.2f}",
            "lcSpeedGain": f"{self.gain:.2f}",
            # With SUMO's 1 some stand at the end of the acceleration lane, which looks like an incident.
            "lcAssertive": "2",
        }
        return "  <vType " + " ".join(f'{name}="{value}"' for name, value in values.items()) + "/>"


def sample_drivers(rng: np.random.Generator) -> list[Driver]:
    """The drivers of a recording, of each class as many as COUNTS says."""
    return [draw_driver(rng, cls, number) for cls, count in COUNTS.items() for number in range(count)]


def draw_driver(rng: np.random.Generator, cls: str, number: int) -> Driver:
    """One driver of a class."""
    truck = cls == "truck"
    low, high = {"car": (3.8, 5.1), "van": (5.3, 7.0), "truck": (8.0, 18.7)}[cls]
    factor = rng.normal(0.92 if cls == "van" else 0.98, 0.09)
    return Driver(
        name=f"{cls}.{number}",
        length=rng.uniform(low, high),
        speed_factor=float(np.clip(factor, 0.75, 1.15)),
        # Trucks are held at 80 to 90 km/h by their governors.
        top_speed=rng.uniform(22.2, 25.0) if truck else rng.uniform(44.0, 60.0),
        acceleration=rng.uniform(0.5, 0.9) if truck else rng.uniform(1.0, 2.0),
        braking=rng.uniform(1.5, 2.5) if truck else rng.uniform(2.0, 3.5),
        headway=float(np.clip(rng.lognormal(np.log(1.6 if truck else 1.15), 0.2), 0.8, 2.4)),
        gap=rng.uniform(2.0, 4.0) if truck else rng.uniform(1.5, 3.0),
        keep_right=rng.uniform(0.1, 0.5),
        gain=rng.uniform(0.5, 1.5),
    )


def pick_driver(rng: np.random.Generator, drivers: Sequence[Driver], cls: str, lane: str) -> Driver:
    """A driver of a class, on the left lane rather a fast one, on the right one rather a slow one."""
    choice = [driver for driver in drivers if driver.cls == cls]
    two = sorted((choice[i] for i in rng.integers(len(choice), size=2)), key=lambda driver: driver.speed_factor)
    return two[{"1": 0, "2": int(rng.integers(2)), "3": 1}.get(lane, 0)]
