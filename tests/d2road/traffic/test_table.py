import numpy as np
import pandas as pd
import pytest

from d2road.traffic.table import COLUMNS, DTYPES, Trajectories, concat
from d2road.utils.natural_order import natural_key
from tests.factories.trajectories import steps, table, track


def test_columns_have_fixed_types_whatever_they_came_as():
    frame = track(vehicle=7, t=steps(3), s=[0, 1, 2]).astype({"direction": "float64", "length": "int64"})
    typed = Trajectories.from_frame(frame.assign(note="dropped")).frame
    assert list(typed.columns) == list(COLUMNS)
    assert {name: str(dtype) for name, dtype in typed.dtypes.items()} == DTYPES
    assert list(typed["vehicle"].cat.categories) == ["7"]


def test_vehicle_numbers_of_a_column_with_gaps_are_whole_names():
    assert table(track(vehicle=7.0)).vehicles == ["7"]


def test_a_number_and_its_text_are_one_name():
    rows = table(track("a", [0.0], lane="1"), track("b", [0.0], lane=1), track("c", [0.0], lane=2.0))
    assert rows.lanes() == ["1", "2"] and rows.select(lanes=["1"]).vehicles == ["a", "b"]


def test_rows_are_sorted_by_recording_time_and_vehicle():
    rows = pd.concat([track("b", steps(3)), track("a", steps(3)), track("a", steps(2), recording="q")])
    shuffled = rows.sample(frac=1, random_state=0)
    frame = Trajectories.from_frame(shuffled).frame
    expected = rows.sort_values(["recording", "t", "vehicle"])
    for name in ("recording", "t", "vehicle"):
        assert frame[name].astype(object).tolist() == expected[name].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": np.nan}, "t is nan"),
        ({"s": np.inf}, "s is inf"),
        ({"speed": np.nan}, "speed is nan"),
        ({"length": 0.0}, "length is 0.0 .* more than 0 m"),
        ({"direction": 2}, "direction is .* expected 1 or -1"),
        ({"direction": np.nan}, "expected 1 or -1"),
        ({"lane": None}, "lane is missing in row 0"),
        ({"s": "far"}, "column s holds something that is no number"),
        ({"acceleration": np.inf}, "NaN for unknown"),
    ],
)
def test_wrong_values_are_refused_with_their_row(change, message):
    with pytest.raises(ValueError, match=message):
        table(track(vehicle="y").assign(**change), track(vehicle="x"))


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="lacks the columns lane, width"):
        Trajectories.from_frame(track().drop(columns=["lane", "width"]))


def test_two_rows_of_a_vehicle_at_an_instant_are_refused():
    with pytest.raises(ValueError, match=r"vehicle is a .* one row for each vehicle and instant"):
        table(track("a", [1.0]), track("a", [1.0], s=3))


def test_unknown_acceleration_and_width_may_be_nan():
    frame = table(track(acceleration=np.nan, width=np.nan)).frame
    assert frame[["acceleration", "width"]].isna().all().all()


def test_between_takes_the_start_and_not_the_end():
    full = table(track("a", steps(10, 1.0)), track("b", steps(10, 1.0)))
    part = full.between(2, 5)
    assert part.frame["t"].tolist() == [2, 2, 3, 3, 4, 4]
    both = table(track("a", steps(10, 1.0)), track("b", steps(10, 1.0), recording="q"))
    assert sorted(both.between(2, 5).frame["t"]) == [2, 2, 3, 3, 4, 4]


def test_select_by_names_and_direction():
    full = table(
        track("a", steps(2), lane=1),
        track("b", steps(2), lane=10),
        track("c", steps(2), lane=2, direction=-1, recording="q"),
    )
    assert full.lanes() == ["1", "2", "10"]
    assert full.lanes(direction=-1) == ["2"]
    assert full.directions == [1, -1]
    assert full.select(vehicles=["a", "c"]).vehicles == ["a", "c"]
    assert full.select(lanes=[10]).vehicles == ["b"]
    assert full.select(lanes="2").vehicles == ["c"]
    assert full.select(recording="q", direction=1).vehicles == []
    assert len(full.select(recording="nowhere")) == 0


def test_concat_of_tables_with_other_names_is_the_table_of_all_rows():
    first, second = track("z", steps(3)), track("a", steps(3, start=5.0))
    joined, whole = concat([table(first), table(second)]), table(first, second)
    pd.testing.assert_frame_equal(
        joined.frame.astype({"vehicle": object}), whole.frame.astype({"vehicle": object}), check_categorical=False
    )
    assert len(concat([])) == 0


def test_parquet_keeps_table_and_types(tmp_path):
    before = table(track("a", steps(5)), track("b", steps(5), lane="on ramp"))
    before.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(Trajectories.from_parquet(tmp_path / "t.parquet").frame, before.frame)


def test_empty_table_answers():
    empty = Trajectories.empty()
    assert empty.vehicles == [] and empty.directions == [] and len(empty.between(0, 1)) == 0
    with pytest.raises(ValueError, match="no time span"):
        _ = empty.span


def test_names_sort_as_people_count():
    assert sorted(["lane10", "lane2", "b", "10", "9"], key=natural_key) == ["9", "10", "b", "lane2", "lane10"]
