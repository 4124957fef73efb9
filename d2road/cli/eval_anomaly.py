"""Anomaly maps of one category against its masks: AUROC, AU-PRO, sPRO, F1. No model is needed.

    d2road eval-anomaly --data mvtec_loco/pushpins --maps maps/pushpins [--json FILE] \\
        [--exact | --streaming] [--bootstrap 1000] [--good-maps DIR | --threshold T] [--workers 2]

--data is the folder of one category: of MVTec AD, of MVTec LOCO, of VisA as released, or an own one with good, bad and
masks. --maps has the map of test/KIND/NAME.png as test/KIND/NAME.tiff (or .tif, .npy), likewise for every layout, at
the size of the image. Writes fractions, null where there is nothing to measure:

    {"image_auroc": pooled, "image_auroc_by_type": {"KIND": ...}, "pixel_auroc": ..., "aupro": up to a false-positive
     rate of 0.3, "auspro": {"KIND": {"0.01": ..., "0.05": ..., "0.1": ..., "0.3": ..., "1.0": ...}, "mean": {...}},
     "f1_max": of images, "pixel_f1_max": ...}

auspro is null for data without defects_config.json. Further keys: with --bootstrap "intervals", with a threshold
"good_threshold", "f1_at_good_threshold" and "pixel_f1_at_good_threshold".
The exit code is 0, or 2 for input that cannot be evaluated.
"""

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from d2road.evaluation.results import write_results
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.progress import track
from efficientad.calibration_statistics import decision_threshold
from efficientad.data.anomaly_datasets import TEST_SHARE, held_out, picture_size
from efficientad.data.dataset_layouts import (
    FOLDER_PARTS,
    VISA_TABLE,
    Entry,
    Layout,
    PlainFolder,
    VisaTable,
    mvtec_ad,
    mvtec_loco,
)
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.bootstrap_intervals import bootstrap
from efficientad.evaluation.image_scores import GOOD, ImageScores, size_text
from efficientad.evaluation.map_files import MAP_SUFFIXES, read_map, score_file
from efficientad.evaluation.spro import CONFIG_FILE, DefectType, read_defects_config

logger = logging.getLogger("d2road.eval_anomaly")
# Up to so many pixels every one is kept unless --streaming says otherwise: below 2 GB of memory.
EXACT_PIXELS = 2**25


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, print and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    results = run(args)
    print(format_table(results))
    if args.json:
        write_results(args.json, results)
    return 0


def parser() -> argparse.ArgumentParser:
    """Options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of one category")
    options.add_argument("--maps", type=Path, required=True, metavar="DIR", help="folder with test/KIND/NAME.tiff")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    mode = options.add_mutually_exclusive_group()
    mode.add_argument("--exact", action="store_true", help="keep every pixel: about 30 bytes of memory a pixel")
    mode.add_argument("--streaming", action="store_true", help="keep some thousand points of every map")
    options.add_argument("--bootstrap", type=int, default=0, metavar="DRAWS", help="add 95 %% intervals over images")
    options.add_argument("--seed", type=int, default=0, help="of the draws")
    good = options.add_mutually_exclusive_group()
    good.add_argument(
        "--threshold", type=float, help="a map with a value above it is called anomalous, a pixel as well"
    )
    good.add_argument("--good-maps", type=Path, metavar="DIR", help="maps of good validation images, for the threshold")
    options.add_argument(
        "--fpr", type=float, default=0.01, help="share of good images that may be above the threshold; 0.01"
    )
    options.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8), help="threads that read maps")
    return options


def run(args: argparse.Namespace) -> dict:
    """Results of the tool as a dict.

    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    layout = open_layout(args.data)
    entries = layout.test()
    names = [entry.path.relative_to(layout.root).with_suffix("").as_posix() for entry in entries]
    maps = find_maps(names, args.maps, args.data.resolve().name)
    types = defect_types(args.data, entries)
    threshold = args.threshold
    if args.good_maps is not None:
        threshold = threshold_of(args.good_maps, args.fpr)
    elif threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"--threshold is {threshold}, expected a finite number")
    exact = args.exact
    if not (args.exact or args.streaming):
        exact = sum(math.prod(picture_size(entry.path)) for entry in entries) <= EXACT_PIXELS
    kept = "every pixel" if exact else "streaming, some thousand points of every map"
    logger.info("%d images, %d of them good; %s", len(entries), sum(e.defect == GOOD for e in entries), kept)
    scored = score_maps(names, entries, maps, types, exact, args.workers)
    results = evaluate(scored, types is not None, threshold)
    if args.bootstrap:
        results["intervals"] = bootstrap(scored, types is not None, args.bootstrap, args.seed)
    return results


