"""Numbers on command lines: finite and in range, for every option of every verb."""

import argparse
import importlib

import pytest

from d2road.cli.__main__ import VERBS
from d2road.config import make_cfg
from d2road.config.validate import find_problems

# Types that turn a word into something else than a number.
NO_NUMBERS = {"Path", "str", "None", "calibration_path"}


def parsers(parser, name):
    """The parser and those of its sub-commands."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}")


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_of_a_verb_takes_what_is_no_finite_number(verb):
    module = importlib.import_module(f"d2road.cli.{verb.replace('-', '_')}")
    checked = 0
    for name, parser in parsers(module.build_parser(), verb):
        for action in parser._actions:
            kind = getattr(action.type, "__name__", str(action.type))
            if kind in NO_NUMBERS or action.choices:
                continue
            for word in ("nan", "inf", "-inf", "1e999", "x", "9" * 400):
                with pytest.raises((argparse.ArgumentTypeError, ValueError), match=r"."):
                    action.type(word)
                checked += 1
            assert action.type not in (int, float), (
                f"{name} {action.option_strings}: int and float take what is out of range"
            )
    no_numbers = ("convert", "export", "eval-kitti", "eval-rope", "env", "eval", "export-check", "zoo")
    assert checked or verb in no_numbers


@pytest.mark.parametrize(
    "key, value",
    [("SOLVER.BASE_LR", "1e999"), ("SOLVER.GAMMA", float("nan")), ("MODEL.PIXEL_STD", [1.0, float("inf"), 1.0])],
)
def test_a_config_that_holds_no_finite_number_is_refused(key, value):
    cfg = make_cfg(opts=[key, value])
    assert any(text.startswith(f"{key} is") and "finite" in text for text in find_problems(cfg))
