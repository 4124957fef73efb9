"""Fingerprint of data sets: whether a run that goes on sees the data that it saw."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_input

VERSION = 1
FILES = 256  # of which the content is looked at
BLOCK = 4096  # bytes at the beginning and the end of each


def data_fingerprint(names: Sequence[str], dicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Names, counts and a summary of the content of training data.

    A data set that was moved or renamed keeps its summary: of a path the last part counts, of the files the size and
    some of their bytes, of up to 256 files spread over the data.

    Args:
        dicts: in Detectron2's form, all of those data sets.
    Returns:
        {"version", "names", "images", "annotations", "labels", "files"}: plain values, the last two hexadecimal.
    """
    labels, count = hashlib.sha256(), 0
    for record in dicts:
        annotations = record.get("annotations") or ()
        count += len(annotations)
        name = os.path.basename(str(record.get("file_name", "")))
        objects = [(a.get("category_id"), [float(v) for v in a.get("bbox", ())]) for a in annotations]
        labels.update(repr((name, record.get("width"), record.get("height"), objects)).encode())
    files = hashlib.sha256()
    step = max(1, len(dicts) // FILES)
    for index in range(0, len(dicts), step):
        files.update(_sample(Path(str(dicts[index].get("file_name", "")))))
    return {
        "version": VERSION, "names": [str(name) for name in names], "images": len(dicts), "annotations": count,
        "labels": labels.hexdigest()[:32], "files": files.hexdigest()[:32],
    }  # fmt: skip


def _sample(path: Path) -> bytes:
    """Size, first and last bytes of a file; empty where there is none."""
    try:
        with open_input(path) as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(BLOCK)
            file.seek(max(0, size - BLOCK))
            return f"{size}:".encode() + first + file.read(BLOCK)
    except (OSError, DataError):  # what is wrong with it is said where it is read
        return b""


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What tells two fingerprints apart, in words; "" if they are of the same data, whatever it is called."""
    if before.get("version") != now["version"]:
        return ""  # of another version of this project: not comparable
    for key, unit in (("images", "images"), ("annotations", "objects")):
        if before[key] != now[key]:
            return f"{before[key]} {unit} of {', '.join(before['names'])}, now {now[key]} of {', '.join(now['names'])}"
    changed = [text for key, text in (("labels", "labels or sizes"), ("files", "images")) if before[key] != now[key]]
    if not changed:
        return ""
    return f"{now['images']} images of {', '.join(before['names'])}, now {', '.join(now['names'])} with other " + (
        " and ".join(changed)
    )
