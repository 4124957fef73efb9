"""Speed of KITTI's evaluation: all frames at once against the loop over frames, on made-up objects, in one run.

    python -m benchmarks.speed.speed_kitti_eval [--frames 3769] [--objects 20] [--detections 50] [--plain-frames 60]

Ours is timed on all frames, and on the first --plain-frames of them in turns with the loop, whose results must agree.
Times of all frames are those of the clock, of the comparison those of the processor, which other load disturbs less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.process_memory import peak_mb
from benchmarks.speed.plain_kitti_ap import evaluate_plain
from d2road.evaluation.metrics.kitti_objects import ObjectTable, read_labels_folder, read_predictions_folder
from d2road.evaluation.metrics.kitti_protocol import CLASSES, evaluate_kitti

HEIGHT_WIDTH_LENGTH = {
    "Car": (1.5, 1.6, 3.9), "Van": (2.2, 1.9, 5.1), "Pedestrian": (1.8, 0.7, 0.8), "Cyclist": (1.7, 0.6, 1.8),
}  # fmt: skip


def make_frame(rng: np.random.Generator, objects: int, detections: int) -> tuple[str, str]:
    """Text of the labels and of the predictions of a frame; detections are objects moved a little or a lot."""
    types = rng.choice(list(HEIGHT_WIDTH_LENGTH), size=objects, p=[0.6, 0.1, 0.15, 0.15])
    rows = np.zeros((objects, 14))
    rows[:, 0], rows[:, 1] = rng.choice([0, 0.2, 0.4], objects), rng.integers(0, 4, objects)
    rows[:, 7:10] = np.array([HEIGHT_WIDTH_LENGTH[t] for t in types]) * rng.normal(1, 0.05, (objects, 3))
    rows[:, 12] = rng.uniform(6, 60, objects)
    rows[:, 10], rows[:, 11] = rng.uniform(-0.6, 0.6, objects) * rows[:, 12], rng.normal(1.7, 0.1, objects)
    rows[:, 13] = rng.uniform(-np.pi, np.pi, objects)
    found = rng.integers(0, objects, detections)
    moved = rows[found] + rng.normal(0, 1, (detections, 14)) * rng.choice([0.1, 0.4], (detections, 1)) * np.array(
        [0, 0, 0, 0, 0, 0, 0, 0.1, 0.1, 0.2, 0.3, 0.1, 0.5, 0.2]
    )
    moved[:, 7:10] = np.abs(moved[:, 7:10]) + 0.05
    scores = rng.random(detections)
    labels = [_row(t, r) for t, r in zip(types, rows)] + [
        "DontCare -1 -1 -10 100 150 200 190 -1 -1 -1 -1000 -1000 -1000 -10"
    ]
    named = np.where(types[found] == "Van", "Car", types[found])
    return "\n".join(labels), "\n".join(f"{_row(t, r)} {s:.4f}" for t, r, s in zip(named, moved, scores))


def _row(kind: str, row: np.ndarray) -> str:
    x, y, z, h, w, ry = *row[10:13], row[7], row[8], row[13]
    u, v, scale = 620 + 720 * x / z, 180 + 720 * y / z, 720 / z
    row = row.copy()
    row[2] = ry - np.arctan2(x, z)
    row[3:7] = u - scale * w, v - scale * h, u + scale * w, v
    return f"{kind} " + " ".join(f"{value:.2f}" for value in row)


def write_frames(folder: Path, frames: int, objects: int, detections: int, seed: int = 0) -> list[str]:
    """Folders gt and pred below `folder`; returns the names of the frames."""
    rng, names = np.random.default_rng(seed), [f"{i:06d}" for i in range(frames)]
    for kind in ("gt", "pred"):
        (folder / kind).mkdir(parents=True)
    for name in names:
        for kind, text in zip(("gt", "pred"), make_frame(rng, objects, detections)):
            (folder / kind / f"{name}.txt").write_text(text + "\n")
    return names


def first_frames(objects: ObjectTable, count: int) -> ObjectTable:
    """The objects of the first frames."""
    return objects[objects.frame < count]


def main(argv: Sequence[str] | None = None) -> int:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("frames", 3769), ("objects", 20), ("detections", 50), ("plain-frames", 60), ("turns", 3)):
        parser.add_argument(f"--{option}", type=int, default=value)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = write_frames(root, args.frames, args.objects, args.detections)
        start = time.perf_counter()
        truth, predictions = read_labels_folder(root / "gt", names), read_predictions_folder(root / "pred", names)
        read = time.perf_counter() - start
    start = time.perf_counter()
    evaluate_kitti(truth, predictions)
    evaluated = time.perf_counter() - start
    print(f"{args.frames} frames: read {read:.1f} s, evaluate {evaluated:.1f} s, peak {peak_mb():.0f} MB")
    compare(first_frames(truth, args.plain_frames), first_frames(predictions, args.plain_frames), args)
    return 0


def compare(truth: ObjectTable, predictions: ObjectTable, args: argparse.Namespace) -> None:
    """Both in turns on the same frames, by processor time."""
    ratios, seconds = [], []
    for _ in range(args.turns):
        start = time.process_time()
        ours = evaluate_kitti(truth, predictions)
        middle = time.process_time()
        plain = evaluate_plain(truth, predictions, args.plain_frames, list(CLASSES))
        end = time.process_time()
        seconds.append((middle - start, end - middle))
        ratios.append((end - middle) / (middle - start))
        difference = max(
            np.nanmax(np.abs(np.subtract(ours[c][m][r], plain[c][m][r])))
            for c in plain
            for m in plain[c]
            for r in plain[c][m]
        )
    a, b = (statistics.median(column) for column in zip(*seconds))
    print(f"{args.plain_frames} frames: all at once {a:.2f} s, loop {b:.2f} s, largest difference {difference:.1e} AP")
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}), {args.turns} turns")


if __name__ == "__main__":
    sys.exit(main())