def open_layout(data: Path) -> Layout:
    """The layout that the folder of a category has.

    Raises:
        FileNotFoundError: no such folder, or one without test images.
    """
    if (data / "test").is_dir():
        masks = list((data / "ground_truth").glob("*/*"))
        folders = any(path.is_dir() for path in masks) if masks else (data / CONFIG_FILE).is_file()
        return mvtec_loco(data) if folders else mvtec_ad(data)
    if (data.parent / VISA_TABLE).is_file():
        return VisaTable(data.parent, data.name)
    if any((data / name).is_dir() for name in FOLDER_PARTS["bad"]):
        return PlainFolder(data, partial(held_out, share=TEST_SHARE))
    categories = sorted(path.parent.name for path in data.glob("*/test"))
    cure = f"; it holds categories, name one of {', '.join(categories[:20])}" if categories else ""
    raise FileNotFoundError(f"--data {data}: expected one category's folder, with a folder test or bad in it{cure}")


def find_maps(names: Sequence[str], folder: Path, category: str) -> list[Path]:
    """The map of every image, in the folder, in its folder CATEGORY, or beside it if it is itself called test.

    Raises:
        FileNotFoundError: no such folder, or an image without a map.
        ValueError: two maps of one image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--maps {folder} is not a folder")
    candidates = [folder, folder / category, *([folder.parent] if folder.name == "test" else [])]
    parents = {Path(name).parent for name in names}
    root = next((path for path in candidates if any((path / p).is_dir() for p in parents)), folder)
    found = [[path for path in (root / f"{name}{s}" for s in MAP_SUFFIXES) if path.is_file()] for name in names]
    missing = [name for name, paths in zip(names, found) if not paths]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} test images have no anomaly map, {missing[0]} first: expected "
            f"{root / missing[0]}{MAP_SUFFIXES[0]} (or {', '.join(MAP_SUFFIXES[1:])})"
        )
    twice = next((paths for paths in found if len(paths) > 1), None)
    if twice:
        raise ConfigError(f"{' and '.join(map(str, twice))} are maps of one image: keep one of them")
    present = {p for parent in parents for p in (root / parent).iterdir() if p.suffix.lower() in MAP_SUFFIXES}
    surplus = len(present - {paths[0] for paths in found})
    if surplus:
        logger.warning("%d maps in %s belong to no test image and are left out", surplus, root)
    return [paths[0] for paths in found]


def defect_types(data: Path, entries: Sequence[Entry]) -> dict[int, DefectType] | None:
    """Types of defects for sPRO; None for data without them.

    Raises:
        FileNotFoundError, ValueError: see `read_defects_config`.
    """
    if (data / CONFIG_FILE).is_file():
        return read_defects_config(data / CONFIG_FILE)
    if any(mask.parent.name == entry.path.stem for entry in entries for mask in entry.masks):
        logger.warning("%s does not exist: sPRO is left out", data / CONFIG_FILE)
    return None


def score_maps(
    names: Sequence[str],
    entries: Sequence[Entry],
    maps: Sequence[Path],
    types: dict[int, DefectType] | None,
    exact: bool,
    workers: int,
) -> list[ImageScores]:
    """Read and measure every map, a few at a time.

    Raises:
        FileNotFoundError, ValueError: a map or mask that cannot be used; the message names the file.
    """
    score = partial(score_one, types=types, exact=exact)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads are ours
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        return list(track(pool.map(score, names, entries, maps), len(names), "maps", log=logger.info))
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def score_one(name: str, entry: Entry, path: Path, types: dict[int, DefectType] | None, exact: bool) -> ImageScores:
    """Measure one saved map."""
    anomaly_map = read_map(path)
    width, height = picture_size(entry.path)
    if anomaly_map.shape != (height, width):
        raise ConfigError(
            f"anomaly map {path} is {size_text(anomaly_map)}, but its image {entry.path} is {width}x{height} (width x "
            "height): maps are judged at the size of the image, so resize the map to it"
        )
    source = f"anomaly map {path}"
    return score_file(name, entry.defect, anomaly_map, entry.masks, types, exact, None, source, entry.ignore)


def threshold_of(folder: Path, false_positive_rate: float) -> float:
    """Threshold from a folder of maps of good images, searched in depth.

    Raises:
        FileNotFoundError, ValueError: no maps, or one that cannot be used.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MAP_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"--good-maps {folder} holds no maps ({', '.join(MAP_SUFFIXES)})")
    return decision_threshold([float(read_map(path).max()) for path in files], false_positive_rate)


def format_table(results: dict) -> str:
    """Results as lines of text."""
    intervals = results.get("intervals", {})
    lines = []

    def add(name: str, value, interval) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{name} {key}", item, interval.get(key) if isinstance(interval, dict) else None)
        elif value is not None:
            shown = "-" if math.isnan(value) else f"{value:.4f}"
            between = f"   [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
            lines.append(f"{name:<44}{shown:>8}{between}")

    for name, value in results.items():
        if name != "intervals":
            add(name, value, intervals.get(name))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
