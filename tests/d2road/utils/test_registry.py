"""Registries that help."""

import pytest
from fvcore.common.registry import Registry as Original

from d2road.utils.registry import Registry, nearest


def _make(module: str = "m"):
    def build():
        """Anything."""

    build.__module__ = module
    return build


def test_registering_the_same_thing_twice_is_harmless_and_another_is_refused():
    registry = Registry("thing")
    registry.register(_make())
    registry.register(_make())  # a reloaded module brings a new object of the same origin
    assert registry.names() == ["build"]
    with pytest.raises(ValueError, match="thing 'build' is registered already"):
        registry.register(_make("elsewhere"))


def test_decorator_and_name_of_choice():
    registry = Registry("thing")

    @registry.register()
    def a():
        pass

    @registry.register(name="dpm++")
    def b():
        pass

    assert isinstance(registry, Original)
    assert (registry.get("a"), registry.get("dpm++")) == (a, b)
    assert "dpm++" in registry
    assert dict(registry) == {"a": a, "dpm++": b}


def test_unknown_names_list_what_there_is():
    registry = Registry("thing")
    with pytest.raises(ValueError, match="thing 'x' does not exist; known are: none"):
        registry.get("x")
    for name in ("ddim", "ddpm", "restart"):
        registry.register(3, name=name)
    with pytest.raises(ValueError, match=r"did you mean 'restart'\? \(known: ddim, ddpm, restart\)"):
        registry.get("Restrat")
    with pytest.raises(ValueError, match="known are: ddim, ddpm, restart"):
        registry.get("xyz")
    assert nearest("DDIM", registry.names())[0] == "ddim"
