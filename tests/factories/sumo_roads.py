"""Small roads and drives of SUMO for tests: networks by netconvert, floating-car data by sumo."""

from pathlib import Path

from d2road.synthetic.traffic_incidents import sumo

TYPES = '<vType id="car" vClass="passenger"/><vType id="truck" vClass="truck"/>'
# A road with its way back and a side street, all on one line but the last: node -> x, y; edge -> nodes, lanes.
ROAD = (
    {"A": (0, 0), "B": (300, 0), "C": (900, 0), "D": (1200, 0), "S": (900, -200)},
    {
        "in": ("A", "B", 2),
        "main": ("B", "C", 3),
        "out": ("C", "D", 2),
        "-out": ("D", "C", 2),
        "-main": ("C", "B", 2),
        "side": ("C", "S", 1),
        "-side": ("S", "C", 1),
    },
)
# Two lanes, one each way, in which one may overtake in the lane of oncoming traffic.
COUNTRY_ROAD = ({"A": (0, 0), "D": (2000, 0)}, {"fwd": ("A", "D", 1), "bwd": ("D", "A", 1)})
RING = (
    {"A": (0, 0), "B": (200, 0), "C": (200, 200), "D": (0, 200)},
    {"ab": ("A", "B", 1), "bc": ("B", "C", 1), "cd": ("C", "D", 1), "da": ("D", "A", 1)},
)


def make_net(folder: Path, road: tuple[dict, dict], words: tuple[str, ...] = (), speed: float = 33.0) -> Path:
    """A network of nodes and edges; words go to netconvert."""
    nodes, edges = road
    lines = [f'<node id="{name}" x="{x}" y="{y}"/>' for name, (x, y) in nodes.items()]
    (folder / "n.nod.xml").write_text(f"<nodes>{''.join(lines)}</nodes>")
    lines = [
        f'<edge id="{name}" from="{start}" to="{end}" numLanes="{lanes}" speed="{speed}"/>'
        for name, (start, end, lanes) in edges.items()
    ]
    (folder / "n.edg.xml").write_text(f"<edges>{''.join(lines)}</edges>")
    sumo.run_program("netconvert", ["-n", "n.nod.xml", "-e", "n.edg.xml", "-o", "net.xml", *words], folder)
    return folder / "net.xml"


def drive(folder: Path, routes: str, end: float, *words: str, step: float = 0.1, name: str = "fcd.xml") -> Path:
    """A file of FCD of `routes`, elements of a <routes> file beside TYPES, on the network of `make_net`."""
    (folder / "r.rou.xml").write_text(f"<routes>{TYPES}{routes}</routes>")
    command = ["-n", "net.xml", "-r", "r.rou.xml", "--step-length", f"{step:g}", "-e", f"{end:g}", "--no-step-log"]
    sumo.run_program("sumo", [*command, "--fcd-output", name, *words], folder)
    return folder / name
