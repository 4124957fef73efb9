"""Values from outside, checked one by one: of the right type, finite and in range, or an error that names the place."""

import argparse
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from d2road.utils.errors import DataError


def as_object(value: Any, source: str) -> dict[str, Any]:
    """A JSON object; `source` is where it stands, e.g. "calibration FILE".

    Raises:
        DataError: something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{source} is {named(value)}, expected an object of names and values")
    return value


def as_list(value: Any, source: str) -> list[Any]:
    """A JSON list; see `as_object`."""
    if not isinstance(value, list):
        raise DataError(f"{source} is {named(value)}, expected a list")
    return value


def as_text(value: Any, source: str) -> str:
    """A JSON text; see `as_object`."""
    if not isinstance(value, str):
        raise DataError(f"{source} is {named(value)}, expected a text")
    return value


def as_flag(value: Any, source: str) -> bool:
    """true or false of JSON; see `as_object`."""
    if not isinstance(value, bool):
        raise DataError(f"{source} is {named(value)}, expected true or false")
    return value


def as_number(value: Any, source: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from `low` to `high`; true and false are none.

    Raises:
        DataError: another type, NaN, infinite, or out of range.
    """
    # An integer of hundreds of digits has no float.
    good = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not good or (isinstance(value, int) and abs(value) >= 2**63) or not math.isfinite(value):
        raise DataError(f"{source} is {named(value)}, expected a finite number")
    if not low <= value <= high:
        raise DataError(f"{source} is {value:g}, expected {_range(low, high)}")
    return float(value)


def as_integer(value: Any, source: str, low: float = -(2**63), high: float = 2**63 - 1) -> int:
    """A whole number from `low` to `high`; 3.0 is one, true and false are none.

    Raises:
        DataError: another type, a fraction, or out of range.
    """
    number = as_number(value, source, low, high)
    if number != int(number):
        raise DataError(f"{source} is {number:g}, expected a whole number")
    return int(value)


def field(record: Mapping[str, Any], name: str, check: Callable[..., Any], source: str, *limits: float) -> Any:
    """The value of a key that must be there, checked by one of the functions above.

    Raises:
        DataError: the key is missing, or its value is not as `check` wants it.
    """
    if name not in record:
        known = ", ".join(map(str, list(record)[:10])) or "nothing"
        raise DataError(f"{source} lacks {name!r}; it has {known}")
    return check(record[name], f"{source}: {name!r}", *limits)


def number_rows(record: Mapping[str, Any], name: str, width: int, source: str) -> list[list[float]]:
    """The rows of finite numbers of a key that must be there, `width` in each.

    Raises:
        DataError: the key is missing or holds anything else.
    """
    rows = []
    for number, row in enumerate(field(record, name, as_list, source), 1):
        place = f"{source}: row {number} of {name!r}"
        numbers = [as_number(value, place) for value in as_list(row, place)]
        if len(numbers) != width:
            raise DataError(f"{place} has {len(numbers)} values, expected {width}")
        rows.append(numbers)
    return rows


def named(value: Any) -> str:
    """What a value is, in a few words for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else f"{str(value)[:20]}..."
        return f"the number {text}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}{'...' * (len(value) > 40)}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def id_order(image_id: int | str) -> tuple[bool, int | str]:
    """Sort key of ids: numbers, then texts. JSON may mix both, which Python does not compare."""
    return isinstance(image_id, str), image_id


def number_option(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """Type of a command-line option that is a finite number from `low` to `high`, for argparse's `type`."""
    return _option(float, as_number, low, high)


def integer_option(low: float = -(2**63), high: float = 2**63 - 1) -> Callable[[str], int]:
    """Type of a command-line option that is a whole number from `low` to `high`, for argparse's `type`."""
    return _option(int, as_integer, low, high)


def _option(kind: type, check: Callable[..., Any], low: float, high: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            value = text
        try:
            return check(value, repr(text), low, high)
        except DataError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _range(low: float, high: float) -> str:
    if math.isinf(high) or high >= 2**62:
        return f"{low:g} or more"
    return f"{high:g} or less" if math.isinf(low) or low <= -(2**62) else f"{low:g} to {high:g}"
