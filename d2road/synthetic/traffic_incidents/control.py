"""What an incident needs of a simulation that runs: to let time pass, to look at all vehicles, to take hold of one.

Every word with SUMO costs a round trip between two processes, so incidents are written such that SUMO does most by
itself: `SumoRoad.advance` lets seconds pass in one go, `SumoRoad.list_vehicles` asks for all vehicles at once.
"""

from dataclasses import dataclass
from typing import Any

from d2road.synthetic.traffic_incidents.network import SHOULDER, Road

# TraCI's numbers of what is asked for, see https://sumo.dlr.de/docs/TraCI.
VEHICLES, SPEED, LANE, POSITION, TYPE, LENGTH = 0xA4, 0x40, 0x51, 0x56, 0x4F, 0x44
FAR_M = 5000.0
STEP_S = 0.1
# Bits of SUMO's speed mode. Of the checks only that of the vehicle ahead stays; limits of acceleration do not hold.
KEEP_DISTANCE_ONLY, USUAL_SPEED_MODE = 1, 31
# SUMO's lane change mode: none of its own; when told to, without caring for others / so that nothing collides.
NO_CHANGES, CHANGE_WHEN_FREE = 0, 256
USUAL_LANE_CHANGES = 1621


class NotPossibleError(Exception):
    """An incident does not fit into the traffic that is there; another recording may do."""


@dataclass(frozen=True)
class Vehicle:
    """A vehicle at an instant: s in m of its front, speed in m/s."""

    name: str
    driver: str
    lane: str
    s: float
    speed: float
    length: float

    @property
    def cls(self) -> str:
        """car, van or truck."""
        return self.driver.partition(".")[0]


class SumoRoad:
    """A road of network.py in a running SUMO.

    Args:
        connection: of TraCI.
        road: that SUMO drives on.
        end: s; the latest instant.
        sublanes: whether vehicles change lanes by SUMO's sublane model, which has other parameters.
    """

    def __init__(self, connection: Any, road: Road, end: float, sublanes: bool = False):
        self.sumo, self.api, self.geometry, self.end = connection, connection.vehicle, road, end
        self.sublanes = sublanes
        self.time = 0.0

    def advance(self, seconds: float = STEP_S) -> None:
        """Let time pass, at least a step.

        Raises:
            NotPossibleError: the recording would become too long.
        """
        time = round(self.time + max(seconds, STEP_S), 1)
        if time > self.end:
            raise NotPossibleError(f"not over after {self.end:g} s")
        # SUMO steps up to, but not over, the given time.
        self.sumo.simulationStep(time)
        self.time = time

    def list_vehicles(self) -> list[Vehicle]:
        """All vehicles on the road's lanes and shoulder, downstream first."""
        edge = self.sumo.edge
        edge.subscribeContext("main", VEHICLES, FAR_M, [SPEED, LANE, POSITION, TYPE, LENGTH])
        found = edge.getContextSubscriptionResults("main")
        edge.unsubscribeContext("main", VEHICLES, FAR_M)
        edges = self.geometry.edges
        vehicles = [
            Vehicle(
                name,
                values[TYPE],
                values[LANE].rpartition("_")[2],
                edges[values[LANE].rpartition("_")[0]][0] + values[POSITION],
                values[SPEED],
                values[LENGTH],
            )
            for name, values in found.items()
            if values[LANE].rpartition("_")[0] in edges
        ]
        return sorted(vehicles, key=lambda vehicle: (-vehicle.s, vehicle.name))

    def is_there(self, name: str) -> bool:
        """Whether a vehicle has not left the road."""
        return name in self.api.getIDList()


def ahead_of(vehicle: Vehicle, vehicles: list[Vehicle]) -> Vehicle | None:
    """The next vehicle downstream in the same lane."""
    others = [v for v in vehicles if v.lane == vehicle.lane and v.s > vehicle.s]
    return min(others, key=lambda v: v.s, default=None)


def behind(vehicle: Vehicle, vehicles: list[Vehicle]) -> Vehicle | None:
    """The next vehicle upstream in the same lane."""
    others = [v for v in vehicles if v.lane == vehicle.lane and v.s < vehicle.s]
    return max(others, key=lambda v: v.s, default=None)


def gap(follower: Vehicle, leader: Vehicle | None) -> float:
    """Metres between two vehicles in a lane; FAR_M without a leader."""
    return FAR_M if leader is None else leader.s - leader.length - follower.s


def in_traffic(vehicle: Vehicle) -> bool:
    """Whether it drives in a lane of the carriageway, not on the acceleration lane."""
    return vehicle.lane != SHOULDER
