"""Where the lanes inside junctions begin along a road, from the vehicles that cross them: for `edges` without them."""

from collections.abc import Mapping

import numpy as np

LONGEST_STEP_S = 2.0  # between two rows, to add up a way
MOST_CROSSINGS = 200  # of a block; some are enough for a median


class JunctionOffsets:
    """Metres at which inner edges begin, seen from the edges around them.

    Args:
        edges: metres at the start of each edge, and its direction.
    """

    def __init__(self, edges: Mapping[str, tuple[float, int]]):
        self.edges = edges
        self.found: dict[str, tuple[float, int]] = {}
        self.looked_at: set[str] = set()

    def add(self, vehicle: np.ndarray, t: np.ndarray, edge: np.ndarray, pos: np.ndarray, speed: np.ndarray) -> None:
        """Look at rows in order of time, arrays of one length: number of the vehicle, s, name, m, m/s."""
        inner = np.array([str(name).startswith(":") and name not in self.edges for name in edge])
        if {str(name) for name in np.unique(edge[inner].astype(str))} <= self.looked_at:
            return
        order = np.argsort(vehicle, kind="stable")
        vehicle, t, edge, pos, speed, inner = (a[order] for a in (vehicle, t, edge, pos, speed, inner))
        starts = np.flatnonzero(inner[1:] & ~inner[:-1] & (vehicle[1:] == vehicle[:-1])) + 1
        seen: dict[tuple[str, int], list[float]] = {}
        for start in starts[:MOST_CROSSINGS]:
            before = self.edges.get(str(edge[start - 1]))
            if before is None:
                continue
            s, i = before[0] + pos[start - 1], int(start)
            begins: dict[str, float] = {}
            while i < len(t) and inner[i] and vehicle[i] == vehicle[start] and t[i] - t[i - 1] < LONGEST_STEP_S:
                s += speed[i] * (t[i] - t[i - 1])
                begins.setdefault(str(edge[i]), s - pos[i])
                i += 1
            after = self.edges.get(str(edge[i])) if i < len(t) and vehicle[i] == vehicle[start] else None
            if after is not None and after[1] == before[1]:
                for name, at in begins.items():
                    seen.setdefault((name, before[1]), []).append(at)
        for (name, direction), places in seen.items():
            self.found[name] = (round(float(np.median(places)), 1), direction)
            self.looked_at.add(name)

    def option(self) -> str:
        """`edges` with them, as it is written; "" where there are none."""
        if not self.found:
            return ""
        both = {**self.edges, **self.found}
        names = sorted(both, key=lambda name: (-both[name][1], both[name][0]))
        return "edges=" + ",".join(f"{n}:{both[n][0]:g}" + (":-1" if both[n][1] < 0 else "") for n in names)
