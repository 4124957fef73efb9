"""Layouts of data sets for anomaly detection: where they keep their images and masks.

A layout tells of one category: `good()` images to train on, `validation()` images or None where the release has
none, and `test()` entries. Images come sorted by name, masks are checked to be there; their sizes are not.
"""

import csv
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_text
from d2road.utils.registry import unknown_name

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
GOOD = "good"
UNLABELLED = "unlabelled"  # images of which nobody tells whether they are good
IGNORE = "ignore"
VISA_TABLE = "split_csv/1cls.csv"
VISA_COLUMNS = ("object", "split", "label", "image", "mask")
# Names of the parts of a plain folder; the second ones are anomalib's habit.
FOLDER_PARTS = {
    "good": ("good", "normal"),
    "bad": ("bad", "abnormal"),
    "good_test": ("good_test", "normal_test"),
    "validation": ("good_validation", "normal_validation"),
    "masks": ("masks", "mask", "ground_truth"),
}


@dataclass(frozen=True)
class Entry:
    """An image to test on: its defect ("good" for none), the files of its masks and of pixels to ignore, if any."""

    path: Path
    defect: str = GOOD
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None


class Layout(Protocol):
    """What a data set for anomaly detection consists of."""

    root: Path

    def good(self) -> list[Path]: ...

    def validation(self) -> list[Path] | None: ...

    def test(self) -> list[Entry]: ...


def image_files(folder: Path, what: str = "") -> list[Path]:
    """The images right inside a folder, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
        DataError: no image in it, or something named as one that is no file.
    """
    what = f" ({what})" if what else ""
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder}{what} does not exist{_existing(folder)}")
    named = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    odd = [path for path in named if not path.is_file()]
    if odd:
        raise DataError(
            f"{odd[0]} is named as an image but is no file ({len(odd)} such in {folder}): a folder, a pipe, or a link "
            "to what is not there; repair or remove it"
        )
    found = [path for path in named if is_image_file(path)]
    if not found:
        others = sorted({p.suffix or p.name for p in folder.iterdir()})[:5]
        raise DataError(
            f"folder {folder}{what} holds no image ({', '.join(SUFFIXES)}); it holds {', '.join(others) or 'nothing'}"
        )
    return found


