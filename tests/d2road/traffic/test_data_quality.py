"""Data that is wrong: counted, with file and row."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.data_quality import PROBLEM_KINDS, QualityReport
from d2road.traffic.readers import open_trajectories
from tests.factories.trajectories import steps, track


def source_of(path, frame, spec="", **options):
    frame.drop(columns="recording").to_csv(path, index=False)
    return open_trajectories(f"csv:{path}{spec}", **options)


def drive(vehicle="a", count=50, **columns):
    t = steps(count)
    return track(vehicle, t, s=10 + 20 * t, **columns)


def test_what_is_usual_is_a_note_of_a_line_and_no_list_of_rows():
    problems = QualityReport(rows=9)
    problems.add("assumed length", "a.csv", [2, 3, 4], "vehicle: 5 m", count=9)
    problems.add("gap", "a.csv", [5], "vehicle a is missing for 9 s")
    note, *rest = problems.report().splitlines()[1:]
    assert note.startswith("note: assumed length of 9 rows") and note.endswith(": vehicle: 5 m")
    assert rest[0].startswith("gap: 1") and "row 5" in rest[1] and len(rest) == 2


def test_clean_data_has_no_problems(tmp_path):
    source = source_of(tmp_path / "x.csv", drive())
    source.table()
    assert source.problems.counts == {} and source.problems.rows == 50
    assert source.problems.report() == "50 rows read"


def test_gaps_are_counted_and_kept(tmp_path):
    rows = drive().drop(index=[20, 21]).reset_index(drop=True)
    source = source_of(tmp_path / "x.csv", rows)
    assert len(source.table()) == 48
    assert source.problems.counts == {"gap": 1}
    assert str(source.problems.examples["gap"][0]) == "x.csv, row 22: vehicle a is missing for the 0.3 s before"


@pytest.mark.parametrize("seconds", [0.7, 2.0, 60.0])
def test_gaps_across_chunks_are_counted_once(tmp_path, seconds):
    rows = pd.concat([drive().drop(index=range(10, 35)), drive("b")])
    source = source_of(tmp_path / "x.csv", rows)
    assert sum(len(chunk) for chunk in source.chunks(seconds)) == 75
    assert source.problems.counts["gap"] == 1


def test_duplicate_rows_are_dropped(tmp_path):
    rows = pd.concat([drive(), drive().iloc[[7]].assign(s=999.0)])
    source = source_of(tmp_path / "x.csv", rows)
    table = source.table()
    assert len(table) == 50 and 999 not in table.frame["s"].tolist()
    assert source.problems.counts["duplicate row"] == 1 and source.problems.wrong == 1
    assert str(source.problems.examples["duplicate row"][0]) == "x.csv, row 52: vehicle a at t = 0.7 s again"


def test_time_running_backwards_is_sorted_where_files_are_in_no_order(tmp_path):
    rows = drive()
    rows = pd.concat([rows.iloc[:30], rows.iloc[[31, 30]], rows.iloc[32:]])
    source = source_of(tmp_path / "x.csv", rows)
    assert np.diff(source.table().frame["t"]).min() > 0
    assert source.problems.counts == {"time backwards": 1} and source.problems.wrong == 0
    assert str(source.problems.examples["time backwards"][0]) == "x.csv, row 33: t = 3 s of vehicle a after a later one"


def test_late_rows_of_an_ordered_file_are_dropped(tmp_path):
    rows = drive()
    rows = pd.concat([rows.iloc[:31], rows.iloc[[5]], rows.iloc[31:]])
    source = source_of(tmp_path / "x.csv", rows, "?ordered=1")
    assert len(source.table()) == 50
    assert source.problems.counts == {"time backwards": 1} and source.problems.wrong == 1


def test_what_is_no_number_is_dropped_with_its_row(tmp_path):
    path = tmp_path / "x.csv"
    drive().drop(columns="recording").to_csv(path, index=False)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("a,0.2", "a,soon")
    lines.append("a,5.0,110.0")  # cut off: no speed
    path.write_text("\n".join(lines) + "\n")
    source = open_trajectories(path)
    assert len(source.table()) == 49
    texts = [str(example) for kind in ("not a number", "cut off") for example in source.problems.examples[kind]]
    assert texts == ["x.csv, row 4: t is missing or no number", "x.csv, row 52: the last line has 3 of 10 fields"]


def test_missing_lanes_and_vehicles(tmp_path):
    rows = pd.concat([drive(), drive("b", 3, lane=None), drive(None, 2)])
    source = source_of(tmp_path / "x.csv", rows)
    assert source.table().lanes() == ["1", "unknown"]
    assert source.problems.counts["unknown lane"] == 3 and source.problems.counts["not a number"] == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"speed": 130.0}, "speed is 130 m/s, above 100"),
        ({"length": 450.0}, "length is 450 m, above 50"),
        ({"width": 6.0}, "width is 6 m, above 4"),
        ({"acceleration": 80.0}, r"acceleration is 80 m/s\^2, above 50"),
        ({"speed": 72.0}, r"speed is 3.60 times the change of s per second"),
        ({"length": 15.0}, "median length is 15 m, expected 1.5 to 12"),
    ],
)
def test_units_that_cannot_be_right_end_it(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        source_of(tmp_path / "x.csv", drive(**columns)).table()
    source = source_of(tmp_path / "x.csv", drive(**columns), limit=1.0)
    assert len(source.table()) == 50 and source.problems.counts["units"] == 50


def test_a_few_wrong_values_are_counted_and_pass(tmp_path):
    speed = np.full(50, 20.0)
    speed[3] = 500
    source = source_of(tmp_path / "x.csv", drive(speed=speed))
    assert len(source.table()) == 50
    assert str(source.problems.examples["units"][0]) == "x.csv, row 5: speed is 500 m/s, above 100"


def test_positions_in_feet_are_noticed_over_many_chunks(tmp_path):
    t = steps(600)
    rows = track("a", t, s=20 * t / 0.3048, speed=20.0)
    with pytest.raises(ValueError, match=r"speed is 0.30 times the change of s"):
        list(source_of(tmp_path / "x.csv", rows).chunks(seconds=2.0))


def test_single_samples_have_no_speed(tmp_path):
    rows = pd.concat([drive(), drive("b", 1)]).drop(columns=["speed", "acceleration"])
    source = source_of(tmp_path / "x.csv", rows)
    assert source.table().vehicles == ["a"] and source.problems.counts["no speed"] == 1


def test_report_holds_few_examples_and_every_count():
    problems = QualityReport(rows=100)
    problems.add("gap", "f.csv", range(2, 42), lambda i: f"gap {i}")
    problems.add("gap", "g.csv", [1], "another")
    assert problems.counts["gap"] == 41 and len(problems.examples["gap"]) == 5
    lines = problems.report().splitlines()
    assert lines[:3] == ["100 rows read", f"gap: 41 ({PROBLEM_KINDS['gap']})", "    f.csv, row 2: gap 0"]
    assert problems.as_dict()["kinds"]["gap"]["count"] == 41
