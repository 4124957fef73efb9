"""Packages whose parts are imported when they are asked for.

`import diffusion_det` takes milliseconds, and the parts of a system that are plain arrays do without torch. What a
package registers with Detectron2 is there where Detectron2 is imported before the package, once anything of the
package is asked for by name, and once its keys are added to a config: no config can name what is not registered.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_COMPONENTS: dict[str, tuple[str, ...]] = {}


def lazy_package(package: str, names: Mapping[str, str], components: tuple[str, ...] = ()) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        names: public name -> submodule that has it, relative to the package.
        components: submodules that register something.
    """
    _COMPONENTS[package] = components
    if "detectron2" in sys.modules:
        register_components(package)

    def attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        register_components(package)
        return getattr(import_module(f"{package}.{names[name]}"), name)

    return attribute


def register_components(package: str) -> None:
    """Import what registers something in a package that is lazy."""
    import_module(package)
    for module in _COMPONENTS[package]:
        import_module(f"{package}.{module}")
