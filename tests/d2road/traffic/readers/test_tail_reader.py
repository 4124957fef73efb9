"""Files that grow while they are read: equal to whole files, at any cut, and from where an earlier run stopped."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.readers import open_trajectories
from d2road.traffic.readers.growing_file import GrowingFile, StoppedError
from d2road.traffic.readers.tail_reader import TailReader
from d2road.traffic.table import concat

STEPS, VEHICLES = 120, 4


def fcd_xml() -> str:
    """Vehicles at 20 m/s, 10 Hz; one drives backwards."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<!-- made -->", "<fcd-export>"]
    for step in range(STEPS):
        lines.append(f'    <timestep time="{step / 10:.2f}">')
        for number in range(VEHICLES):
            s = 100 * number + (-2 if number == 3 else 2) * step + 250
            lines.append(
                f'        <vehicle id="v{number}" x="{s}" y="0" angle="90" type="car" speed="20.00" '
                f'pos="{s:.2f}" lane="main_{number % 2}" slope="0.00"/>'
            )
        lines.append("    </timestep>")
    return "\n".join([*lines, "</fcd-export>", ""])


def fcd_csv() -> str:
    rows = ["timestep_time;vehicle_id;vehicle_x;vehicle_type;vehicle_speed;vehicle_pos;vehicle_lane"]
    for step in range(STEPS):
        for number in range(VEHICLES):
            s = 100 * number + (-2 if number == 3 else 2) * step + 250
            rows.append(f"{step / 10:.2f};v{number};{s};car;20.00;{s:.2f};main_{number % 2}")
    return "\n".join([*rows, ""])


def plain_csv() -> str:
    rows = ["time,vehicle,s,speed"]
    rows += [f"{step * 100},v{n},{100 * n + 2 * step},20" for step in range(STEPS) for n in range(VEHICLES)]
    return "\n".join([*rows, ""])


FORMS = {
    "a.xml": (fcd_xml, "fcd:{path}?partial=1"),
    "a.csv": (fcd_csv, "fcd:{path}"),
    "b.csv": (plain_csv, "csv:{path}?columns=t=time&units=t=ms&ordered=1"),
}


@pytest.fixture(params=list(FORMS))
def form(request, tmp_path):
    """A file's text, its path, and how it is opened."""
    make, spec = FORMS[request.param]
    path = tmp_path / request.param
    return make(), path, spec.format(path=path)


def read(spec, path, **options) -> pd.DataFrame:
    source = TailReader(open_trajectories(spec), GrowingFile(path, **options))
    return concat(list(source.chunks(3.0))).frame


def test_a_complete_file_reads_as_ever(form):
    text, path, spec = form
    path.write_text(text)
    whole = open_trajectories(spec).table().frame
    pd.testing.assert_frame_equal(read(spec, path), whole)
    assert len(whole) == STEPS * VEHICLES


@pytest.mark.parametrize("seed", range(3))
def test_growth_in_any_pieces_changes_nothing(form, seed, monkeypatch):
    text, path, spec = form
    path.write_text(text)
    whole = open_trajectories(spec).table().frame
    cuts = iter([*sorted(np.random.default_rng(seed).integers(400, len(text), 12).tolist()), len(text)])
    path.write_text(text[: next(cuts)])
    file = GrowingFile(path, follow=True)

    def write_on(_seconds: float) -> None:
        position = next(cuts, None)
        if position is None:
            file.follow = False  # the writer is done
        else:
            path.write_text(text[:position])

    monkeypatch.setattr("d2road.traffic.readers.growing_file.time.sleep", write_on)
    source = TailReader(open_trajectories(spec), file)
    pd.testing.assert_frame_equal(concat(list(source.chunks(3.0))).frame, whole)
    assert file.offset == len(text)


def test_stopping_and_going_on_where_a_mark_is(form, monkeypatch):
    text, path, spec = form
    path.write_text(text)
    monkeypatch.setattr("d2road.traffic.readers.growing_file.BLOCK_BYTES", 700)
    whole = open_trajectories(spec).table().frame
    asked = []
    file = GrowingFile(path, stopped=lambda: len(asked) > len(text) // 1400 or bool(asked.append(0)))
    source = TailReader(open_trajectories(spec), file)
    got = []
    with pytest.raises(StoppedError):
        for chunk in source.chunks(1.0):
            got.append(chunk)
    assert 0 < file.offset < len(text)
    offset = file.mark_before(2.0)
    assert 0 < offset < file.offset
    rest = read(spec, path, offset=offset)
    expected = whole[whole["t"] >= 2.0].reset_index(drop=True)
    kept = rest[rest["t"] >= 2.0].reset_index(drop=True)
    for name in ("t", "s", "speed", "length"):
        np.testing.assert_array_equal(kept[name], expected[name])
    assert list(kept["vehicle"].astype(str)) == list(expected["vehicle"].astype(str))
    assert rest["t"].min() > 0.5  # what came long before is not read again


def test_each_byte_is_read_once(form, monkeypatch):
    text, path, spec = form
    path.write_text(text)
    monkeypatch.setattr("d2road.traffic.readers.growing_file.BLOCK_BYTES", 1000)
    file, sizes = GrowingFile(path), []
    blocks = file.blocks
    monkeypatch.setattr(file, "blocks", lambda: (sizes.append(len(b)) or b for b in blocks()))
    list(TailReader(open_trajectories(spec), file).chunks(1.0))
    assert sum(sizes) == len(text)
    assert file.mark_before(-1.0) == 0 and len(file.marks) > 3


def test_files_that_cannot_be_followed(tmp_path):
    with pytest.raises(FileNotFoundError, match="a file of trajectories that grows"):
        GrowingFile(tmp_path / "none.xml")
    path = tmp_path / "b.csv"
    path.write_text(plain_csv())
    with pytest.raises(ValueError, match=r"has \d+ bytes, but 999999 were read of it: another file"):
        GrowingFile(path, offset=999_999)
    (tmp_path / "c.xml.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="is packed"):
        GrowingFile(tmp_path / "c.xml.gz")
    two = "recording,t,vehicle,s,speed\nx,0,a,1,2\ny,0,b,1,2\n"
    path.write_text(two)
    with pytest.raises(ValueError, match="holds the recordings x, y"):
        read(f"csv:{path}?ordered=1", path)


@pytest.mark.parametrize("last", ["12000,v0,4", "12000,v", "1"])
def test_a_last_line_that_is_cut_off_is_left_out(tmp_path, last):
    path, text = tmp_path / "b.csv", plain_csv()
    path.write_text(text + last)
    spec = f"csv:{path}?columns=t=time&units=t=ms&ordered=1"
    found = read(spec, path, offset=text.index("9000,v0"))
    assert len(found) == 30 * VEHICLES and len(read(spec, path)) == STEPS * VEHICLES
