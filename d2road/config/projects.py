"""The systems of this collection, found through entry points, so that nothing shared names one of them."""

import importlib
import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode

GROUP = "d2road.systems"
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

_TABLE = re.compile(r'^\[project\.entry-points\."' + re.escape(GROUP) + r'"\]\s*$(.*?)(?=^\[|\Z)', re.M | re.S)
_ENTRY = re.compile(r"""^\s*"?([\w.-]+)"?\s*=\s*["']([^"']+)["']""", re.M)


def system_references() -> dict[str, str]:
    """Name -> "module:function" of every system.

    From the installed entry points `d2road.systems`; a pyproject.toml beside this package adds its own and wins, since
    what is installed may be older than the checkout, or nothing be installed at all.
    """
    references = {e.name: e.value for e in importlib.metadata.entry_points(group=GROUP)}
    references.update(_read_pyproject(PYPROJECT))
    return dict(sorted(references.items()))


def _read_pyproject(path: Path) -> dict[str, str]:
    """The entry-point table of a pyproject.toml. Python 3.10 has no TOML reader, and the table is plain enough."""
    if not path.is_file():
        return {}
    table = _TABLE.search(path.read_text(encoding="utf-8"))
    return dict(_ENTRY.findall(table.group(1))) if table else {}


def load_system(name: str, reference: str) -> Callable[[CfgNode], None]:
    """Import a system, which registers its components, and return its `add_*_config`.

    Raises:
        ImportError: the package or the function is not there or fails while it is imported; names the cause.
    """
    module_name, _, function_name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever a package raises while it is imported
        raise ImportError(
            f"system '{name}' ({reference}) cannot be loaded: {type(error).__name__}: {error}. Repair it, or remove "
            f"its line from the table {GROUP} in pyproject.toml"
        ) from error
    if not callable(function):
        raise ImportError(f"system '{name}': {reference} is no function")
    return function


def add_all_configs(cfg: CfgNode) -> None:
    """Import every system and add its keys to `cfg`, in place.

    Raises:
        ImportError: a system cannot be loaded.
    """
    for name, reference in system_references().items():
        load_system(name, reference)(cfg)
