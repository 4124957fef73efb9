"""The systems of this collection, found through entry points, so that the platform names none of them."""

import importlib
import importlib.metadata
from collections.abc import Callable

from detectron2.config import CfgNode

GROUP = "d2road.projects"


def project_references() -> dict[str, str]:
    """Name -> "module:function" of every installed system, from the entry points `d2road.projects`.

    Raises:
        ImportError: there are none: the package is not installed.
    """
    references = {e.name: e.value for e in importlib.metadata.entry_points(group=GROUP)}
    if not references:
        raise ImportError(f"no entry points {GROUP}: d2road is not installed; run `pip install -e .` in its checkout")
    return dict(sorted(references.items()))


def load_project(name: str, reference: str) -> Callable[[CfgNode], None]:
    """Import a system, which registers its components, and return its `add_*_config`.

    Raises:
        ImportError: the package or the function is not there or fails while it is imported; names the cause.
    """
    module_name, _, function_name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever a package raises while it is imported
        raise ImportError(
            f"system '{name}' ({reference}) cannot be loaded: {type(error).__name__}: {error}. Repair it, or "
            f"uninstall the package that registers it as an entry point of {GROUP}"
        ) from error
    if not callable(function):
        raise ImportError(f"system '{name}': {reference} is no function")
    return function


def add_all_configs(cfg: CfgNode) -> None:
    """Import every system and add its keys to `cfg`, in place.

    Raises:
        ImportError: a system cannot be loaded.
    """
    for name, reference in project_references().items():
        load_project(name, reference)(cfg)
