"""Which data set each image of an Omni3D JSON is from, and so whether all of its objects are labelled.

Its evaluation leaves out detections far from any label in Objectron and SUN RGB-D, where not every object is labelled.
It goes by the name of the data set; files that were cut or joined have lost it (`info` missing, {} or a list), but each
image still tells by its path and its `dataset_id`.
Source: Brazil et al., Omni3D, CVPR 2023, and the evaluation code of its repository.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError
from d2road.utils.values import named

# By how names and folders begin, in lower case, letters only.
EXHAUSTIVE = {
    "kitti": True, "nuscenes": True, "hypersim": True, "arkitscenes": True, "objectron": False, "sunrgbd": False,
}  # fmt: skip
KEY = "exhaustively_labelled"


def label_coverage(info: Any, images: Sequence[Mapping[str, Any]], path: str) -> dict[Any, bool | None]:
    """Image id -> whether all of its objects are labelled; None where nothing tells.

    What `info` says itself (`exhaustively_labelled`, of this project) goes before the names of Omni3D's data sets, in
    `info`, in an image's path, and in the file's own name. Data with another name is taken as wholly labelled.

    Args:
        info: of the file: an object, or a list of them with the ids that images give as `dataset_id`.
        path: of the file.
    Raises:
        DataError: `exhaustively_labelled` is not true or false.
    """
    entries = [entry for entry in (info if isinstance(info, list) else [info]) if isinstance(entry, Mapping)]
    by_id = {str(entry.get("id")): entry for entry in entries} if len(entries) > 1 else {}
    file_says = known_coverage(Path(path).stem)
    coverage: dict[Any, bool | None] = {}
    for image in images:
        entry = by_id.get(str(image.get("dataset_id"))) if by_id else next(iter(entries), None)
        stated = _stated(entry or {}, path)
        if stated is None:
            parts = (known_coverage(part) for part in Path(str(image.get("file_path", ""))).parts[:-1])
            stated = next((part for part in parts if part is not None), file_says)
        if stated is None and entry and str(entry.get("name") or "").strip():
            stated = True
        coverage[image["id"]] = stated
    return coverage


def known_coverage(name: str) -> bool | None:
    """Whether the data set of Omni3D that a name begins with is wholly labelled; None for other names."""
    letters = re.sub("[^a-z0-9]", "", name.lower())
    return next((whole for begin, whole in EXHAUSTIVE.items() if letters.startswith(begin)), None)


def _stated(entry: Mapping[str, Any], path: str) -> bool | None:
    if KEY in entry:
        if not isinstance(entry[KEY], bool):
            raise DataError(f"{path}: info: {KEY!r} is {named(entry[KEY])}, expected true or false")
        return entry[KEY]
    told = (known_coverage(str(entry.get(key) or "")) for key in ("name", "source"))
    return next((whole for whole in told if whole is not None), None)