def is_image_file(path: Path) -> bool:
    """Whether a file's name is that of an image; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _existing(folder: Path) -> str:
    """The nearest folder above that exists, and what is in it, to help find a wrong path."""
    for above in folder.parents:
        if above.is_dir():
            inside = sorted(p.name for p in above.iterdir() if p.is_dir())[:20]
            return f"; {above} holds the folders {', '.join(inside) if inside else '(none)'}"
    return ""


class MvtecFolder:
    """MVTec AD and MVTec LOCO: one category's folder.

        train/good/000.png    validation/good/000.png (LOCO)    test/good/000.png    test/<defect>/000.png
        ground_truth/<defect>/000_mask.png (AD)     ground_truth/<defect>/000/000.png, 001.png: a defect each (LOCO)
        ignore/<defect>/000_ignore.png: optional, not 0 where pixels outside the mask count neither way

    Args:
        root: of the category.
        masks_of: mask files of (folder of a defect's masks, stem of an image); empty if missing.
        expected: how a mask is named, for messages.
    """

    def __init__(self, root: Path, masks_of: Callable[[Path, str], list[Path]], expected: str):
        self.root, self.masks_of, self.expected = root, masks_of, expected

    def good(self) -> list[Path]:
        return image_files(self.root / "train" / GOOD, "images to train on")

    def validation(self) -> list[Path] | None:
        folder = self.root / "validation"
        return image_files(folder / GOOD, "images to calibrate with") if folder.is_dir() else None

    def test(self) -> list[Entry]:
        folder = self.root / "test"
        if not folder.is_dir():
            raise FileNotFoundError(f"folder {folder} does not exist{_existing(folder)}")
        entries = []
        for defect in sorted(p.name for p in folder.iterdir() if p.is_dir()):
            for path in image_files(folder / defect):
                masks = () if defect == GOOD else self._masks(defect, path)
                ignore = self.root / IGNORE / defect / f"{path.stem}_ignore.png"
                entries.append(Entry(path, defect, masks, ignore if ignore.is_file() else None))
        if not entries:
            raise DataError(f"folder {folder} is empty: expected test/good and test/<defect> with images")
        return entries

    def _masks(self, defect: str, path: Path) -> tuple[Path, ...]:
        folder = self.root / "ground_truth" / defect
        masks = self.masks_of(folder, path.stem)
        if not masks:
            raise FileNotFoundError(
                f"image {path} has no mask: expected {folder / self.expected.format(stem=path.stem)}. Data without "
                "masks is read as folder:ROOT, with ROOT/good and ROOT/bad"
            )
        return tuple(masks)


def one_mask_file(folder: Path, stem: str) -> list[Path]:
    """MVTec AD's mask of an image: <stem>_mask.png, or <stem>.png as VisA converted to this layout has it."""
    candidates = [folder / f"{stem}{tail}{suffix}" for tail in ("_mask", "") for suffix in SUFFIXES]
    return [path for path in candidates if path.is_file()][:1]


def mask_folder(folder: Path, stem: str) -> list[Path]:
    """MVTec LOCO's masks of an image: every file of the folder <stem>."""
    inside = folder / stem
    return sorted(p for p in inside.iterdir() if is_image_file(p)) if inside.is_dir() else []


def mvtec_ad(root: Path) -> MvtecFolder:
    """A category of MVTec AD."""
    return MvtecFolder(root, one_mask_file, "{stem}_mask.png")


def mvtec_loco(root: Path) -> MvtecFolder:
    """A category of MVTec LOCO."""
    return MvtecFolder(root, mask_folder, "{stem}/000.png")


class VisaTable:
    """VisA as released: images of all categories below a root, listed by split_csv/1cls.csv.

    Raises:
        FileNotFoundError: no such table.
        ValueError: it lacks columns, or the category; the known ones are listed.
    """

    def __init__(self, root: Path, category: str):
        self.root, self.table = root / category, root / VISA_TABLE
        if not self.table.is_file():
            raise FileNotFoundError(f"{self.table} does not exist{_existing(self.table)}; it comes with VisA")
        with open_text(self.table, "table") as file:
            reader = csv.DictReader(file)
            missing = [c for c in VISA_COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{self.table} lacks the columns {', '.join(missing)}; it has {reader.fieldnames}")
            rows = list(reader)
        known = {row["object"] for row in rows}
        if category not in known:
            raise DataError(f"{self.table}: {unknown_name('category', category, known)}")
        self.rows = [row for row in rows if row["object"] == category]
        self.folder = root

    def good(self) -> list[Path]:
        paths = [self._path(r["image"]) for r in self.rows if r["split"] == "train" and r["label"] == "normal"]
        if not paths:
            raise DataError(f"{self.table} lists no normal image of {self.root.name} to train on")
        return sorted(paths)

    def validation(self) -> list[Path] | None:
        return None

    def test(self) -> list[Entry]:
        entries = []
        for row in self.rows:
            if row["split"] != "test":
                continue
            path = self._path(row["image"])
            if row["label"] == "normal":
                entries.append(Entry(path))
                continue
            if not row["mask"]:
                raise DataError(f"{self.table}: {row['image']} is labelled {row['label']} but has no mask")
            entries.append(Entry(path, "bad", (self._path(row["mask"]),)))
        if not entries:
            raise DataError(f"{self.table} lists no image of {self.root.name} to test on")
        return sorted(entries, key=lambda entry: entry.path)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist, though {self.table} lists it{_existing(path)}")
        return path


class PlainFolder:
    """Own images: ROOT/good and, to test with, ROOT/bad, both with images.

    Optional: ROOT/masks, a mask for each image of bad, of the same name without suffix (or with _mask at its end);
    ROOT/good_test, else a fifth of good is held out of training to test with; ROOT/good_validation; folders by kind of
    defect inside bad and, alike, inside masks. A ROOT that holds images itself holds good ones.
    """

    def __init__(self, root: Path, held_out: Callable[[list[Path]], tuple[list[Path], list[Path]]]):
        self.root, self.held_out = root, held_out

    def part(self, name: str) -> Path | None:
        """The folder of a part, if it is there."""
        folders = [self.root / folder for folder in FOLDER_PARTS[name]]
        return next((folder for folder in folders if folder.is_dir()), None)

    def _all_good(self) -> list[Path]:
        folder = self.part("good")
        if folder is None and self.root.is_dir() and any(map(is_image_file, self.root.iterdir())):
            folder = self.root
        found = image_files(folder or self.root / GOOD, "good images to train on")
        if folder is not None and folder != self.root:
            deeper = sum(is_image_file(path) for path in folder.glob("*/*"))
            if deeper:
                logger.warning("%d images in folders inside %s are left out: move them up", deeper, folder)
        return found

    def good(self) -> list[Path]:
        if self.part("good_test") or not self.part("bad"):
            return self._all_good()
        return self.held_out(self._all_good())[0]

    def validation(self) -> list[Path] | None:
        folder = self.part("validation")
        return image_files(folder, "images to calibrate with") if folder else None

    def test(self) -> list[Entry]:
        bad = self.part("bad")
        if bad is None:
            raise FileNotFoundError(f"folder {self.root / 'bad'} does not exist: it holds the anomalous images to test")
        good_test = self.part("good_test")
        good = image_files(good_test) if good_test else self.held_out(self._all_good())[1]
        kinds = sorted(p for p in bad.iterdir() if p.is_dir() and any(map(is_image_file, p.iterdir())))
        groups = [(bad, "bad")] if any(map(is_image_file, bad.iterdir())) or not kinds else []
        entries = [Entry(path) for path in good]
        for folder, defect in groups + [(kind, kind.name) for kind in kinds]:
            found = image_files(folder, "anomalous images to test")
            raise_shared_stems(found)
            entries += [Entry(path, defect, self._masks(path, folder.relative_to(bad))) for path in found]
        return entries

    def _masks(self, path: Path, kind: Path) -> tuple[Path, ...]:
        masks = self.part("masks")
        if masks is None:
            return ()
        folder = masks / kind
        stems = (path.stem, f"{path.stem}_mask")
        found = [p for p in sorted(folder.iterdir()) if p.stem in stems and is_image_file(p)] if folder.is_dir() else []
        if len(found) != 1:
            what = "no mask" if not found else f"several masks, {', '.join(p.name for p in found)}"
            raise FileNotFoundError(
                f"image {path} has {what}: expected one file {folder / path.stem}.png. Without any masks, remove the "
                f"folder {masks}; then metrics of images alone are measured"
            )
        return tuple(found)


def raise_shared_stems(paths: Iterable[Path]) -> None:
    """Refuse images that differ in their suffix alone: one mask would serve two of them.

    Raises:
        ValueError: there are such.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise DataError(f"{seen[path.stem]} and {path.name} differ in their suffix alone; rename one of them")
        seen[path.stem] = path
