"""The precision of inference: auto never emulates, and what cannot be had is refused with what can."""

import logging

import pytest

from d2road.export.precision import choose_precision
from d2road.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("wanted", "offered", "native", "expected"),
    [
        ("auto", ("fp32", "bf16"), ("fp32", "bf16", "int8"), "bf16"),
        ("auto", ("fp32", "bf16"), ("fp32", "int8"), "fp32"),
        ("auto", ("fp32",), ("fp32", "bf16"), "fp32"),
        ("auto", ("fp32", "bf16", "int8"), ("fp32", "int8"), "fp32"),
        ("fp32", ("fp32", "bf16"), ("fp32", "bf16"), "fp32"),
        ("int8", ("int8",), ("fp32", "int8"), "int8"),
    ],
)
def test_the_choice(wanted, offered, native, expected, caplog):
    assert choose_precision(wanted, offered, native, "this") == expected
    assert not caplog.records


def test_what_is_asked_for_is_done_though_it_is_emulated_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_precision("bf16", ("fp32", "bf16"), ("fp32",), "this") == "bf16"
    assert "emulates" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("int8", "INFERENCE.PRECISION is int8: the grounder runs in fp32 or bf16"), ("fp8", "choose one of auto, fp32")],
)
def test_what_cannot_be_is_refused_with_the_choices(wanted, message):
    with pytest.raises(ConfigError, match=message):
        choose_precision(wanted, ("fp32", "bf16"), ("fp32", "bf16"), "the grounder")
