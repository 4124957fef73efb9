"""Values from outside: of the right type, finite, in range."""

import argparse
import math

import pytest

from d2road.utils.errors import DataError
from d2road.utils.values import (
    as_flag,
    as_integer,
    as_list,
    as_number,
    as_object,
    as_text,
    field,
    integer_option,
    number_option,
)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None, "1", [1], 10**400, -1, 11])
def test_a_number_that_is_none_or_out_of_range_is_refused(value):
    with pytest.raises(DataError, match="here is "):
        as_number(value, "here", 0, 10)


def test_good_values_pass():
    assert as_number(3, "here", 0, 10) == 3.0 and as_integer(3.0, "here") == 3
    record = {"a": 1, "b": "x", "c": [], "d": {}}
    assert field(record, "a", as_number, "file", 0, 1) == 1
    assert field(record, "b", as_text, "file") == "x"
    assert field(record, "c", as_list, "file") == [] and field(record, "d", as_object, "file") == {}
    assert as_flag(True, "here") is True
    with pytest.raises(DataError, match="here is the number 1, expected true or false"):
        as_flag(1, "here")
    with pytest.raises(DataError, match=r"file lacks 'e'; it has a, b, c, d"):
        field(record, "e", as_text, "file")
    with pytest.raises(DataError, match=r"file: 'a' is the number 1, expected a list"):
        field(record, "a", as_list, "file")
    with pytest.raises(DataError, match=r"3.5, expected a whole number"):
        as_integer(3.5, "here")


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x", "", "1e999"])
def test_an_option_that_is_no_number_in_range_is_refused(text):
    for option in (number_option(0), integer_option(1)):
        with pytest.raises(argparse.ArgumentTypeError):
            option(text)


def test_good_options_pass():
    assert number_option(0)("0.5") == 0.5 and integer_option(1)("3") == 3
