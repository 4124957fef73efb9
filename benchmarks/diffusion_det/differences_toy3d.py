"""Differences of AP between settings of the toy benchmark of 3D pose, with bootstrap intervals over the images.

They need the matches of both settings, which stay in output/; what was found once is kept as a record.
"""

import time
from pathlib import Path

from benchmarks.common.markdown import table
from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.diffusion_det.toy3d_variants import BENCH
from d2road.evaluation.metrics.ap_bootstrap import KITTI_RECALL_POINTS, MatchTable, paired_bootstrap
from d2road.evaluation.roadside_evaluator import read_matches

METRICS = ("car 3d@0.5", "car 3d@0.25", "big_vehicle 3d@0.5", "big_vehicle 3d@0.25")
SETTINGS = [f"{run}_{ground}" for run in ("ddim1", "ddim4", "restart4") for ground in ("rgb", "plane")]
# Setting -> setting within a variant with pose in the state, and within the read-out variant.
STATE_STEPS = [
    (f"{a}_{g}", f"{b}_{g}") for a, b in (("ddim1", "ddim4"), ("restart4", "ddim4")) for g in ("rgb", "plane")
]
STEPS = [
    *STATE_STEPS,
    ("ddim4_rgb", "ddim4_plane"),
    ("ddim4_alone", "ddim4_plane"),
    ("ddim4_score_2d", "ddim4_plane"),
]

Side = tuple[str, str]  # variant, setting


def pairs() -> list[tuple[Side, Side]]:
    """What is compared: A, B and B along a flow in the same setting, B with A and restart, and settings of each."""
    compared = [(("readout", name), ("state", name)) for name in SETTINGS]
    compared += [(("readout", f"restart4_{g}"), ("state", f"ddim4_{g}")) for g in ("rgb", "plane")]
    compared += [(("state", name), ("state_flow", name)) for name in SETTINGS]
    compared += [(("state_flow", a), ("state_flow", b)) for a, b in STATE_STEPS]
    return compared + [(("readout", a), ("readout", b)) for a, b in STEPS]


def matches_path(side: Side, seed: int) -> Path:
    """Where the evaluation of a setting leaves its matches."""
    variant, setting = side
    return Path(f"output/bench/{BENCH}_{variant}_seed{seed}/eval/{setting}/roadside_matches.npz")


def update(seed: int) -> dict[str, dict]:
    """Intervals by "b - a" and metric: those on record, after adding or replacing what newer matches give."""
    name = f"differences_seed{seed}"
    record, path = read_record(BENCH, name), record_path(BENCH, name)
    kept = record["metrics"] if record else {}
    written = path.stat().st_mtime if record else 0.0
    start, fresh, cache = time.perf_counter(), {}, {}

    def tables(side: Side) -> dict[str, MatchTable]:
        if side not in cache:
            cache[side] = read_matches(matches_path(side, seed))[0]
        return cache[side]

    for a, b in pairs():
        label, files = f"{' '.join(b)} - {' '.join(a)}", [matches_path(side, seed) for side in (a, b)]
        if all(f.is_file() for f in files) and (label not in kept or max(f.stat().st_mtime for f in files) > written):
            common = [m for m in METRICS if m in tables(a) and m in tables(b) and tables(a)[m].objects.any()]
            fresh[label] = {
                m: paired_bootstrap([tables(a)[m]], [tables(b)[m]], recall_points=KITTI_RECALL_POINTS) for m in common
            }
    if fresh:
        write_record(
            BENCH, name, metrics={**kept, **fresh}, seed=seed, config="", seconds=time.perf_counter() - start,
            command="python -m benchmarks.diffusion_det.diffusion_toy3d --table",
        )  # fmt: skip
    return {**kept, **fresh}


def differences(seeds: list[int]) -> list[str]:
    """The section of the table; empty without any pair."""
    rows = []
    for seed in seeds:
        found = update(seed)
        for a, b in pairs():
            row = found.get(f"{' '.join(b)} - {' '.join(a)}")
            if row:
                cells = [interval(row[m]) if m in row else "-" for m in METRICS]
                rows.append([str(seed), f"{_words(b)} - {_words(a)}", *cells])
    note = (
        "Points of AP3D with the 95 % interval of a paired bootstrap over the images (1000 draws): the spread over "
        "images of one trained model each, not over trainings. "
        "AP here is that of match tables and differs a little from the tables above."
    )
    head = ["seed", "difference", *(m.replace("_", " ").replace("3d", "3D") for m in METRICS)]
    title = "Differences: A (readout), B (state, state flow), steps, branches"
    return table(title, note, head, rows)


def interval(entry: dict[str, float]) -> str:
    """ "+1.2 (-0.5 to +3.0)"."""
    return f"{entry['difference']:+.1f} ({entry['low']:+.1f} to {entry['high']:+.1f})"


def _words(side: Side) -> str:
    return " ".join(side).replace("_", " ")
