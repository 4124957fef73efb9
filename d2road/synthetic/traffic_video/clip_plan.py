"""Which clips there are: what each shows, by its number, and the seed that decides the rest.

Heights of poles, lenses, light, shapes of roads, kinds of traffic and incidents take turns, so that few clips have many
of them; everything else is drawn. Splits never share a stream of random numbers, and so neither cameras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d2road.synthetic.traffic_video.film import LIGHTS
from d2road.synthetic.traffic_video.road_shape import SURFACES

SPLITS = ("train", "val", "test")
FPS = 10
SCENARIOS = ("free", "dense", "free", "stop_and_go")
TRAFFIC = ("turns", "free", "dense", "stop_and_go", "empty")
LIGHT = ("turns", *LIGHTS)
LIMITS_MPS = (22.2, 27.8)  # 80 and 100 km/h
TURN = ("", "stopped_vehicle", "lane_changes", "slow_vehicle", "hard_braking", "", "tailgating", "speeding")
INCIDENTS = (*TURN, *TURN[:5], "wrong_way", *TURN[6:])
SEVERITIES = {"stopped_vehicle": "moderate", "slow_vehicle": "severe", "speeding": "mild"}
GOLDEN = 0.6180339887


@dataclass(frozen=True)
class ClipPlan:
    """One clip: its split and number, the data set's seed and options, and what takes turns.

    seconds: its length; sizes: of vehicle_sizes.SIZES; traffic, light_option: of TRAFFIC and LIGHT, what all clips have
    instead of turns; incidents: False for good traffic alone.
    """

    split: str
    index: int
    seed: int
    seconds: float
    sizes: str
    traffic: str = TRAFFIC[0]
    light_option: str = LIGHT[0]
    incidents: bool = True

    @property
    def name(self) -> str:
        """Of the clip; its camera is its own."""
        return f"{self.split}_{self.index:03d}"

    def stream(self, part: int) -> list[int]:
        """Entropy of the random numbers of a part of the clip: 0 traffic, 1 camera, 2 film."""
        return [self.seed, SPLITS.index(self.split), self.index, part]

    @property
    def frames(self) -> int:
        """Of the video."""
        return round(self.seconds * FPS)

    @property
    def light(self) -> str:
        """Of film.LIGHTS."""
        if self.light_option != LIGHT[0]:
            return self.light_option
        return LIGHTS[1] if self.index % 3 == 2 else LIGHTS[0]

    @property
    def is_distorted(self) -> bool:
        """Whether the lens distorts."""
        return self.index % 3 == 1

    @property
    def surface(self) -> str:
        """The shape of the road."""
        return {3: SURFACES[1], 4: SURFACES[2]}.get(self.index % 5, SURFACES[0])

    @property
    def height_share(self) -> float:
        """Where in the range of heights the pole is: low-discrepancy over the clips of a split, another start each."""
        return (0.31 * (SPLITS.index(self.split) + 1) + GOLDEN * self.index) % 1.0

    @property
    def downstream(self) -> bool:
        """Whether the camera looks with the traffic."""
        return (self.index // 2 + SPLITS.index(self.split)) % 2 == 0

    @property
    def scenario(self) -> str:
        """Kind of traffic; an incident is done to one that moves."""
        if self.traffic != TRAFFIC[0]:
            return self.traffic
        name = SCENARIOS[(self.index + SPLITS.index(self.split)) % len(SCENARIOS)]
        if self.incident == "speeding":
            return "free"
        return "dense" if self.incident and name == "stop_and_go" else name

    @property
    def limit(self) -> float:
        """m/s."""
        return LIMITS_MPS[self.index % 2]

    @property
    def incident(self) -> str:
        """Kind, "" for none."""
        if not self.incidents or self.traffic in ("empty", "stop_and_go"):
            return ""
        return INCIDENTS[(self.index + 3 * SPLITS.index(self.split)) % len(INCIDENTS)]

    @property
    def severity(self) -> str:
        """Of the incident."""
        return SEVERITIES.get(self.incident, "moderate")


def all_plans(counts: Mapping[str, int], seed: int, seconds: float, **options: Any) -> Iterator[ClipPlan]:
    """The clips of a data set, of each split as many as `counts` says; options: the other fields of `ClipPlan`."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield ClipPlan(split, index, seed, seconds, **options)
