"""Tables of the toy benchmark of 3D pose, made from its records; what has no record is left out.

python -m benchmarks.diffusion_det.diffusion_toy3d --table      benchmarks/results/diffusion_toy3d/table.md
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_metrics
from benchmarks.diffusion_det.differences_toy3d import differences
from benchmarks.diffusion_det.toy3d_variants import BENCH, CONFIGS, STATES, TILTS_DEG

RUNS = {"ddim1": "DDIM, 1 step", "ddim4": "DDIM, 4 steps", "restart4": "restart, 4 steps"}
GROUND = {"rgb": "RGB + intrinsics alone", "plane": "RGB + given plane"}
DECODINGS = {
    "only_direct": "direct alone",
    "only_plane": "plane alone",
    "only_height": "height alone",
    "alone": "fused, each object by itself",
    "plane": "fused, shared error of the plane",
    "rgb_only_direct": "no given plane: direct alone",
    "rgb_alone": "no given plane: fused, each object by itself",
    "rgb": "no given plane: fused, shared error of the plane",
}
CLASSES = {"car": "car", "big_vehicle": "big vehicle"}
RANGES = ("10-30m", "30-50m", "50-80m")
OCCLUSIONS = ("occluded_0", "occluded_1", "occluded_2")
# Variants whose tables are those of one model; the state variant is compared with the read-out.
TRAINED = {"readout": "", "nojitter": "; trained on exact planes, none predicted"}
FROZEN = "; trunk and first stage as in 2D (shipped)"  # the variant of the model zoo
MAIN_RUN = "ddim4"

Metrics = dict[str, dict[str, float]]
Records = dict[tuple[str, int], dict[str, Metrics]]


def write_tables() -> Path:
    """Write benchmarks/results/diffusion_toy3d/table.md from all records and return its path.

    Raises:
        DataError: a file among the records is none.
    """
    records = load_records()
    sections = [
        ["# 3D pose on the toy roadside benchmark", "", *about(records)],
        headline(records),
        places(records),
        ablation(records),
        depth_errors(records),
        edge_errors(records),
        tilt(records),
        focal(records),
        formulations(records),
        differences(sorted({seed for _, seed in records})),
    ]
    return write_page(RESULTS / BENCH / "table.md", sections)


def load_records() -> Records:
    """Metrics by (variant, seed) and by record name, such as "ddim4_plane"; trainings are left out."""
    found: Records = {}
    for folder in sorted((RESULTS / BENCH).glob("*_seed*")):
        parts = re.fullmatch(r"(.+)_seed(\d+)", folder.name)
        if not parts or parts[1] not in CONFIGS or not folder.is_dir():
            continue
        names = sorted(p.stem for p in folder.glob("*.json") if p.stem != "train")
        found[parts[1], int(parts[2])] = {n: read_metrics(BENCH, f"{folder.name}/{n}") for n in names}
    return found


def about(records: Records) -> list[str]:
    """What all tables share."""
    seeds = ", ".join(str(s) for s in sorted({seed for _, seed in records})) or "none yet"
    return [
        f"Seeds: {seeds}. The validation cameras were not in the training data. AP in percent, 40 recall points, boxes "
        'on the ground unless "compat" (camera-upright boxes, KITTI\'s moderate difficulty) is said. Objects of 10 to '
        "80 m. Each table comes from one model a seed; only the decoding differs.",
    ]


def value(metrics: Metrics, task: str, key: str, digits: int = 1, sign: str = "") -> str:
    """A figure as text, "-" where there is none."""
    number = metrics.get(task, {}).get(key)
    return "-" if number is None or math.isnan(number) else f"{number:{sign}.{digits}f}"


def rows_of(
    records: Records, variant: str, names: dict[str, str], cells: Callable[[Metrics], Sequence[str]]
) -> Iterable[list[str]]:
    """Seed, label and cells of each record in `names` (record name -> label) that exists."""
    for (own, seed), entries in sorted(records.items()):
        if own == variant:
            yield from ([str(seed), label, *cells(entries[name])] for name, label in names.items() if name in entries)


def headline(records: Records) -> list[str]:
    """The two rows that any result needs, for all samplings."""
    names = {f"{run}_{g}": f"{ground}, {steps}" for g, ground in GROUND.items() for run, steps in RUNS.items()}
    keys = [("ground", f"{c}_{m}@{o:g}") for c in CLASSES for m in ("3d", "bev") for o in (0.5, 0.25)]
    keys += [("compat", f"{c}_3d@{o:g}_moderate") for c in CLASSES for o in (0.5, 0.25)] + [("bbox", "AP50")]
    head = ["seed", "input, sampling"]
    head += [f"{c} {m}@{o:g}" for c in CLASSES.values() for m in ("3D", "BEV") for o in (0.5, 0.25)]
    head += [f"{c} 3D@{o:g} compat" for c in CLASSES.values() for o in (0.5, 0.25)] + ["2D AP50"]
    frozen = {name: words + FROZEN for name, words in names.items()}
    rows = [
        row
        for variant, labels in (("readout", names), ("shipped", frozen))
        for row in rows_of(records, variant, labels, lambda m: [value(m, *key) for key in keys])
    ]
    return table("Headline", "Pose as a read-out (A); fused depth.", head, rows)


def places(records: Records) -> list[str]:
    """AP by range and by visibility."""
    subsets = ("", *(f"_{s}" for s in (*RANGES, *OCCLUSIONS)))
    rows: list[list[str]] = []
    for name, label in CLASSES.items():
        for overlap in (0.5, 0.25):
            names = {f"{MAIN_RUN}_{g}": f"{label} 3D@{overlap:g}, {ground}" for g, ground in GROUND.items()}
            cells = lambda m, stem=f"{name}_3d@{overlap:g}": [value(m, "ground", stem + s) for s in subsets]  # noqa: E731
            rows += rows_of(records, "readout", names, cells)
    note = f"{RUNS[MAIN_RUN]}. Every false positive counts for every visibility, so compare those columns downwards."
    head = ["seed", "", "all", *RANGES, *(s.replace("_", " ") for s in OCCLUSIONS)]
    return table("By range and visibility", note, head, rows)


def ablation(records: Records) -> list[str]:
    """Depth branches, and the score without the predicted quality."""
    names = {f"{MAIN_RUN}_{way}": label for way, label in DECODINGS.items()}
    names[f"{MAIN_RUN}_score_2d"] = "fused, shared error of the plane; ranked by the 2D score alone"
    keys = [("ground", f"car_{m}@{o:g}") for m in ("3d", "bev") for o in (0.5, 0.25)]
    keys += [("ground", f"big_vehicle_3d@{o:g}") for o in (0.5, 0.25)]
    head = ["seed", "depth branch", *(f"car {m}@{o:g}" for m in ("3D", "BEV") for o in (0.5, 0.25))]
    head += [f"big vehicle 3D@{o:g}" for o in (0.5, 0.25)]
    rows = rows_of(records, "readout", names, lambda m: [value(m, *key) for key in keys])
    return table("Depth branches", f"{RUNS[MAIN_RUN]}; chosen at test time.", head, rows)


def depth_errors(records: Records) -> list[str]:
    """Relative depth error of matches by range."""
    names = {f"{MAIN_RUN}_{way}": label for way, label in DECODINGS.items()}

    def cells(metrics: Metrics) -> list[str]:
        text = []
        for subset in ("", *(f"_{r}" for r in RANGES)):
            median, p90 = (value(metrics, "ground_errors", f"car_depth_{f}{subset}") for f in ("median", "p90"))
            text.append(
                f"{median} / {p90} ({value(metrics, 'ground_errors', f'car_depth_signed_median{subset}', 1, '+')})"
            )
        return text

    note = (
        "Cars that are matched in the image, percent of depth: median / 90th percentile of the absolute error (median "
        f"of the signed error). {RUNS[MAIN_RUN]}."
    )
    return table(
        "Depth error by range",
        note,
        ["seed", "depth branch", "all", *RANGES],
        rows_of(records, "readout", names, cells),
    )


def edge_errors(records: Records) -> list[str]:
    """Errors of box edges, sizes and heading."""
    figures = ("edge_x1", "edge_y1", "edge_x2", "edge_y2", "size_h", "size_w", "size_l", "yaw_median", "yaw_reversed")
    rows: list[list[str]] = []
    for name, label in CLASSES.items():
        for run, steps in RUNS.items():
            for subset in ("", *(f"_{r}" for r in RANGES)):
                names = {f"{run}_plane": f"{label}, {subset[1:] or 'all'}, {steps}"}
                cells = lambda m, n=name, s=subset: [  # noqa: E731
                    value(m, "ground_errors", f"{n}_matched{s}", 0),
                    *(value(m, "ground_errors", f"{n}_{f}{s}") for f in figures),
                ]
                rows += rows_of(records, "readout", names, cells)
    note = (
        "Medians over matched objects: edges of the 2D box in percent of its height, sizes in percent, heading in "
        "degrees; reversed: percent of headings more than 90 degrees off."
    )
    head = ["seed", "", "matched", "left", "top", "right", "bottom", "h", "w", "l", "heading", "reversed"]
    return table("Edges, sizes, heading", note, head, rows)


def tilt(records: Records) -> list[str]:
    """What a wrong plane costs, trusted or corrected, with jitter in training and without."""
    lines: list[str] = []
    for metric, task, label in (
        ("car_3d@0.25", "ground", "car 3D@0.25"),
        ("car_3d@0.5", "ground", "car 3D@0.5"),
        ("car_depth_median", "ground_errors", "car, median depth error in %"),
    ):
        rows: list[list[str]] = []
        for (variant, seed), entries in sorted(records.items()):
            for way, words in (("trusted", "plane taken as given"), ("corrected", "plane corrected")):
                names = [f"{MAIN_RUN}_{way}{t}" for t in ("", *(f"_tilt{t:g}" for t in TILTS_DEG))]
                if variant in TRAINED and any(n in entries for n in names):
                    cells = [value(entries.get(n, {}), task, metric) for n in names]
                    rows.append([str(seed), words + TRAINED[variant], *cells])
            if variant in TRAINED and f"{MAIN_RUN}_rgb" in entries:
                same = value(entries[f"{MAIN_RUN}_rgb"], task, metric)
                rows.append([str(seed), "no given plane" + TRAINED[variant], *[same] * (1 + len(TILTS_DEG))])
        note = (
            "Roll and pitch of the given plane are both off by so many degrees, of random sign. Corrected: by the "
            f"image and by what all objects say together, within a deviation of 0.5 degrees. {RUNS[MAIN_RUN]}."
        )
        head = ["seed", "", *(f"{t:g} deg" for t in (0, *TILTS_DEG))]
        lines += ([""] if lines else []) + table(f"Tilted plane: {label}", note, head, rows)
    return lines if any(lines) else []


def focal(records: Records) -> list[str]:
    """What a wrong focal length costs."""
    ways = {"rgb": "no given plane", "plane": "given plane, fused", "trusted": "plane taken as given"}
    rows: list[list[str]] = []
    for (variant, seed), entries in sorted(records.items()):
        for way, words in ways.items():
            names = [f"{MAIN_RUN}_{way}{f}" for f in ("_focal0.95", "", "_focal1.05")]
            if variant in TRAINED and any(n in entries for n in names):
                cells = [value(entries.get(n, {}), "ground", f"car_3d@{o:g}") for o in (0.5, 0.25) for n in names]
                rows.append([str(seed), words + TRAINED[variant], *cells])
    head = ["seed", "", *(f"car 3D@{o:g}, {f}" for o in (0.5, 0.25) for f in ("-5 %", "right", "+5 %"))]
    return table("Wrong focal length", f"{RUNS[MAIN_RUN]}.", head, rows)


def formulations(records: Records) -> list[str]:
    """Pose as a read-out (A) beside pose in the diffusion state (B)."""
    seeds = {seed for variant, seed in records if variant in STATES}
    rows: list[list[str]] = []
    for run, steps in RUNS.items():
        for ground, words in GROUND.items():
            for variant, letter in (("readout", "A"), *STATES.items()):
                own = {key: entries for key, entries in records.items() if key[1] in seeds}
                keys = [f"{c}_{m}@{o:g}" for c in CLASSES for m in ("3d", "bev") for o in (0.5, 0.25)]
                cells = lambda m, keys=keys: [value(m, "ground", key) for key in keys]  # noqa: E731
                rows += rows_of(own, variant, {f"{run}_{ground}": f"{letter}, {words}, {steps}"}, cells)
    head = ["seed", "", *(f"{c} {m}@{o:g}" for c in CLASSES.values() for m in ("3D", "BEV") for o in (0.5, 0.25))]
    return table("A (readout) and B (state), trained alike", "", head, rows)
