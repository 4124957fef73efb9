"""Layouts of BTAD and Real-IAD as released.

    01/train/ok   01/test/ok   01/test/ko   01/ground_truth/ko: masks of equal stems
    realiad_1024/pcb/... as realiad_jsons/realiad_jsons/pcb.json lists its images

Source: Mishra et al., VT-ADL (beanTech Anomaly Detection), ISIE 2021; Wang et al., Real-IAD, CVPR 2024, and the lists
of its release: {"meta": {"prefix": "pcb/", "normal_class": "OK"}, "train": [...], "test": [{"anomaly_class": "AK",
"image_path": "NG/...", "mask_path": "NG/..." or null}, ...]}. An image of a defective part on which the defect cannot
be seen is of class OK there, and so it is here.
"""

from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.registry import unknown_name
from d2road.utils.values import as_list, as_object, as_text, field
from efficientad.data.dataset_layouts import GOOD, Entry, image_files, one_mask_file, raise_shared_stems

BTAD = ["01", "02", "03"]
REAL_IAD = [
    "audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint", "mounts", "pcb",
    "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll", "regulator", "rolled_strip_base", "sim_card_set",
    "switch", "tape", "terminalblock", "toothbrush", "toy", "toy_brick", "transistor1", "u_block", "usb",
    "usb_adaptor", "vcpill", "wooden_beads", "woodstick", "zipper",
]  # fmt: skip
REAL_IAD_LISTS = ("realiad_jsons/realiad_jsons", "realiad_jsons")  # where the lists are, below the root
LARGEST_LIST = 1 << 28  # bytes


class BtadFolder:
    """A category of BTAD.

    Args:
        root: of the category, with `train/ok` and `test`.
    """

    def __init__(self, root: Path):
        self.root = root

    def good(self) -> list[Path]:
        return image_files(self.root / "train" / "ok", "images to train on")

    def validation(self) -> list[Path] | None:
        return None

    def test(self) -> list[Entry]:
        entries = [Entry(path) for path in image_files(self.root / "test" / "ok", "good images to test")]
        found = image_files(self.root / "test" / "ko", "anomalous images to test")
        raise_shared_stems(found)
        truth = self.root / "ground_truth" / "ko"
        for path in found:
            masks = one_mask_file(truth, path.stem)
            if not masks:
                raise FileNotFoundError(f"image {path} has no mask: expected {truth / path.stem}.png, as released")
            entries.append(Entry(path, "ko", tuple(masks)))
        return entries


class RealIadList:
    """A category of Real-IAD, by its list; of several resolutions that are there, in the finest.

    Args:
        folder: with `realiad_jsons` and `realiad_256`, `realiad_512` or `realiad_1024`.
        images: the category's folder in one of these, where the resolution matters.
    """

    def __init__(self, folder: Path, category: str, images: Path | None = None):
        self.folder, self.category = folder, category
        self.list = real_iad_list(folder, category)
        content = as_object(read_json(self.list, "list", largest=LARGEST_LIST), str(self.list))
        meta = field(content, "meta", as_object, str(self.list))
        self.prefix = field(meta, "prefix", as_text, f"{self.list}: 'meta'")
        self.normal = field(meta, "normal_class", as_text, f"{self.list}: 'meta'")
        self.rows = {split: self._rows(content, split) for split in ("train", "test")}
        self.root = images or self._images()

    def _rows(self, content: dict[str, Any], split: str) -> list[dict[str, Any]]:
        source = f"{self.list}: an entry of {split!r}"
        return [as_object(row, source) for row in field(content, split, as_list, str(self.list))]

    def _images(self) -> Path:
        """The folder of the images, in the finest resolution."""
        found = [path for path in self.folder.glob("realiad_[0-9]*") if (path / self.prefix).is_dir()]
        if not found:
            raise FileNotFoundError(
                f"{self.folder} has no images of {self.category}: expected realiad_1024/{self.prefix} or the like"
            )
        return max(found, key=lambda path: int(path.name.removeprefix("realiad_"))) / self.prefix

    def good(self) -> list[Path]:
        anomalous = [row for row in self.rows["train"] if self._kind(row) != GOOD]
        if anomalous or not self.rows["train"]:
            raise DataError(
                f"{self.list}: {len(anomalous)} images to train on are not good, of {len(self.rows['train'])}"
            )
        return sorted(self._file(row, "image_path") for row in self.rows["train"])

    def validation(self) -> list[Path] | None:
        return None

    def test(self) -> list[Entry]:
        entries = []
        for row in self.rows["test"]:
            kind, path = self._kind(row), self._file(row, "image_path")
            entries.append(Entry(path) if kind == GOOD else Entry(path, kind, (self._file(row, "mask_path"),)))
        if not entries:
            raise DataError(f"{self.list} lists no image to test on")
        return sorted(entries, key=lambda entry: entry.path)

    def _kind(self, row: dict[str, Any]) -> str:
        name = field(row, "anomaly_class", as_text, f"{self.list}: an entry")
        return GOOD if name == self.normal else name

    def _file(self, row: dict[str, Any], key: str) -> Path:
        path = self.root / field(row, key, as_text, f"{self.list}: {row.get('image_path', 'an entry')}")
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist, though {self.list} lists it")
        return path


def real_iad_root(images: Path) -> Path | None:
    """The folder above all of Real-IAD, from that of a category in one resolution; None of other folders."""
    root = images.absolute().parent.parent
    return root if any((root / place).is_dir() for place in REAL_IAD_LISTS) else None


def real_iad_list(folder: Path, category: str) -> Path:
    """The file that lists a category of Real-IAD.

    Raises:
        FileNotFoundError: there is none.
        DataError: there are lists, but none of this category.
    """
    for place in REAL_IAD_LISTS:
        known = [path.stem for path in (folder / place).glob("*.json")]
        if category in known:
            return folder / place / f"{category}.json"
        if known:
            raise DataError(f"{folder / place}: {unknown_name('category', category, known)}")
    raise FileNotFoundError(f"{folder / REAL_IAD_LISTS[0] / category}.json does not exist; it comes with Real-IAD")
