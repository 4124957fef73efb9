"""Floating-car data that SUMO itself writes: three edges in a row, 1.2 km, cars every 2.4 s."""

import functools
import tempfile
from pathlib import Path

from d2road.synthetic.traffic_incidents.sumo import run_program

EDGES = "in:0, :b_0:296, main:300, :c_0:896, out:900"
NODES = "".join(f'<node id="{name}" x="{x}" y="0"/>' for name, x in (("a", 0), ("b", 300), ("c", 900), ("d", 1200)))
ROADS = "".join(
    f'<edge id="{name}" from="{start}" to="{end}" numLanes="{lanes}" speed="30"/>'
    for name, start, end, lanes in (("in", "a", "b", 2), ("main", "b", "c", 3), ("out", "c", "d", 2))
)
DEMAND = (
    '<routes><vType id="car"/><route id="r" edges="in main out"/><flow id="f" type="car" route="r" begin="{begin}" '
    'end="9999" vehsPerHour="1500" departLane="random" departSpeed="max"/></routes>'
)
PERSON = '<person id="{name}" depart="{{}}"><walk edges="in main" arrivalPos="50"/></person>'
CONTAINER = '<container id="c0" depart="{}"><tranship edges="in" arrivalPos="90" speed="2"/></container>'


@functools.cache
def sumo_fcd(suffix: str = "csv", seconds: int = 150, seed: int = 1, begin: int = 0) -> bytes:
    """What SUMO writes to `--fcd-output traffic.SUFFIX`, 10 Hz; the first car departs at `begin` (s)."""
    with tempfile.TemporaryDirectory(prefix="sumo-") as name:
        folder = Path(name)
        _network(folder)
        (folder / "n.rou.xml").write_text(DEMAND.format(begin=begin))
        words = ["-n", "n.net.xml", "-r", "n.rou.xml", "--step-length", "0.1", "-e", str(seconds), "--seed", str(seed)]
        run_program("sumo", [*words, "--no-step-log", "--fcd-output", f"traffic.{suffix}"], folder)
        return (folder / f"traffic.{suffix}").read_bytes()


@functools.cache
def sumo_mixed(suffix: str, person_first: bool = True, words: tuple[str, ...] = ()) -> bytes:
    """What SUMO writes to `--fcd-output traffic.SUFFIX` of 12 cars, 3 pedestrians and a container on a road of 1.2 km.

    The first object is a pedestrian or a car; without `words`, further options, 40 s at 10 Hz, with accelerations.
    """
    moving = [(4 * i + 5 * (not person_first), PERSON.format(name=f"p{i}")) for i in range(3)]
    moving += [(2.5 * i + person_first, f'<vehicle id="v{i}" type="car" route="r" depart="{{}}"/>') for i in range(12)]
    moving.append((3, CONTAINER))
    demand = "".join(text.replace("{}", str(depart)) for depart, text in sorted(moving))
    words = words or ("--step-length", "0.1", "-e", "40", "--fcd-output.acceleration")
    with tempfile.TemporaryDirectory(prefix="sumo-") as name:
        folder = Path(name)
        _network(folder)
        routes = f'<routes><vType id="car"/><route id="r" edges="in main out"/>{demand}</routes>'
        (folder / "n.rou.xml").write_text(routes)
        files = ["-n", "n.net.xml", "-r", "n.rou.xml", "--fcd-output", f"traffic.{suffix}"]
        run_program("sumo", [*files, "--no-step-log", *words], folder)
        return (folder / f"traffic.{suffix}").read_bytes()


def _network(folder: Path) -> None:
    (folder / "n.nod.xml").write_text(f"<nodes>{NODES}</nodes>")
    (folder / "n.edg.xml").write_text(f"<edges>{ROADS}</edges>")
    run_program("netconvert", ["-n", "n.nod.xml", "-e", "n.edg.xml", "-o", "n.net.xml"], folder)


def split_at(content: bytes, t: float) -> tuple[bytes, bytes]:
    """The file of `sumo_fcd` as CSV up to a time (s), and the rest; both are whole lines."""
    lines = content.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if i and float(line.split(b";")[0]) >= t)
    return b"".join(lines[:first]), b"".join(lines[first:])
