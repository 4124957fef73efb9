"""Write the lists of frames of KITTI's object data, from given lists or at random.

    python datasets/prepare_kitti.py --root datasets/kitti_object --train train.txt --val val.txt
    python datasets/prepare_kitti.py --root datasets/kitti_object --random-seed 0

Published results on KITTI's training images use one division into 3,712 and 3,769 frames (Chen et al., 3D Object
Proposals for Accurate Object Class Detection, NIPS 2015), which keeps drives apart. It cannot be computed from the
data: give its two lists, which most 3D detectors for KITTI have in their repositories as ImageSets/train.txt and
val.txt. They are checked against the data and written to ImageSets/train.txt and val.txt.

A random division is written under other names (random0_train.txt, random0_val.txt; use kitti:ROOT:random0_val),
because neighbouring frames of a drive fall on both sides of it and its results compare with nobody's.
"""

import argparse
import random
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script from an uninstalled checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.data.datasets.frame_files import index_images, read_split
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.io import atomic_write

USUAL = (3712, 3769)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="datasets/kitti_object", help="holds training/image_2, label_2, calib")
    parser.add_argument("--train", type=Path, help="given list of training frames, one a line")
    parser.add_argument("--val", type=Path, help="given list of validation frames")
    parser.add_argument("--random-seed", type=int, help="divide at random with this seed instead")
    parser.add_argument("--val-share", type=float, default=0.5, help="share of validation frames if at random")
    return parser.parse_args()


def prepare(root: Path, train: Path | None, val: Path | None, seed: int | None, val_share: float) -> list[str]:
    """Write the lists and return what was done, a line each.

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
    lists = [read_split(path) for path in (train, val)]
    both = set(lists[0]) & set(lists[1])
    if both:
        raise ConfigError(f"{train} and {val} have {len(both)} frames in common, e.g. {min(both)}")
    for path, names in zip((train, val), lists):
        _check_files(base, path, names, set(frames))
    done = _write(root, "", *lists)
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
            raise ConfigError(
                f"{path}: {len(missing)} of {len(names)} frames have no file in {base / kind}, e.g. {missing[0]}"
            )


def _write(root: Path, prefix: str, train: list[str], val: list[str]) -> list[str]:
    done = []
    for split, names in (("train", train), ("val", val)):
        path = root / "ImageSets" / f"{prefix}{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(("\n".join(names) + "\n").encode())
        done.append(f"{path}: {len(names)} frames")
    return done


@report_errors
def main() -> int:
    """Write the lists; returns the exit code."""
    args = parse_args()
    done = prepare(Path(args.root).expanduser(), args.train, args.val, args.random_seed, args.val_share)
    print("\n".join(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
