"""Tables as SUMO itself writes them: persons among vehicles, Parquet, mesoscopic runs, files that are cut off."""

import gzip
import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.growing_file import GrowingFile
from d2road.traffic.readers.tail_reader import TailReader, can_grow
from d2road.utils.errors import DataError
from tests.factories.sumo_fcd import EDGES, sumo_fcd, sumo_mixed

MESO = ("--mesosim", "-e", "60")
VEHICLE = re.compile(rb"<vehicle ")
OTHER = re.compile(rb"<(?:person|container) ")


def read(folder, content, suffix, options="", **more):
    """Rows by vehicle and time, and the source, of a file with this content."""
    path = folder / f"traffic.{suffix}"
    path.write_bytes(content)
    source = open_trajectories(f"fcd:{path}?{options or f'edges={EDGES}'}", **more)
    frame = source.table().frame
    frame["vehicle"] = frame["vehicle"].astype(str)
    return frame.sort_values(["vehicle", "t"]).reset_index(drop=True), source


def assert_rows_equal(found, expected, columns=("s", "speed"), within=1e-9):
    assert len(found) == len(expected)
    for name in ("vehicle", "cls", "lane", "direction"):
        assert found[name].astype(str).tolist() == expected[name].astype(str).tolist(), name
    for name in ("t", "length", *columns):
        np.testing.assert_allclose(found[name], expected[name], atol=within, rtol=0, err_msg=name)


@pytest.mark.parametrize("options", [f"edges={EDGES}", "axis=0 -3, 1200 -3"])
@pytest.mark.parametrize("person_first", [True, False], ids=["person_first", "car_first"])
@pytest.mark.parametrize(("suffix", "within"), [("csv", 1e-9), ("csv.gz", 1e-9), ("parquet", 0.0051)])
def test_a_table_with_persons_and_containers_holds_the_vehicles_of_the_xml(
    tmp_path, suffix, within, person_first, options
):
    xml = sumo_mixed("xml", person_first)
    expected, _ = read(tmp_path, xml, "xml", options)
    found, source = read(tmp_path, sumo_mixed(suffix, person_first), suffix, options)
    assert found["vehicle"].nunique() == 12 and len(found) == len(VEHICLE.findall(xml))
    counts = dict(source.problems.counts)
    assert counts.pop("assumed length") == len(found)
    assert counts == {"persons and containers": len(OTHER.findall(xml))}
    # A person has no acceleration, so that a file that begins with one has no column of it.
    columns = ("s", "speed") if person_first else ("s", "speed", "acceleration")
    assert_rows_equal(found, expected, columns, within)


def test_accelerations_of_the_file_are_kept_beside_persons_who_have_none(tmp_path):
    found, _ = read(tmp_path, sumo_mixed("csv", False), "csv")
    rows = [line.split(";") for line in sumo_mixed("csv", False).decode().splitlines()]
    names, cars = rows[0], [row for row in rows[1:] if row[1].startswith("v")]
    at = {(row[1], float(row[0])): float(row[names.index("vehicle_acceleration")]) for row in cars}
    assert found["acceleration"].tolist() == pytest.approx(
        [at[vehicle, round(t, 2)] for vehicle, t in zip(found["vehicle"], found["t"])], abs=1e-6
    )


def test_parquet_of_sumo_is_known_by_its_content_and_has_no_rows_where_there_are_no_vehicles(tmp_path):
    content = sumo_fcd("parquet", seconds=20, begin=5)
    assert pq.read_table(io.BytesIO(content)).column(1).null_count >= 40  # until the first car departs
    found, source = read(tmp_path, content, "parquet")
    other, _ = read(tmp_path, content, "xml")  # a name that says something else
    assert found.drop(columns=["recording"]).equals(other.drop(columns=["recording"])) and set(
        source.problems.counts
    ) == {"assumed length"}
    expected, _ = read(tmp_path, sumo_fcd("xml", seconds=20, begin=5), "xml")
    assert_rows_equal(found, expected, within=0.0051)


@pytest.mark.parametrize("suffix", ["xml", "csv", "parquet"])
def test_mesoscopic_vehicles_are_on_the_edge_that_takes_the_place_of_a_lane(tmp_path, suffix):
    xml = sumo_mixed("xml", False, MESO)
    found, source = read(tmp_path, sumo_mixed(suffix, False, MESO), suffix)
    assert len(found) == len(VEHICLE.findall(xml)) and found["vehicle"].nunique() == 12
    assert set(found["lane"]) == {"unknown"} and (found["speed"] >= 0).all()
    assert source.problems.counts["unknown lane"] == len(found)
    assert source.problems.counts["persons and containers"] == len(OTHER.findall(xml))
    starts = {float(part.split(":")[-1]) for part in EDGES.split(",")}
    v0 = found[found["vehicle"] == "v0"]
    assert np.isclose(v0["s"].to_numpy()[:, None], sorted(starts), atol=0.01).any(0).sum() >= 3


