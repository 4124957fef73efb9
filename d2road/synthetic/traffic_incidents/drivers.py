"""Who drives: cars, vans and trucks, each sort a number of drivers who differ in speed, distance and patience.

Two populations. "idm" follow by the Intelligent Driver Model (Treiber et al., Phys. Rev. E 62, 2000, Eq. 1 to 3).
"eidm" follow by the Extended IDM (Salles et al., SUMO User Conference 2020), which adds errors of the driver, limited
jerk and a reaction when starting; they drive closer, differ more from each other, keep right, and more are trucks.

Both models and the change of lanes (LC2013) are SUMO's own; the ranges of their parameters are this file's.
"""

from collections.abc import Callable, Sequence
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
    to the right, and to the left for speed; more: further attributes of the vType, before those that all have.
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
    more: tuple[tuple[str, str], ...] = ()

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
            **dict(self.more),
        }
        return "  <vType " + " ".join(f'{name}="{value}"' for name, value in values.items()) + "/>"


def draw_idm_driver(rng: np.random.Generator, cls: str, number: int) -> Driver:
    """One driver of a class, who follows by the IDM."""
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


def draw_eidm_driver(rng: np.random.Generator, cls: str, number: int) -> Driver:
    """One driver of a class, who follows by the Extended IDM."""
    truck = cls == "truck"
    low, high = {"car": (3.6, 4.9), "van": (4.9, 6.4), "truck": (9.0, 16.5)}[cls]
    factor = rng.normal(0.95 if cls == "van" else 1.03, 0.11)
    return Driver(
        name=f"{cls}.{number}",
        length=rng.uniform(low, high),
        speed_factor=float(np.clip(factor, 0.78, 1.18)),
        top_speed=rng.uniform(23.6, 25.6) if truck else rng.uniform(42.0, 58.0),
        acceleration=rng.uniform(0.6, 1.1) if truck else rng.uniform(1.3, 2.6),
        braking=rng.uniform(2.0, 3.0) if truck else rng.uniform(2.5, 4.0),
        headway=float(np.clip(rng.lognormal(np.log(1.35 if truck else 0.95), 0.3), 0.6, 2.4)),
        gap=rng.uniform(1.5, 3.5) if truck else rng.uniform(1.0, 2.5),
        keep_right=rng.uniform(0.5, 1.5),
        gain=rng.uniform(0.8, 2.0),
        more=(
            ("carFollowModel", "EIDM"),
            ("treaction", f"{rng.uniform(0.4, 0.9):.2f}"),  # s, when starting
            ("tpreview", f"{rng.uniform(2.0, 5.0):.2f}"),  # s, of limits and ends of lanes
            ("sigmaerror", f"{rng.uniform(0.02, 0.08):.3f}"),  # of the drivers' own acceleration
            ("ccoolness", f"{rng.uniform(0.8, 0.99):.2f}"),  # how calmly a gap is taken that another one made
            ("lcCooperative", f"{rng.uniform(0.5, 1.0):.2f}"),
        ),
    )


@dataclass(frozen=True)
class Population:
    """The drivers of a road.

    draw: one of a class; trucks: their share on the right lane, on those between, on the left one and from the ramp;
    vans: their share everywhere.
    """

    draw: Callable[[np.random.Generator, str, int], Driver]
    trucks: tuple[float, float, float, float]
    vans: float

    def sample(self, rng: np.random.Generator) -> list[Driver]:
        """The drivers of a recording, of each class as many as COUNTS says."""
        return [self.draw(rng, cls, number) for cls, count in COUNTS.items() for number in range(count)]

    def pick(self, rng: np.random.Generator, drivers: Sequence[Driver], lane: str, lanes: Sequence[str]) -> Driver:
        """The driver of a vehicle that comes to a lane; lanes: of the road, from the right; another one is the ramp."""
        place = {lanes[0]: 0, lanes[-1]: 2}.get(lane, 1 if lane in lanes else 3)
        x, trucks = rng.random(), self.trucks[place]
        cls = "truck" if x < trucks else "van" if x < trucks + self.vans else "car"
        choice = [driver for driver in drivers if driver.cls == cls]
        two = sorted((choice[i] for i in rng.integers(len(choice), size=2)), key=lambda driver: driver.speed_factor)
        # On the left lane rather a fast one, on the right one and the ramp rather a slow one.
        return two[(0, int(rng.integers(2)), 1, 0)[place]]


IDM, EIDM = "idm", "eidm"
POPULATIONS = {
    IDM: Population(draw_idm_driver, (0.3, 0.07, 0.0, 0.05), 0.12),
    EIDM: Population(draw_eidm_driver, (0.4, 0.15, 0.05, 0.1), 0.16),
}
