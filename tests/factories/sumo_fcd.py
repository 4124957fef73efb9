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


@functools.cache
def sumo_fcd(suffix: str = "csv", seconds: int = 150, seed: int = 1, begin: int = 0) -> bytes:
    """What SUMO writes to `--fcd-output traffic.SUFFIX`, 10 Hz; the first car departs at `begin` (s)."""
    with tempfile.TemporaryDirectory(prefix="sumo-") as name:
        folder = Path(name)
        (folder / "n.nod.xml").write_text(f"<nodes>{NODES}</nodes>")
        (folder / "n.edg.xml").write_text(f"<edges>{ROADS}</edges>")
        (folder / "n.rou.xml").write_text(DEMAND.format(begin=begin))
        run_program("netconvert", ["-n", "n.nod.xml", "-e", "n.edg.xml", "-o", "n.net.xml"], folder)
        words = ["-n", "n.net.xml", "-r", "n.rou.xml", "--step-length", "0.1", "-e", str(seconds), "--seed", str(seed)]
        run_program("sumo", [*words, "--no-step-log", "--fcd-output", f"traffic.{suffix}"], folder)
        return (folder / f"traffic.{suffix}").read_bytes()


def split_at(content: bytes, t: float) -> tuple[bytes, bytes]:
    """The file of `sumo_fcd` as CSV up to a time (s), and the rest; both are whole lines."""
    lines = content.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if i and float(line.split(b";")[0]) >= t)
    return b"".join(lines[:first]), b"".join(lines[first:])
