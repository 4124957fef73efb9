"""Speed and memory of d2road eval-anomaly on made-up maps, in a process of its own.

    python -m benchmarks.speed.speed_anomaly_eval [--images 400] [--size 1024] [--mode streaming] [--workers 2]
        [--folder DIR]

Writes a category in the layout of MVTec LOCO (a third good, logical, structural; two defects an image) and its maps,
of which each is different, runs the tool on it and prints seconds of the clock and of the processor and the peak of its
memory, and with --compare the largest difference of a metric to exact mode.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from d2road.utils.progress import track
from efficientad.evaluation.map_files import write_map

KINDS = ("good", "logical_anomalies", "structural_anomalies")
CONFIG = [
    {"defect_name": "gap", "pixel_value": 255, "saturation_threshold": 5000, "relative_saturation": False},
    {"defect_name": "dirt", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
]
# Runs the tool and writes processor seconds and the peak of its memory in MB as the last line.
CHILD = (
    "import sys, time; from d2road.cli.eval_anomaly import main; "
    "from benchmarks.speed.speed_kitti_eval import peak_mb; "
    "loaded = time.process_time(); code = main(sys.argv[1:]); "
    "print(loaded, time.process_time() - loaded, peak_mb()); sys.exit(code)"
)


def write_category(folder: Path, images: int, size: int, seed: int = 0) -> tuple[Path, Path]:
    """Folders of the data and of the maps."""
    rng, data, maps = np.random.default_rng(seed), folder / "data", folder / "maps"
    blank = np.zeros((size, size), dtype=np.uint8)
    for number in track(range(images), images, "writing"):
        kind, name = KINDS[number % 3], f"{number:04d}"
        anomaly_map = _noise(rng, size)
        image = data / "test" / kind / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), blank)
        for defect in range(0 if kind == "good" else 2):
            mask = (_noise(rng, size, coarse=64) > 1.6).astype(np.uint8)
            mask[: size // 16, : size // 16] = 1
            path = data / "ground_truth" / kind / name / f"{defect:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask * (255 - defect))
            anomaly_map += rng.uniform(0, 2) * mask
        write_map(maps / "test" / kind / f"{name}.tiff", anomaly_map)
    (data / "defects_config.json").write_text(json.dumps(CONFIG))
    return data, maps


def _noise(rng: np.random.Generator, size: int, coarse: int = 8) -> np.ndarray:
    """Smooth noise of about unit deviation with a little of every pixel's own, as an enlarged map has none of it."""
    small = rng.normal(size=(-(-size // coarse), -(-size // coarse))).astype(np.float32)
    large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return large + 0.01 * rng.normal(size=(size, size)).astype(np.float32)


def run_tool(data: Path, maps: Path, mode: str, workers: int) -> tuple[dict, str]:
    """Results, and what they cost as text."""
    output = maps / f"{mode}.json"
    arguments = ["--data", data, "--maps", maps, "--json", output, f"--{mode}", "--workers", workers]
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    load, work, megabytes = map(float, done.stdout.splitlines()[-1].split())
    cost = f"{mode}, {workers} threads: {seconds:.1f} s; processor {load:.1f} s to load and {work:.1f} s to evaluate"
    return json.loads(output.read_text()), f"{cost}; peak {megabytes:.0f} MB"


def largest_difference(a: dict, b: dict) -> float:
    """Of all numbers of two results of the same keys."""
    differences = [0.0]
    for key, value in a.items():
        if isinstance(value, dict):
            differences.append(largest_difference(value, b[key]))
        elif value is not None:
            differences.append(abs(value - b[key]))
    return max(differences)


def main(argv: Sequence[str] | None = None) -> int:
    """Write, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("images", 400), ("size", 1024), ("workers", 2)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--mode", choices=("streaming", "exact"), default="streaming")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder: 5 MB an image")
    parser.add_argument("--compare", action="store_true", help="run exact mode as well: needs memory for every pixel")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        data, maps = write_category(Path(folder), args.images, args.size)
        results, cost = run_tool(data, maps, args.mode, args.workers)
        print(f"{args.images} maps of {args.size}x{args.size}, {cost}")
        if args.compare:
            exact, cost = run_tool(data, maps, "exact", args.workers)
            print(f"{cost}; largest difference {largest_difference(results, exact):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
