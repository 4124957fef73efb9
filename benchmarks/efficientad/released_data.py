"""Data sets for anomaly detection by their folder or name: which release it is, and its categories."""

from collections.abc import Sequence
from pathlib import Path

from d2road.data.dataset_formats import DATASET_FAMILIES
from d2road.data.datasets.builtin import datasets_root
from efficientad.data.btad_real_iad import REAL_IAD_LISTS
from efficientad.data.dataset_layouts import VISA_TABLE
from efficientad.data.mvtec_ad_2 import PUBLIC
from efficientad.evaluation.spro import CONFIG_FILE


def find_categories(data: str, wanted: Sequence[str] = ()) -> dict[str, str]:
    """Categories and the names of their training sets, or those of them that are wanted.

    Args:
        data: folder above the categories of MVTec AD, MVTec AD 2, MVTec LOCO, VisA, BTAD or Real-IAD, or the name of
            one below DETECTRON2_DATASETS, such as mvtec_ad.
    Raises:
        FileNotFoundError: there is none, or a wanted one is not there.
    """
    root = Path(data)
    if not root.is_dir() and data in DATASET_FAMILIES:
        root = datasets_root() / data
    found = dict(sorted(_categories(root).items()))
    if not found:
        raise FileNotFoundError(
            f"--data {root} holds no category: name the folder above them, of MVTec AD or MVTec LOCO (train/good in "
            f"each), MVTec AD 2 ({PUBLIC}), VisA ({VISA_TABLE}), BTAD (train/ok) or Real-IAD ({REAL_IAD_LISTS[0]})"
        )
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise FileNotFoundError(f"--category {' '.join(missing)}: {root} holds {', '.join(found)}")
    return {name: dataset for name, dataset in found.items() if not wanted or name in wanted}


def _categories(root: Path) -> dict[str, str]:
    if (root / VISA_TABLE).is_file():
        return {path.parent.name: f"visa:{root}:{path.parent.name}" for path in root.glob("*/Data") if path.is_dir()}
    for place in REAL_IAD_LISTS:
        lists = sorted((root / place).glob("*.json"))
        if lists:
            return {path.stem: f"real_iad:{root}:{path.stem}" for path in lists}
    found = {}
    for path in sorted(path for path in root.glob("*") if path.is_dir()):
        kind = _release(path)
        if kind:
            found[path.name] = f"{kind}:{path}"
    return found


def _release(folder: Path) -> str:
    """What reads a category's folder; "" of any other folder."""
    if (folder / PUBLIC).is_dir():
        return "mvtec_ad_2"
    if (folder / "train" / "good").is_dir():
        return "loco" if (folder / CONFIG_FILE).is_file() else "mvtec"
    return "btad" if (folder / "train" / "ok").is_dir() else ""
