"""A checked table of numbers: its columns, their types, and what may be unknown."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from d2road.utils.errors import DataError


def checked_rows(frame: pd.DataFrame, dtypes: Mapping[str, str], may_be_nan: Sequence[str], what: str) -> pd.DataFrame:
    """The columns of a table in their order and types, with a plain index.

    Args:
        frame: with all columns of `dtypes`; others are dropped.
        dtypes: numpy's names of types, "str" for names.
        may_be_nan: columns in which NaN says "unknown"; all others are finite.
        what: of the table, for messages.
    Raises:
        DataError: columns are missing, values are no numbers or not finite; names the first such row.
    """
    missing = [name for name in dtypes if name not in frame.columns]
    if missing:
        raise DataError(f"{what}: lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    columns = {}
    for name, dtype in dtypes.items():
        values = frame[name]
        if dtype == "str":
            refuse(frame, values.isna().to_numpy(), name, "a name", what)
            columns[name] = values.astype(object).map(str).to_numpy(dtype=object)
            continue
        try:
            numbers = pd.to_numeric(values).to_numpy(dtype="float64", na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise DataError(f"{what}: column {name} holds something that is no number: {error}") from error
        bad = np.isinf(numbers) if name in may_be_nan else ~np.isfinite(numbers)
        refuse(frame, bad, name, "a finite number" + (", or NaN for unknown" if name in may_be_nan else ""), what)
        if np.issubdtype(np.dtype(dtype), np.integer):
            refuse(frame, numbers != np.round(numbers), name, "a whole number", what)
        columns[name] = numbers.astype(dtype)
    return pd.DataFrame(columns)


def refuse(frame: pd.DataFrame, bad: np.ndarray, name: str, expected: str, what: str) -> None:
    """Raise DataError that names the first row at which `bad` (len,) is set, if there is one."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = frame[name].iloc[row]
        raise DataError(f"{what}: {name} is {value!r} in row {row}, expected {expected} ({int(bad.sum())} such rows)")


def refuse_covariance(frame: pd.DataFrame, what: str) -> None:
    """Raise DataError where var_x, cov_xy, var_y are no covariance of a position."""
    var_x, cov, var_y = (frame[name].to_numpy() for name in ("var_x", "cov_xy", "var_y"))
    refuse(frame, ~(var_x > 0), "var_x", "more than 0 m^2", what)
    refuse(frame, ~(var_y > 0), "var_y", "more than 0 m^2", what)
    refuse(frame, ~(cov**2 < var_x * var_y), "cov_xy", "a positive definite covariance with var_x and var_y", what)
