"""The roads that SUMO drives on: a carriageway of two or three lanes with a hard shoulder and an on-ramp.

    margin (4)      - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
    lane 3 (left)   ----------------------------------------------------------------------------->
    lane 2          ----------------------------------------------------------------------------->
    lane 1          ----------------------------------------------------------------------------->
    lane 0                              |  acceleration lane  |  hard shoulder
                    ramp ______________/
    edge            up                  | merge               | main                 | tail
    s in m          0                  400                   760                   1450         1900
    observed                             410 .................................... 1434

That is `THREE_LANES`; `TWO_LANES` lacks lane 3, and its acceleration lane is shorter. s is SUMO's x: metres of a
vehicle's front from the beginning of `up`. Lanes keep their number from end to end, so that a change of the lane's name
is a change of lane. In the tunnel nobody may change lanes on `main`.
"""

import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from d2road.synthetic.traffic_incidents.sumo import run_program
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_small

ROUTE = ("up", "merge", "main", "tail")
OBSERVED_EDGES = ("merge", "main")
SHOULDER = "0"
# SUMO's class of vehicles that may be where nobody may: on shoulder and margin, across the tunnel's solid lines.
LAWLESS = "custom1"
LANE_WIDTH_M = 3.2
RAMP_SPEED = 25.0  # m/s
# Points of the ramp: m before the acceleration lane, m beside the middle of the road; it ends beside the carriageway.
RAMP_START, RAMP_BEND, RAMP_END = (300.0, -60.0), (150.0, -10.0), 70.0
NET_FILE = "road.net.xml"


@dataclass(frozen=True)
class Road:
    """The geometry of a road.

    lanes: that traffic drives in, from the right; borders: m, where the edges of ROUTE begin and the last one ends;
    observed: m, two images of 512 m clear of the ends of the edges; tunnel: m, of it behind the acceleration lane.
    """

    lanes: tuple[str, ...]
    borders: tuple[float, float, float, float, float]
    observed: tuple[float, float]
    tunnel: tuple[float, float]

    @property
    def edges(self) -> dict[str, tuple[float, float]]:
        """Beginning and end of each edge in m."""
        return dict(zip(ROUTE, pairwise(self.borders)))

    @property
    def margin(self) -> str:
        """The lane left of all others."""
        return str(len(self.lanes) + 1)

    @property
    def fcd_edges(self) -> str:
        """What the reader of FCD needs to know, see d2road/traffic/readers/fcd.py."""
        return ", ".join(f"{name}:{self.edges[name][0]:g}" for name in OBSERVED_EDGES)

    def lane_y(self, lane: str) -> float:
        """SUMO's y of a lane's middle, in m."""
        return (int(lane) - (len(self.lanes) + 1) / 2) * LANE_WIDTH_M

    def edge_at(self, s: float) -> tuple[str, float]:
        """The edge that a place on the road belongs to, and metres from that edge's beginning.

        Raises:
            ValueError: beyond the ends of the road.
        """
        for name, (low, high) in self.edges.items():
            if low <= s < high:
                return name, s - low
        raise DataError(f"s = {s:g} m is not on the road, which is {self.borders[-1]:g} m long")


THREE_LANES = Road(("1", "2", "3"), (0.0, 400.0, 760.0, 1450.0, 1900.0), (410.0, 1434.0), (770.0, 1434.0))
TWO_LANES = Road(("1", "2"), (0.0, 500.0, 700.0, 1550.0, 2050.0), (510.0, 1534.0), (710.0, 1534.0))


def write_network(folder: Path, road: Road, speed_limit: float, lane_changes: bool = True) -> Path:
    """Write a road with SUMO's netconvert.

    Args:
        folder: where its files go.
        speed_limit: m/s.
        lane_changes: False makes `main` a tunnel with solid lines.
    Returns:
        the network, FOLDER/road.net.xml.
    Raises:
        FileNotFoundError: SUMO is not installed.
        RuntimeError: netconvert fails; holds what it says.
    """
    parts = {
        "node-files": ("road.nod.xml", nodes_text(road)),
        "edge-files": ("road.edg.xml", edges_text(road, speed_limit, lane_changes)),
        "connection-files": ("road.con.xml", connections_text(road)),
    }
    words = []
    for option, (name, text) in parts.items():
        write_small(folder / name, text)
        words += [f"--{option}", name]
    # Without lanes inside of junctions every metre of the road belongs to one of the edges.
    flags = ["--no-internal-links", "--no-turnarounds", "--offset.disable-normalization", "--no-warnings"]
    try:
        run_program("netconvert", [*words, *flags, "--output-file", NET_FILE], folder)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"netconvert could not make the road: {error.stderr.strip() or error}") from error
    return folder / NET_FILE


def nodes_text(road: Road) -> str:
    """SUMO's nodes: one at each end of an edge, and where the ramp begins."""
    nodes = [f'  <node id="{name}" x="{x:g}" y="0" type="priority"/>' for name, x in zip(_node_names(), road.borders)]
    x = road.edges["merge"][0] - RAMP_START[0]
    return "\n".join(["<nodes>", *nodes, f'  <node id="ramp_start" x="{x:g}" y="{RAMP_START[1]:g}"/>', "</nodes>", ""])


def edges_text(road: Road, speed_limit: float, lane_changes: bool) -> str:
    """SUMO's edges; shoulder and margin are closed, but for the acceleration lane."""
    names, total = _node_names(), len(road.lanes) + 2
    lines = []
    for (name, start), end in zip(zip(ROUTE, names), names[1:]):
        attributes = (
            f'id="{name}" from="{start}" to="{end}" numLanes="{total}" speed="{speed_limit:.2f}" spreadType="center"'
        )
        closed = [road.margin] if name == "merge" else [SHOULDER, road.margin]
        lanes = [f'<lane index="{lane}" allow="{LAWLESS}"/>' for lane in closed]
        if name == "main" and not lane_changes:
            solid = f'changeLeft="{LAWLESS}" changeRight="{LAWLESS}"'
            lanes += [f'<lane index="{lane}" {solid}/>' for lane in road.lanes]
        lines.append(f"  <edge {attributes}>{''.join(lanes)}</edge>")
    # It comes from the side and ends beside the carriageway, where the acceleration lane begins.
    x, y = road.edges["merge"][0], road.lane_y(SHOULDER)
    bends = " ".join(f"{x - before:g},{beside:g}" for before, beside in (RAMP_START, RAMP_BEND, (RAMP_END, y), (0, y)))
    lines.append(
        f'  <edge id="ramp" from="ramp_start" to="{names[1]}" numLanes="1" speed="{RAMP_SPEED:g}" shape="{bends}" '
        'spreadType="center"/>'
    )
    return "\n".join(["<edges>", *lines, "</edges>", ""])


def connections_text(road: Road) -> str:
    """SUMO's connections: straight on in every lane; the acceleration lane ends."""
    pairs = [(a, b, lane) for a, b in pairwise(ROUTE) for lane in road.lanes] + [("ramp", "merge", SHOULDER)]
    lines = [f'  <connection from="{a}" to="{b}" fromLane="{lane}" toLane="{lane}"/>' for a, b, lane in pairs]
    return "\n".join(["<connections>", *lines, "</connections>", ""])


def _node_names() -> list[str]:
    return ["start", "nose", "taper", "out", "end"]
