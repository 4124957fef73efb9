"""Data sets of BTAD and Real-IAD, by name and by path.

btad/01        btad:ROOT/01         btad:ROOT/01:test
real_iad/pcb   real_iad:ROOT:pcb    real_iad:ROOT:pcb:test
"""

from functools import partial
from pathlib import Path

from d2road.data.dataset_formats import DATASET_FAMILIES, DATASET_FORMATS, DatasetFormat
from d2road.data.datasets.builtin import datasets_root
from d2road.utils.errors import DataError
from d2road.utils.registry import unknown_name
from efficientad.data.anomaly_datasets import RELEASE_HINT, register_layout
from efficientad.data.btad_real_iad import BTAD, REAL_IAD, BtadFolder, RealIadList


def register_btad(name: str, root: str, split: str = "train", *, hint: str = "") -> None:
    """Register a category of BTAD, by its folder. Idempotent."""
    folder = Path(root).expanduser()
    register_layout(name, folder, folder.name, split, lambda: BtadFolder(folder), hint)


def register_real_iad(name: str, root: str, category: str, split: str = "train", *, hint: str = "") -> None:
    """Register a category of Real-IAD as released. Idempotent."""
    folder = Path(root).expanduser()
    register_layout(name, folder, category, split, lambda: RealIadList(folder, category), hint)


def _register_member(name: str, category: str, split: str = "train", *, family: str) -> None:
    """Register a category below DETECTRON2_DATASETS."""
    root = datasets_root() / family
    if category not in FAMILIES[family]:
        raise DataError(f"{family}: {unknown_name('category', category, FAMILIES[family])}; in {root}")
    if family == "btad":
        register_btad(name, str(root / category), split, hint=RELEASE_HINT)
    else:
        register_real_iad(name, str(root), category, split, hint=RELEASE_HINT)


FAMILIES = {"btad": BTAD, "real_iad": REAL_IAD}
for _family in FAMILIES:
    DATASET_FAMILIES.register(
        DatasetFormat(f"{_family}/CATEGORY[/test|/validation]", partial(_register_member, family=_family), (1, 2)),
        name=_family,
    )
DATASET_FORMATS.register(DatasetFormat("btad:ROOT/CATEGORY[:test|:validation]", register_btad, (1, 2)), name="btad")
DATASET_FORMATS.register(
    DatasetFormat("real_iad:ROOT:CATEGORY[:test|:validation]", register_real_iad, (2, 3)), name="real_iad"
)
