"""Packages that are not installed with this one: imported where they are needed, with the cure if missing."""

import importlib
from typing import Any

from d2road.utils.errors import ConfigError


def require_package(name: str, extra: str, purpose: str) -> Any:
    """A module of an optional package.

    Args:
        extra: of this package, which brings it.
        purpose: what needs it, the subject of the message.
    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {name} ({error}): pip install 'd2road[{extra}]'") from error
