"""Results of an evaluation as a file."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2road.utils.output_files import make_folder, write_json


def write_results(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Write `{task: {metric: value}}` as JSON, atomically; the folder is created if it is missing.

    Numbers of numpy and torch become plain ones. NaN and infinity, which JSON lacks, become null: a metric that
    cannot be computed is not 0.

    Raises:
        ValueError: a value is not a number, text or a mapping of those.
    """
    make_folder(Path(path).parent)
    write_json(path, plain(results, "results"))


def plain(value: Any, where: str) -> Any:
    """Numbers, text and mappings of those as JSON holds them, see `write_results`.

    Args:
        where: what to call the value in messages.
    Raises:
        ValueError: it holds something else.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "item"):  # scalars of numpy and torch
        try:
            value = value.item()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{where} is not a single number: {value!r}") from error
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ValueError(f"{where} is a {type(value).__name__}; results hold numbers, text and mappings of those")
