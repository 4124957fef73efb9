"""Saved anomaly maps of a category, by its folder and theirs: finding, reading, measuring."""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from d2road.utils.errors import DataError
from d2road.utils.image_io import image_size
from d2road.utils.progress import track
from efficientad.conformal import decision_threshold
from efficientad.data.btad_real_iad import BtadFolder, RealIadList, real_iad_root
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
from efficientad.data.held_out import TEST_SHARE, held_out
from efficientad.data.mvtec_ad_2 import PUBLIC, MvtecAd2Folder, public_root, refuse_released
from efficientad.evaluation.image_scores import GOOD, ImageScores, size_text
from efficientad.evaluation.map_files import MAP_SUFFIXES, UPLOADED, read_map, score_file
from efficientad.evaluation.spro import CONFIG_FILE, DefectType, read_defects_config

logger = logging.getLogger(__name__)
# Up to so many pixels every one is kept unless the caller says otherwise: below 2 GB of memory.
EXACT_PIXELS = 2**25


def score_folders(
    data: Path, maps: Path, exact: bool | None = None, workers: int = 1
) -> tuple[list[ImageScores], dict[int, DefectType] | None]:
    """Measure the saved maps of all test images of a category.

    Args:
        data: folder of the category.
        maps: folder with a map for each image, see `find_maps`.
        exact: keep every pixel; None where memory allows it.
        workers: threads.
    Returns:
        what was measured, and the types of defects for sPRO, if the data has them.
    Raises:
        FileNotFoundError, ValueError: input that cannot be evaluated.
    """
    layout = open_layout(data)
    entries = layout.test()
    names = [entry.path.relative_to(layout.root).with_suffix("").as_posix() for entry in entries]
    files = find_maps(names, maps, layout.root.resolve().name)
    types = defect_types(data, entries)
    if exact is None:
        exact = sum(math.prod(image_size(entry.path)) for entry in entries) <= EXACT_PIXELS
    kept = "every pixel" if exact else "streaming, some thousand weighted scores of every map"
    logger.info("%d images, %d of them good; %s", len(entries), sum(e.defect == GOOD for e in entries), kept)
    return score_maps(names, entries, files, types, exact, workers), types


def open_layout(data: Path) -> Layout:
    """The layout that the folder of a category has.

    Raises:
        FileNotFoundError: no such folder, or one without test images.
    """
    category = public_root(data)
    if category is not None:
        return MvtecAd2Folder(category)
    if (data / "test" / "ok").is_dir() and (data / "test" / "ko").is_dir():
        return BtadFolder(data)
    if (data / "test").is_dir():
        masks = list((data / "ground_truth").glob("*/*"))
        folders = any(path.is_dir() for path in masks) if masks else (data / CONFIG_FILE).is_file()
        return mvtec_loco(data) if folders else mvtec_ad(data)
    if (data.parent / VISA_TABLE).is_file():
        return VisaTable(data.parent, data.name)
    above = real_iad_root(data) if (data / "OK").is_dir() else None
    if above is not None:
        return RealIadList(above, data.absolute().name, data)
    if any((data / name).is_dir() for name in FOLDER_PARTS["bad"]):
        refuse_released(data)
        return PlainFolder(data, partial(held_out, share=TEST_SHARE))
    categories = sorted({path.parent.name for name in ("test", PUBLIC) for path in data.glob(f"*/{name}")})
    cure = f"; it holds categories, name one of {', '.join(categories[:20])}" if categories else ""
    raise FileNotFoundError(f"--data {data}: expected one category's folder, with a folder test or bad in it{cure}")


def find_maps(names: Sequence[str], folder: Path, category: str) -> list[Path]:
    """The map of every image, in the folder, in its folder CATEGORY, or beside it if it is itself called test.

    Of an upload to MVTec's server they are in anomaly_images/CATEGORY.

    Raises:
        FileNotFoundError: no such folder, or an image without a map.
        ValueError: two maps of one image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--maps {folder} is not a folder")
    candidates = [folder, folder / category, folder / UPLOADED / category]
    candidates += [folder.parent] if folder.name in ("test", PUBLIC) else []
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
        raise DataError(f"{' and '.join(map(str, twice))} are maps of one image: keep one of them")
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
    width, height = image_size(entry.path)
    if anomaly_map.shape != (height, width):
        raise DataError(
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
