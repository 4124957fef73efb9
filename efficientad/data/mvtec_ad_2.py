"""MVTec AD 2: its layout, and the layouts of other releases told apart from folders of own images.

    can/train/good/*.png   can/validation/good/*.png
    can/test_public/good/*.png   can/test_public/bad/*.png   can/test_public/ground_truth/bad/*_mask.png
    can/test_private/*.png   can/test_private_mixed/*.png           without labels, for the benchmark server

Source: Heckler-Kram et al., The MVTec AD 2 Dataset, arXiv 2503.21622, and its public code for uploads.
"""

from pathlib import Path

from d2road.utils.errors import DataError
from efficientad.data.dataset_layouts import (
    GOOD,
    UNLABELLED,
    VISA_TABLE,
    Entry,
    image_files,
    one_mask_file,
)

MVTEC_AD_2 = ["can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"]
PUBLIC = "test_public"
PRIVATE_SPLITS = ("test_private", "test_private_mixed")
BAD = "bad"
TRUTH = "ground_truth"


class MvtecAd2Folder:
    """A category of MVTec AD 2.

    Args:
        root: of the category, with `train` and `test_public`.
    """

    def __init__(self, root: Path):
        self.root = root

    def good(self) -> list[Path]:
        return image_files(self.root / "train" / GOOD, "images to train on")

    def validation(self) -> list[Path] | None:
        folder = self.root / "validation"
        return image_files(folder / GOOD, "images to calibrate with") if folder.is_dir() else None

    def test(self) -> list[Entry]:
        folder = self.root / PUBLIC
        entries = []
        for path in image_files(folder / BAD, "anomalous images to test"):
            masks = one_mask_file(folder / TRUTH / BAD, path.stem)
            if not masks:
                raise FileNotFoundError(
                    f"image {path} has no mask: expected {folder / TRUTH / BAD / path.stem}_mask.png, as released"
                )
            entries.append(Entry(path, BAD, tuple(masks)))
        return entries + [Entry(path) for path in image_files(folder / GOOD, "good images to test")]

    def private(self, split: str) -> list[Entry]:
        """Images of a part without labels; raises FileNotFoundError or DataError where there are none."""
        return [Entry(path, UNLABELLED) for path in image_files(self.root / split, "images without labels")]


def public_root(folder: Path) -> Path | None:
    """The category's folder of MVTec AD 2, of itself or of its `test_public`; None of other folders."""
    folder = folder.absolute()
    for root in (folder, folder.parent):
        inside = root / PUBLIC
        if (root == folder or folder.name == PUBLIC) and (inside / BAD).is_dir() and (inside / GOOD).is_dir():
            return root
    return None


def released_as(folder: Path) -> str:
    """What a folder is a part of, and the name that reads it; "" of a folder of own images."""
    root = folder.absolute()
    category = public_root(root)
    if category is not None:
        return f"MVTec AD 2: name it mvtec_ad_2:{category}"
    for place in (root, root.parent) if root.name == "test" else (root,):
        if (place / "train" / GOOD).is_dir() and (place / "test").is_dir():
            loco = any(path.is_dir() for path in (place / TRUTH).glob("*/*"))
            release = "MVTec LOCO" if loco else "MVTec AD"
            return f"{release}: name it {'loco' if loco else 'mvtec'}:{place}"
        if (place / "train" / "ok").is_dir() and (place / "test").is_dir():
            return f"BTAD: name it btad:{place}"
    for above in (root, *root.parents[:4]):
        if (above / VISA_TABLE).is_file():
            category_name = root.relative_to(above).parts[:1] or ("CATEGORY",)
            return f"VisA: name it visa:{above}:{category_name[0]}"
    if (root / "OK").is_dir() and (root / "NG").is_dir():
        return f"Real-IAD: name it real_iad:{root.parent.parent}:{root.name}, where realiad_jsons is too"
    return ""


def refuse_released(folder: Path) -> None:
    """Refuse a part of a released data set where own images are expected: half of it would be used.

    Raises:
        DataError: it is one; says how to name it.
    """
    release = released_as(folder)
    if release:
        raise DataError(f"folder {folder} is no folder of own images, it has the layout of {release}")
