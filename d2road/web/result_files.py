"""Files that a request leaves for downloading, each request in a folder of its own that goes after a while."""

import csv
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.utils.output_files import atomic_write

# Columns of lists of numbers in results.
LIST_COLUMNS = {
    "bbox": ("left", "top", "width", "height"),
    "box_xyxy": ("left", "top", "right", "bottom"),
    "location": ("x_m", "y_m", "z_m"),
    "dimensions_hwl": ("height_m", "width_m", "length_m"),
    "box": ("x_m", "y_m", "z_m", "height_m", "width_m", "length_m", "ry_rad"),
}
LONGEST_STEM = 60
FORMULA = re.compile(r"^[=+\-@\t\r]")  # how a spreadsheet tells a formula from text


class ResultFolders:
    """Folders of results below one folder; those of requests that are older than `keep_s` go with the next request."""

    def __init__(self, root: Path, keep_s: float = 3600.0):
        self.root, self.keep_s = root, keep_s

    def new(self) -> Path:
        """An empty folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - self.keep_s
        for folder in self.root.glob("result_*"):
            try:
                old = folder.stat().st_mtime < oldest
            except FileNotFoundError:  # another request was faster
                continue
            if old:
                shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix="result_", dir=self.root))


def result_stem(upload: Path) -> str:
    """The name of an uploaded file without its suffix, as names of results begin: letters, digits, `-`, `.` and `_`."""
    return re.sub(r"[^\w.-]", "_", upload.stem)[:LONGEST_STEM] or "upload"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Rows as CSV: lists of numbers in columns of their own, other lists left out.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        columns: of a table without rows.
    """
    flat = [flat_row(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row)) or list(columns)
    with atomic_write(path, "w") as file:
        table = csv.DictWriter(file, names, lineterminator="\n")
        table.writeheader()
        table.writerows({name: _as_text(value) for name, value in row.items()} for row in flat)


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a result with its lists of numbers named by LIST_COLUMNS."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in LIST_COLUMNS:
            flat.update(zip(LIST_COLUMNS[key], value))
        elif not isinstance(value, (list, tuple, dict)):
            flat[key] = value
    return flat


def _as_text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
