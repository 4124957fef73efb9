"""Lists of KITTI's frames: given ones, checked against the data, or a random division.

Published results on KITTI's training images use one division into 3,712 and 3,769 frames (Chen et al., 3D Object
Proposals for Accurate Object Class Detection, NIPS 2015), which keeps drives apart. It cannot be computed from the
data: most 3D detectors for KITTI have its two lists in their repositories as ImageSets/train.txt and val.txt.

A random division is written under other names (random0_train.txt, random0_val.txt; use kitti:ROOT:random0_val),
because neighbouring frames of a drive fall on both sides of it and its results compare with nobody's.
"""

import random
from pathlib import Path

from d2road.data.datasets.frame_files import index_images
from d2road.data.datasets.split_files import read_split
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.output_files import atomic_write, make_folder

USUAL = (3712, 3769)


def write_kitti_lists(
    root: Path, train: Path | None, val: Path | None, seed: int | None = None, val_share: float = 0.5
) -> list[str]:
    """Write ImageSets/*.txt and return what was done, a line each.

    Args:
        root: holds training/image_2, label_2 and calib, or these three.
        train, val: given lists, a frame a line.
        seed: divide at random with this seed instead.
        val_share: share of validation frames of a random division.
    Raises:
        FileNotFoundError: the data or a list is not there.
        ValueError: neither lists nor a seed, a list that does not fit the data, frames in both lists.
    """
    if (train is None) != (val is None) or (train is None) == (seed is None):
        raise ConfigError(
            "give both --train and --val, the lists of the usual division (ImageSets/train.txt and val.txt of most 3D "
            "detectors for KITTI; they cannot be computed from the data), or --random-seed for one of your own"
        )
    base = root / "training" if (root / "training").is_dir() else root
    frames = sorted(index_images([base / "image_2"], "download the object data from cvlibs.net"))
    if seed is not None:
        return _write(root, f"random{seed}_", *_random_division(frames, seed, val_share))
    assert train is not None and val is not None  # checked above
    lists = (read_split(train), read_split(val))
    both = set(lists[0]) & set(lists[1])
    if both:
        raise DataError(f"{train} and {val} have {len(both)} frames in common, e.g. {min(both)}")
    for path, names in zip((train, val), lists):
        _check_files(base, path, names, set(frames))
    done = _write(root, "", *lists)
    left = len(set(frames).difference(*lists))
    if left:
        done.append(f"{left} of {len(frames)} images are in neither list")
    if tuple(map(len, lists)) != USUAL:
        done.append(
            f"these are not the usual {USUAL[0]} and {USUAL[1]} frames: results do not compare with published ones"
        )
    return done


def _random_division(frames: list[str], seed: int, val_share: float) -> tuple[list[str], list[str]]:
    count = round(len(frames) * val_share)
    if not 0 < count < len(frames):
        raise ConfigError(f"--val-share {val_share} of {len(frames)} frames leaves one list empty")
    val = set(random.Random(seed).sample(frames, count))
    return [f for f in frames if f not in val], sorted(val)


def _check_files(base: Path, path: Path, names: list[str], images: set[str]) -> None:
    for kind, missing in (
        ("image_2", [n for n in names if n not in images]),
        ("label_2", [n for n in names if not (base / "label_2" / f"{n}.txt").is_file()]),
        ("calib", [n for n in names if not (base / "calib" / f"{n}.txt").is_file()]),
    ):
        if missing:
            raise DataError(
                f"{path}: {len(missing)} of {len(names)} frames have no file in {base / kind}, e.g. {missing[0]}"
            )


def _write(root: Path, prefix: str, train: list[str], val: list[str]) -> list[str]:
    done = []
    for split, names in (("train", train), ("val", val)):
        path = root / "ImageSets" / f"{prefix}{split}.txt"
        make_folder(path.parent)
        with atomic_write(path) as file:
            file.write(("\n".join(names) + "\n").encode())
        done.append(f"{path}: {len(names)} frames")
    return done
