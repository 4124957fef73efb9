"""The comparison of readers of floating-car data: all of them read all rows."""

import json

import pytest

from benchmarks.speed import speed_fcd
from d2road.synthetic.traffic_incidents.sumo import sumo_home


@pytest.mark.skipif(sumo_home() is None, reason="SUMO's Python library is not installed")
def test_readers_find_the_same_rows(tmp_path):
    path = tmp_path / "fcd.xml"
    speed_fcd.write_fcd(path, 3e5, 20)
    rows = path.read_text().count("<vehicle")
    assert {name: read(path) for name, read in speed_fcd.READERS.items()} == dict.fromkeys(speed_fcd.READERS, rows)
    table = speed_fcd.run_child("table", path)
    assert table["rows"] == rows and 30 < table["table_bytes_a_row"] < 60


def test_ratios_are_of_the_same_turn(capsys):
    turns = {
        "this project": [{"rows": 100, "seconds": s, "peak_mb": 50} for s in (1.0, 2.0)],
        "another": [{"rows": 100, "seconds": s, "peak_mb": 70} for s in (3.0, 4.0)],
    }
    found = speed_fcd.compared(turns)
    assert found["another"]["ours_is_times_as_fast"] == 2.5 and found["another"]["from_to"] == [2, 3]
    assert found["this project"]["rows_per_processor_second"] == pytest.approx(100 / 1.5)
    assert json.dumps(found) and "another" in capsys.readouterr().out
