"""Vehicles that follow each other in their lanes by the Intelligent Driver Model, without SUMO, and one that stops.

It is an example to try a program with, and no data: nobody changes lanes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.synthetic.traffic_incidents.drivers import WIDTHS_M, Driver, draw_idm_driver
from d2road.traffic.baselines.car_following import idm_acceleration

LIMIT_MPS = 33.3
ROAD_M = 1024.0
BEFORE_M = 400.0  # that vehicles have been on the road when they are seen first
STEP_S = 0.1  # as in the traffic that shipped rules are fitted on
HEADWAYS_S = (1.8, 2.5)  # at least, and in the mean above that
TRUCKS = (0.25, 0.05)  # share of each lane, from the right
BRAKING_MPS2 = 3.0


@dataclass(frozen=True)
class Stop:
    """A vehicle of the right lane that brakes at a place (m) and an instant (s), and stands for some seconds."""

    s: float = 480.0
    t: float = 60.0
    seconds: float = 45.0


@dataclass
class _Lane:
    """Vehicles of a lane, the first one ahead: s (m, of the front), speed (m/s), who they are."""

    s: np.ndarray
    speed: np.ndarray
    drivers: list[Driver]
    names: list[str]

    def step(self, held: int | None) -> None:
        """Let STEP_S pass; held: of a vehicle that brakes to a stand."""
        parameters = np.array(
            [(d.desired_speed(LIMIT_MPS), d.headway, d.gap, d.acceleration, d.braking) for d in self.drivers]
        ).T
        length = np.array([driver.length for driver in self.drivers])
        gap = np.append(np.inf, self.s[:-1] - length[:-1] - self.s[1:])
        closing = np.append(0.0, self.speed[1:] - self.speed[:-1])
        acceleration = idm_acceleration(parameters, self.speed, gap, closing)
        if held is not None:
            acceleration[held] = min(acceleration[held], -BRAKING_MPS2)
        speed = np.maximum(self.speed + acceleration * STEP_S, 0.0)
        self.s, self.speed = self.s + (self.speed + speed) / 2 * STEP_S, speed

    def enter(self, driver: Driver, name: str) -> bool:
        """Let a vehicle come, where the one ahead leaves room for it."""
        last = len(self.names) - 1
        speed = driver.desired_speed(LIMIT_MPS)
        if last >= 0:
            speed = min(speed, float(self.speed[last]))
            if self.s[last] - self.drivers[last].length + BEFORE_M < driver.gap + speed * driver.headway:
                return False
        self.s, self.speed = np.append(self.s, -BEFORE_M), np.append(self.speed, speed)
        self.drivers.append(driver)
        self.names.append(name)
        return True

    def leave(self) -> None:
        """Forget who is past the end of the road."""
        while self.names and self.s[0] - self.drivers[0].length > ROAD_M:
            self.s, self.speed = self.s[1:], self.speed[1:]
            del self.drivers[0], self.names[0]


def following_traffic(rng: np.random.Generator, seconds: float, stop: Stop | None = None) -> pd.DataFrame:
    """Trajectories on ROAD_M metres of two lanes, every STEP_S.

    Returns:
        t (s), vehicle, lane, s (m, of the front), speed (m/s), length, width (m), cls; by time.
    """
    frames = [_lane_traffic(rng, seconds, lane, stop if lane == 0 else None) for lane in range(len(TRUCKS))]
    return pd.concat(frames).sort_values(["t", "vehicle"], kind="stable", ignore_index=True)


def _lane_traffic(rng: np.random.Generator, seconds: float, number: int, stop: Stop | None) -> pd.DataFrame:
    lane, rows, count, held = _Lane(np.zeros(0), np.zeros(0), [], []), list[tuple](), 0, ""
    first = -round(2 * (BEFORE_M + ROAD_M) / LIMIT_MPS / STEP_S)  # the road is full when it is seen
    due = float(first * STEP_S)
    for step in range(first, round(seconds / STEP_S)):
        t = step * STEP_S
        if t >= due:
            cls = "truck" if rng.random() < TRUCKS[number] else "car"
            if lane.enter(draw_idm_driver(rng, cls, count), f"{number}.{count}"):
                count, due = count + 1, t + HEADWAYS_S[0] + float(rng.exponential(HEADWAYS_S[1]))
        if stop is not None and t >= stop.t and not held and len(lane.names):
            near = int(np.abs(lane.s - stop.s).argmin())
            held = lane.names[near]
        holds = stop is not None and held in lane.names and t < stop.t + stop.seconds
        lane.step(lane.names.index(held) if holds else None)
        lane.leave()
        if step >= 0:
            rows += [
                (round(t, 1), name, number + 1, s, speed, driver.length, WIDTHS_M[driver.cls], driver.cls)
                for name, s, speed, driver in zip(lane.names, lane.s, lane.speed, lane.drivers)
                if 0 <= s <= ROAD_M
            ]
    return pd.DataFrame(rows, columns=["t", "vehicle", "lane", "s", "speed", "length", "width", "cls"])