@pytest.mark.parametrize("person_first", [True, False], ids=["person_first", "car_first"])
@pytest.mark.parametrize(
    ("suffix", "name"), [("csv", "a.csv"), ("xml", "a.xml"), ("csv", "fcd.out"), ("xml", "fcd.out")]
)
def test_a_growing_file_with_persons_gives_what_the_whole_file_does(tmp_path, suffix, name, person_first):
    expected, whole = read(tmp_path, sumo_mixed(suffix, person_first), suffix)
    path = tmp_path / name
    path.write_bytes(sumo_mixed(suffix, person_first))
    tail = TailReader(open_trajectories(f"fcd:{path}?edges={EDGES}"), GrowingFile(path))
    found = tail.table().frame
    found["vehicle"] = found["vehicle"].astype(str)
    assert_rows_equal(found.sort_values(["vehicle", "t"]).reset_index(drop=True), expected)
    assert tail.problems.counts == whole.problems.counts


@pytest.mark.parametrize("person_first", [True, False], ids=["person_first", "car_first"])
def test_a_mesoscopic_file_that_is_read_from_its_middle_has_the_same_vehicles(tmp_path, person_first):
    content = sumo_mixed("csv", person_first, MESO)
    expected, _ = read(tmp_path, content, "csv")
    path = tmp_path / "traffic.csv"
    lines = content.splitlines(keepends=True)
    middle = next(i for i, line in enumerate(lines) if line.startswith(b"20.00;v"))
    file = GrowingFile(path, offset=len(b"".join(lines[:middle])))
    found = TailReader(open_trajectories(f"fcd:{path}?edges={EDGES}"), file).table().frame
    expected = expected[expected["t"] >= 20]
    assert sorted(zip(found["vehicle"], found["t"])) == sorted(zip(expected["vehicle"], expected["t"]))


def test_parquet_and_packed_files_do_not_grow_whatever_their_names_are(tmp_path):
    path = tmp_path / "a.csv"
    for content, grows in (
        (b"", True),
        (sumo_mixed("csv"), True),
        (sumo_mixed("csv.gz"), False),
        (sumo_mixed("parquet"), False),
    ):
        path.write_bytes(content)
        assert can_grow(path) == grows


@pytest.mark.parametrize("columns", [1, 4, 8, 11.5])
def test_a_csv_that_ends_in_the_middle_of_a_line_loses_that_row_and_says_so(tmp_path, columns):
    lines = sumo_mixed("csv", False).splitlines(keepends=True)[:2001]
    last = lines[-1].split(b";")
    part = b";".join(last[: int(columns)]) + (b";" + last[-1].strip()[:1] if columns % 1 else b"")
    whole, _ = read(tmp_path, b"".join(lines[:-1]), "csv")
    found, source = read(tmp_path, b"".join(lines[:-1]) + part, "csv")
    assert source.problems.counts["cut off"] == 1 and "unknown lane" not in source.problems.counts
    assert source.problems.examples["cut off"][0].row == 2001
    assert_rows_equal(found, whole, ("s", "speed", "acceleration"))


@pytest.mark.parametrize(("suffix", "options"), [("csv.gz", {}), ("xml.gz", {"partial": True})])
def test_a_packed_file_that_ends_in_the_middle_gives_what_can_be_unpacked(tmp_path, suffix, options):
    content = sumo_mixed(suffix, False)
    whole, _ = read(tmp_path, content, suffix)
    found, source = read(tmp_path, content[: len(content) * 3 // 4], suffix, **options)
    assert source.problems.counts["cut off"] == 1 and len(whole) / 2 < len(found) < len(whole)
    assert len(gzip.decompress(content)) > 2 * len(content)  # packed indeed


def test_a_parquet_file_that_ends_in_the_middle_is_refused_by_name(tmp_path):
    content = sumo_mixed("parquet", False)
    with pytest.raises(DataError, match=r"traffic\.parquet cannot be read as Parquet: .*Cut off, or still written"):
        read(tmp_path, content[: len(content) // 2], "parquet")
