"""Tables whose columns have other names: the error is a line that can be used as it is."""

import re

import pandas as pd
import pytest

from d2road.traffic.readers import open_trajectories
from d2road.utils.errors import DataError


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "names",
    [
        ("vehicle", "time", "pos"),
        ("trackId", "timestamp", "position_m"),
        ("Vehicle_ID", "t", "x"),
        ("track_id", "Time [s]", "s"),
    ],
)
def test_the_option_is_written_out_with_the_columns_that_fit_and_reads_the_file(tmp_path, names, suffix):
    vehicle, t, s = names
    rows = pd.DataFrame(
        {"lane": "0", vehicle: ["a"] * 20, t: [0.1 * i for i in range(20)], s: [2.0 * i for i in range(20)]}
    )
    path = tmp_path / f"cars.{suffix}"
    rows.to_csv(path, index=False) if suffix == "csv" else rows.to_parquet(path)
    with pytest.raises(DataError, match="lacks the columns") as error:
        open_trajectories(f"csv:{path}").table()
    given = re.search(r"(csv:\S+\?columns=.*) \(units", str(error.value))[1]
    table = open_trajectories(given).table()
    assert len(table) == 20 and table.frame["s"].max() == 38


def test_columns_that_nothing_fits_are_left_to_the_user(tmp_path):
    pd.DataFrame({"a": [1], "b": [2]}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DataError, match=r"\?columns=t=b,vehicle=COLUMN,s=COLUMN"):
        open_trajectories(f"csv:{tmp_path}/x.csv?columns=t=b").table()
