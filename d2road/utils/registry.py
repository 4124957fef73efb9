"""A registry that helps: unknown names list the known ones, and registering the same thing twice is harmless."""

import difflib
from collections.abc import Iterable
from typing import Any

from fvcore.common.registry import Registry as _Registry

from d2road.utils.errors import ConfigError


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names of `known` that look most like `name`, best first; capitals do not count."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    return [by_lower[m] for m in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """A message for a name that does not exist: what may be meant, else all that there is."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        listed = f"did you mean {' or '.join(repr(n) for n in near)}?"
        if len(known) <= 12:
            listed += f" (known: {', '.join(known)})"
    else:
        listed = f"known are: {', '.join(known) if known else 'none'}"
    return f"{kind} {name!r} does not exist; {listed}"


class Registry(_Registry):
    """fvcore's registry with a name of choice, idempotent registration and helpful errors."""

    def register(self, obj: Any = None, *, name: str | None = None) -> Any:
        """Register `obj` under `name` or its `__name__`; without `obj`, a decorator.

        Raises:
            ValueError: another object has this name.
        """
        if obj is None:
            return lambda decorated: self.register(decorated, name=name)
        key = name or obj.__name__
        present = self._obj_map.get(key)
        if present is not None and _identity(present) != _identity(obj):
            raise ValueError(f"{self._name} {key!r} is registered already, as {present}; choose another name")
        self._obj_map[key] = obj
        return obj

    def get(self, name: str) -> Any:
        """The object of this name.

        Raises:
            ConfigError: there is none; lists the known ones.
        """
        if name not in self._obj_map:
            raise ConfigError(unknown_name(self._name, name, self._obj_map))
        return self._obj_map[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._obj_map)


def _identity(obj: Any) -> Any:
    """What makes two objects the same one: a reloaded module defines its functions and classes anew."""
    if hasattr(obj, "__qualname__"):
        return (obj.__module__, obj.__qualname__)
    return obj
