"""The road that SUMO drives on: a carriageway of three lanes with a hard shoulder and an on-ramp.

    margin (4)      - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
    lane 3 (left)   ----------------------------------------------------------------------------->
    lane 2          ----------------------------------------------------------------------------->
    lane 1          ----------------------------------------------------------------------------->
    lane 0                              |  acceleration lane  |  hard shoulder
                    ramp ______________/
    edge            up                  | merge               | main                 | tail
    s in m          0                  400                   760                   1450         1900
    observed                             410 .................................... 1434

s is SUMO's x: metres of a vehicle's front from the beginning of `up`. Lanes keep their number from end to end, so that
a change of the lane's name is a change of lane. In the tunnel nobody may change lanes from 760 m on.
"""

import subprocess
from itertools import pairwise
from pathlib import Path

from d2road.synthetic.traffic_incidents.sumo import run_program
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_small

EDGES = {"up": (0.0, 400.0), "merge": (400.0, 760.0), "main": (760.0, 1450.0), "tail": (1450.0, 1900.0)}
ROUTE = tuple(EDGES)
OBSERVED_EDGES = ("merge", "main")
# Two images of 512 m, clear of the ends of the edges.
OBSERVED_M = (410.0, 1434.0)
TUNNEL_M = (770.0, 1434.0)
LANES = ("1", "2", "3")  # that traffic drives in
SHOULDER, MARGIN = "0", "4"
# SUMO's class of vehicles that may be where nobody may: on shoulder and margin, across the tunnel's solid lines.
LAWLESS = "custom1"
LANE_WIDTH_M = 3.2
RAMP_SPEED = 25.0  # m/s
NET_FILE = "road.net.xml"
# What the reader of FCD needs to know, see d2road/traffic/readers/fcd.py.
FCD_EDGES = ", ".join(f"{name}:{EDGES[name][0]:g}" for name in OBSERVED_EDGES)


def write_network(folder: Path, speed_limit: float, lane_changes: bool = True) -> Path:
    """Write the road with SUMO's netconvert.

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
        "node-files": ("road.nod.xml", nodes_text()),
        "edge-files": ("road.edg.xml", edges_text(speed_limit, lane_changes)),
        "connection-files": ("road.con.xml", connections_text()),
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


def nodes_text() -> str:
    """SUMO's nodes: one at each end of an edge, and where the ramp begins."""
    ends = [EDGES["up"][0], *(high for _, high in EDGES.values())]
    nodes = [f'  <node id="{name}" x="{x:g}" y="0" type="priority"/>' for name, x in zip(_node_names(), ends)]
    return "\n".join(["<nodes>", *nodes, '  <node id="ramp_start" x="100" y="-60"/>', "</nodes>", ""])


def edges_text(speed_limit: float, lane_changes: bool) -> str:
    """SUMO's edges; shoulder and margin are closed, but for the acceleration lane."""
    names = _node_names()
    lines = []
    for (name, start), end in zip(zip(ROUTE, names), names[1:]):
        attributes = f'id="{name}" from="{start}" to="{end}" numLanes="5" speed="{speed_limit:.2f}" spreadType="center"'
        closed = [MARGIN] if name == "merge" else [SHOULDER, MARGIN]
        lanes = [f'<lane index="{lane}" allow="{LAWLESS}"/>' for lane in closed]
        if name == "main" and not lane_changes:
            solid = f'changeLeft="{LAWLESS}" changeRight="{LAWLESS}"'
            lanes += [f'<lane index="{lane}" {solid}/>' for lane in LANES]
        lines.append(f"  <edge {attributes}>{''.join(lanes)}</edge>")
    # It comes from the side and ends beside the carriageway, where the acceleration lane begins.
    y = lane_y(SHOULDER)
    shape = f"100,-60 250,-10 330,{y:g} {EDGES['merge'][0]:g},{y:g}"
    lines.append(
        f'  <edge id="ramp" from="ramp_start" to="{names[1]}" numLanes="1" speed="{RAMP_SPEED:g}" shape="{shape}" '
        'spreadType="center"/>'
    )
    return "\n".join(["<edges>", *lines, "</edges>", ""])


def connections_text() -> str:
    """SUMO's connections: straight on in every lane; the acceleration lane ends."""
    pairs = [(a, b, lane) for a, b in pairwise(ROUTE) for lane in LANES] + [("ramp", "merge", SHOULDER)]
    lines = [f'  <connection from="{a}" to="{b}" fromLane="{lane}" toLane="{lane}"/>' for a, b, lane in pairs]
    return "\n".join(["<connections>", *lines, "</connections>", ""])


def lane_y(lane: str) -> float:
    """SUMO's y of a lane's middle, in m."""
    return (int(lane) - 2) * LANE_WIDTH_M


def edge_at(s: float) -> tuple[str, float]:
    """The edge that a place on the road belongs to, and metres from that edge's beginning.

    Raises:
        ValueError: beyond the ends of the road.
    """
    for name, (low, high) in EDGES.items():
        if low <= s < high:
            return name, s - low
    raise DataError(f"s = {s:g} m is not on the road, which is {EDGES['tail'][1]:g} m long")


def _node_names() -> list[str]:
    return ["start", "nose", "taper", "out", "end"]
