"""What goes wrong: eight kinds of incidents, each in three severities, done to a simulation that runs.

| kind | culprit | the others |
|---|---|---|
| stopped_vehicle | brakes at 3.5 m/s^2 and stands in its lane for 12, 25 or 50 s | queue behind it and change lanes |
| slow_vehicle | drives at 13, 9 or 5 m/s for 30 s | follow it or pass |
| speeding | drives at 45, 52 or 60 m/s where the way is free | are passed |
| hard_braking | brakes at 5, 7 or 9 m/s^2, waits 1.5 s and drives on | brake behind it |
| wrong_way | comes from the far end at 9, 15 or 24 m/s in the left lane, in a jam on the hard shoulder | see below |
| lane_changes | changes 4, 6 or 9 times, every 2.4, 1.8 or 1.3 s, too fast; in the tunnel forbidden | brake behind it |
| tailgating | follows at 0.45, 0.3 or 0.18 s | the vehicle ahead stays in its lane |
| lost_track | is not seen for 2, 4 or 8 s and gets another name | do nothing: it is the sensor that fails |

SUMO knows no wrong way. The vehicle is put a step further against the flow in each step (moveToXY, keepRoute=2). SUMO
takes it for a slow vehicle ahead: those behind brake. Besides, those who come within SIGHT_M of it are told to leave
its lane. Where somebody is still in its way, it passes on the margin left of all lanes, which the table counts to the
left one: were it to drive through others, SUMO would go on to take it for a vehicle ahead of those, who would stand for
minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from d2road.synthetic.traffic_incidents import control
from d2road.synthetic.traffic_incidents.control import NotPossibleError, SumoRoad, Vehicle
from d2road.synthetic.traffic_incidents.network import LAWLESS, SHOULDER, Road
from d2road.synthetic.traffic_incidents.scenarios import Scenario

SEVERITIES = ("mild", "moderate", "severe")
SIGHT_M = 220.0
CLEAR_M = (30.0, 25.0)  # to keep to the front of who comes, and from it after having met: more than a truck
WAIT_S = 60.0  # for a vehicle that suits
SPEEDING_FACTOR = 1.2  # of the limit; the fastest of the others drive at 1.15


@dataclass(frozen=True)
class Incident:
    """What happened.

    vehicle: the culprit's name; onset, end: first and last instant in s; level: of the
    severity, see INCIDENT_KINDS.
    """

    kind: str
    severity: str
    vehicle: str
    onset: float
    end: float
    level: float = 0.0


@dataclass(frozen=True)
class IncidentScene:
    """What an incident happens in."""

    road: SumoRoad
    rng: np.random.Generator
    scenario: Scenario

    def choose(self, suits: Callable[[Vehicle, list[Vehicle]], bool]) -> tuple[Vehicle, list[Vehicle]]:
        """One of the vehicles of the carriageway that suit, and all of them; waits until there is one.

        Raises:
            NotPossibleError: none has come.
        """
        latest = self.road.time + WAIT_S
        while self.road.time < latest:
            vehicles = self.road.list_vehicles()
            chosen = [v for v in vehicles if control.in_traffic(v) and suits(v, vehicles)]
            if chosen:
                return chosen[int(self.rng.integers(len(chosen)))], vehicles
            self.road.advance(1.0)
        raise NotPossibleError(f"no vehicle suits within {WAIT_S:g} s")

    @property
    def geometry(self) -> Road:
        """Of the road."""
        return self.scenario.road

    def between(self, low: float, high: float) -> Callable[[Vehicle], bool]:
        """Whether a vehicle is that many metres from the beginning of what is observed."""
        start = self.scenario.observed[0]
        return lambda vehicle: start + low <= vehicle.s <= start + high


def stopped_vehicle(scene: IncidentScene, seconds: float) -> Incident:
    """A breakdown."""
    road, inside = scene.road, scene.between(220, 560)
    car, _ = scene.choose(lambda v, _: inside(v) and v.speed > 3)
    onset, braking = road.time, car.speed / 3.5
    road.api.setLaneChangeMode(car.name, control.NO_CHANGES)
    road.api.setSpeedMode(car.name, control.KEEP_DISTANCE_ONLY)
    road.api.slowDown(car.name, 0.0, braking)
    road.advance(braking)
    road.api.setSpeed(car.name, 0.0)
    road.advance(seconds)
    release(road, car.name)
    return Incident("stopped_vehicle", "", car.name, onset, road.time)


def slow_vehicle(scene: IncidentScene, speed: float) -> Incident:
    """Someone who drives at a fraction of the speed of the others."""
    road, inside = scene.road, scene.between(80, 330)
    car, _ = scene.choose(lambda v, _: inside(v) and v.speed > 1.5 * speed)
    onset, braking = road.time, (car.speed - speed) / 2.0
    road.api.setLaneChangeMode(car.name, control.NO_CHANGES)
    road.api.setSpeedMode(car.name, control.KEEP_DISTANCE_ONLY)
    road.api.slowDown(car.name, speed, braking)
    road.advance(braking)
    road.api.setSpeed(car.name, speed)
    road.advance(30.0)
    release(road, car.name)
    return Incident("slow_vehicle", "", car.name, onset, road.time)


def speeding(scene: IncidentScene, speed: float) -> Incident:
    """Someone far beyond the limit, overtaking all."""
    road, limit, observed = scene.road, scene.scenario.limit, scene.geometry.observed[0]

    def suits(v: Vehicle, vehicles: list[Vehicle]) -> bool:
        room = control.gap(v, control.ahead_of(v, vehicles))
        return v.cls == "car" and -360 < v.s - observed < -80 and room > 100

    car, _ = scene.choose(suits)
    onset = road.time
    road.api.setAccel(car.name, 5.0)
    hurry(road, car.name, 1.1 * speed / limit)
    road.advance(30.0)
    return Incident("speeding", "", car.name, onset, road.time)


def hard_braking(scene: IncidentScene, braking: float) -> Incident:
    """An emergency stop, or nearly one."""
    road, inside = scene.road, scene.between(200, 560)

    def suits(v: Vehicle, vehicles: list[Vehicle]) -> bool:
        follower = control.behind(v, vehicles)
        room = control.gap(v, control.ahead_of(v, vehicles))
        return inside(v) and v.speed > 18 and room > 25 and follower is not None and control.gap(follower, v) < 80

    car, _ = scene.choose(suits)
    onset, left = road.time, {5.0: 0.5, 7.0: 0.3}.get(braking, 0.1) * car.speed
    road.api.setLaneChangeMode(car.name, control.NO_CHANGES)
    road.api.setSpeedMode(car.name, control.KEEP_DISTANCE_ONLY)
    seconds = (car.speed - left) / braking
    road.api.slowDown(car.name, left, seconds)
    road.advance(seconds)
    road.api.setSpeed(car.name, left)
    road.advance(1.5)
    release(road, car.name)
    return Incident("hard_braking", "", car.name, onset, road.time)


def wrong_way(scene: IncidentScene, speed: float) -> Incident:
    """A ghost driver."""
    road, start = scene.road, scene.scenario.observed[0]
    edges, left = scene.geometry.edges, scene.geometry.lanes[-1]
    lane = SHOULDER if scene.scenario.waves else left
    if lane == SHOULDER:
        start = max(start, edges["main"][0] + 10.0)  # the acceleration lane is no shoulder
    road.advance(float(scene.rng.uniform(1, 8)))
    # From behind what is recorded, for it starts with a jump.
    name, s, onset = "wrong", edges["tail"][0] + 5.0, road.time
    road.api.add(name, "from_tail", typeID="car.0", departPos="400", departLane=left, departSpeed="0")
    road.api.setVehicleClass(name, LAWLESS)
    road.api.setLaneChangeMode(name, control.NO_CHANGES)
    # SUMO guesses its speed from where it was; between lanes it would guess too high, and let it brake from there.
    road.api.setMaxSpeed(name, speed)
    road.api.setEmergencyDecel(name, 1000.0)
    road.advance()
    put_against_traffic(road, name, lane, s)
    road.api.subscribeContext(name, control.VEHICLES, SIGHT_M, [control.LANE, control.POSITION])
    told = {name}
    while s > start:
        road.advance()
        s -= speed * control.STEP_S
        met = False
        for other, values in road.api.getContextSubscriptionResults(name).items():
            edge, _, other_lane = values[control.LANE].rpartition("_")
            if other == name or other_lane != lane or edge not in edges:
                continue
            ahead = s - edges[edge][0] - values[control.POSITION]
            met |= -CLEAR_M[1] < ahead < CLEAR_M[0]
            if other not in told and ahead > 0 and lane != SHOULDER:
                told.add(other)
                road.api.changeLane(other, int(lane) - 1, 6.0)
        put_against_traffic(road, name, scene.geometry.margin if met and lane != SHOULDER else lane, s)
    # Else SUMO would look for it in the next step, and end.
    road.api.unsubscribeContext(name, control.VEHICLES, SIGHT_M)
    road.api.remove(name)
    return Incident("wrong_way", "", name, onset, road.time)


def lane_changes(scene: IncidentScene, count: float) -> Incident:
    """Someone who weaves through the traffic, in the tunnel over solid lines."""
    road, inside = scene.road, scene.between(10, 200 if scene.scenario.lane_changes else 60)
    car, _ = scene.choose(lambda v, _: v.cls == "car" and inside(v) and v.speed > 14)
    onset, pause = road.time, {4: 2.4, 6: 1.8}.get(int(count), 1.3)
    hurry(road, car.name, 1.3)
    if not scene.scenario.lane_changes:
        road.api.setVehicleClass(car.name, LAWLESS)
    road.api.setLaneChangeMode(car.name, control.CHANGE_WHEN_FREE)
    lanes = scene.geometry.lanes
    lane, step = int(car.lane), 1 if car.lane == lanes[0] else -1
    for _ in range(int(count)):
        if str(lane + step) not in lanes:
            step = -step
        lane += step
        road.api.changeLane(car.name, lane, pause + 2.0)
        road.advance(pause)
    end = road.time
    release(road, car.name)
    return Incident("lane_changes", "", car.name, onset, end)


def tailgating(scene: IncidentScene, headway: float) -> Incident:
    """Someone who pushes from behind."""
    road, inside = scene.road, scene.between(0, 220)

    def suits(v: Vehicle, vehicles: list[Vehicle]) -> bool:
        leader = control.ahead_of(v, vehicles)
        return v.cls != "truck" and inside(v) and v.speed > 17 and 10 < control.gap(v, leader) < 45

    car, vehicles = scene.choose(suits)
    leader = control.ahead_of(car, vehicles)
    assert leader is not None, "else the gap would not suit"
    onset = road.time
    road.api.setLaneChangeMode(leader.name, control.NO_CHANGES)
    road.api.setLaneChangeMode(car.name, control.NO_CHANGES)
    road.api.setMinGap(car.name, 1.0)
    road.api.setAccel(car.name, 2.5)
    hurry(road, car.name, 1.6, headway)
    road.advance(26.0)
    for name in (car.name, leader.name):
        release(road, name)
    return Incident("tailgating", "", car.name, onset, road.time)


def put_against_traffic(road: SumoRoad, name: str, lane: str, s: float) -> None:
    """Put a vehicle somewhere, facing upstream."""
    edge, y = road.geometry.edge_at(s)[0], road.geometry.lane_y(lane)
    road.api.moveToXY(name, edge, int(lane), s, y, angle=270.0, keepRoute=2)


def hurry(road: SumoRoad, name: str, factor: float, headway: float = 0.5) -> None:
    """Make a driver want a multiple of the limit, and care little for the others; headway: s."""
    road.api.setMaxSpeed(name, 70.0)
    road.api.setTau(name, headway)
    eagerness = {"lcSpeedGain": "50", "lcAssertive": "4", "lcKeepRight": "0"}
    for key, value in (eagerness if road.sublanes else {**eagerness, "lcOvertakeRight": "1"}).items():
        road.api.setParameter(name, f"laneChangeModel.{key}", value)
    # Last: it would be lost where the others give the vehicle a type of its own.
    road.api.setSpeedFactor(name, factor)


def release(road: SumoRoad, name: str) -> None:
    """Let a vehicle drive on as SUMO will, if it is still there."""
    if road.is_there(name):
        road.api.setSpeed(name, -1)
        road.api.setSpeedMode(name, control.USUAL_SPEED_MODE)
        road.api.setLaneChangeMode(name, control.USUAL_LANE_CHANGES)


@dataclass(frozen=True)
class IncidentKind:
    """How a kind of incident is made: what it does in SUMO (None: nothing), levels by severity, where it can be."""

    act: Callable[[IncidentScene, float], Incident] | None
    levels: tuple[float, float, float]
    scenarios: tuple[str, ...]

    def happen(self, scene: IncidentScene, severity: str) -> Incident:
        """Let it happen.

        Raises:
            NotPossibleError: the traffic does not allow it.
        """
        level = self.levels[SEVERITIES.index(severity)]
        if self.act is None:
            raise ValueError("nothing is done in SUMO for this kind: the sensor fails")
        incident = self.act(scene, level)
        # What is done at an instant shows in the sample of that instant already, an end no less than an onset.
        end = round(incident.end - control.STEP_S, 1)
        return replace(incident, severity=severity, level=level, end=end)


MOVING = ("free", "dense", "tunnel")
EVERYWHERE = ("free", "dense", "stop_and_go", "tunnel")
INCIDENT_KINDS = {
    "stopped_vehicle": IncidentKind(stopped_vehicle, (12.0, 25.0, 50.0), EVERYWHERE),
    "slow_vehicle": IncidentKind(slow_vehicle, (13.0, 9.0, 5.0), MOVING),
    "speeding": IncidentKind(speeding, (45.0, 52.0, 60.0), ("free",)),
    "hard_braking": IncidentKind(hard_braking, (5.0, 7.0, 9.0), MOVING),
    "wrong_way": IncidentKind(wrong_way, (9.0, 15.0, 24.0), EVERYWHERE),
    "lane_changes": IncidentKind(lane_changes, (4, 6, 9), MOVING),
    "tailgating": IncidentKind(tailgating, (0.45, 0.3, 0.18), MOVING),
    "lost_track": IncidentKind(None, (2.0, 4.0, 8.0), EVERYWHERE),
}
