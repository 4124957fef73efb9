"""Growing files meet faults: rotation, truncation, clocks that are set, silence. Content is SUMO's, grown piecewise."""

import logging
import os
import re

import numpy as np
import pytest

from d2road.traffic.readers import growing_file, open_trajectories
from d2road.traffic.readers.growing_file import FileMark, GrowingFile
from d2road.traffic.readers.tail_reader import TailReader
from tests.factories.sumo_fcd import EDGES, split_at, sumo_fcd


class Writer:
    """Acts one after the other whenever a reader finds nothing new; then stops following."""

    def __init__(self, monkeypatch, path, spec, acts, **options):
        self.file = GrowingFile(path, follow=True, **options)
        self.reader, self.acts = TailReader(open_trajectories(spec), self.file), iter(acts)
        monkeypatch.setattr("d2road.traffic.readers.growing_file.time.sleep", self.act)

    def act(self, _seconds):
        act = next(self.acts, None)
        if act is None:
            self.file.follow = False
        else:
            act()

    def recordings(self):
        """Name, first and last time, rows of each recording."""
        found = {}
        for chunk in self.reader.chunks(2.0):
            name, (first, last) = chunk.recordings[0], chunk.span
            start, _, rows = found.get(name, (first, last, 0))
            found[name] = (start, last, rows + len(chunk))
        return {name: (round(first, 6), round(last, 6), rows) for name, (first, last, rows) in found.items()}


def whole(path, content):
    """The recording of a complete file."""
    path.write_bytes(content)
    table = open_trajectories(spec_of(path)).table()
    return (*np.round(table.span, 6), len(table))


def spec_of(path):
    return f"fcd:{path}?edges={EDGES}" + ("&partial=1" if path.suffix == ".xml" else "")


@pytest.mark.parametrize("suffix", ["csv", "xml"])
def test_a_file_without_its_first_byte_or_header_is_waited_for(tmp_path, monkeypatch, suffix):
    content, path = sumo_fcd(suffix, 20), tmp_path / f"a.{suffix}"
    expected = whole(tmp_path / f"b.{suffix}", content)
    path.write_bytes(b"")
    grown = [content[:0], content[:9], content[:60], content[:5000], content]
    writer = Writer(monkeypatch, path, spec_of(path), [lambda part=part: path.write_bytes(part) for part in grown])
    assert writer.recordings() == {"a": expected}


def test_an_empty_file_that_nobody_writes_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.csv has no first line with names of columns"):
        list(TailReader(open_trajectories(spec_of(path)), GrowingFile(path)).chunks())


def rotate(path, content):
    """As logrotate and many writers do: the old file gets another name, a new one takes its place."""
    path.rename(path.with_suffix(".old"))
    path.write_bytes(content)


def test_a_new_file_under_the_name_is_read_from_its_beginning_and_told(tmp_path, monkeypatch, caplog):
    old, rest = split_at(sumo_fcd(seconds=40), 20)
    new = sumo_fcd(seconds=60, seed=2)
    path = tmp_path / "a.csv"
    expected = {"a": whole(tmp_path / "b.csv", old + rest), "a.2": whole(tmp_path / "c.csv", new)}
    path.write_bytes(old)

    def last_rows_then_rotation():
        with open(path, "ab") as file:
            file.write(rest)
        rotate(path, new)
        assert len(new) > len(old + rest)  # larger than what was read of the old one

    assert Writer(monkeypatch, path, spec_of(path), [last_rows_then_rotation]).recordings() == expected
    assert "another file has taken its place after t = 39.9 s (the name belongs to a new file)" in caplog.text


@pytest.mark.parametrize("seconds", [10, 60])
def test_a_file_written_anew_in_its_place_is_found_at_any_size(tmp_path, monkeypatch, caplog, seconds):
    # The same first seconds, so that only what was read last tells the two apart.
    old, new = sumo_fcd(seconds=40), split_at(sumo_fcd(seconds=60), seconds)[0] if seconds == 10 else b""
    new = new or split_at(old, 20)[0] + split_at(sumo_fcd(seconds=60, seed=2), 20)[1]
    path = tmp_path / "a.csv"
    expected = {"a": whole(tmp_path / "b.csv", old), "a.2": whole(tmp_path / "c.csv", new)}
    path.write_bytes(old)
    assert Writer(monkeypatch, path, spec_of(path), [lambda: path.write_bytes(new)]).recordings() == expected
    why = {10: r"it has \d+ bytes, but \d+ were read", 60: r"the bytes before \d+, where it was read to, are others"}
    assert re.search(rf"another file has taken its place after t = 39\.9 s \({why[seconds]}\)", caplog.text)


def test_truncation_under_a_writer_that_keeps_its_place_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    first, rest = split_at(sumo_fcd(seconds=40), 20)

    def truncate():
        os.truncate(path, 0)
        with open(path, "r+b") as file:  # SUMO goes on where it was: a hole of zero bytes is before it
            file.seek(len(first))
            file.write(rest)

    path.write_bytes(first)
    with pytest.raises(ValueError, match="begins with zero bytes: it was truncated while its writer kept its place"):
        Writer(monkeypatch, path, spec_of(path), [truncate]).recordings()


def append(path, content):
    with open(path, "ab") as file:
        file.write(content)


def test_a_clock_that_begins_anew_begins_another_recording(tmp_path, monkeypatch, caplog):
    old, new = sumo_fcd(seconds=80), split_at(sumo_fcd(seconds=30, seed=2), 0)[1]
    path = tmp_path / "a.csv"
    header = old.splitlines(keepends=True)[0]
    expected = {"a": whole(tmp_path / "b.csv", old), "a.2": whole(tmp_path / "c.csv", header + new)}
    path.write_bytes(old)
    writer = Writer(monkeypatch, path, spec_of(path), [lambda: append(path, new)])
    assert writer.recordings() == expected
    assert "the clock went back from t = 79.9 s to t = 0 s: another recording begins there" in caplog.text

    # Who goes on from there reads the rows of this recording alone.
    offset, behind = writer.reader.place_before(None)
    again = TailReader(open_trajectories(spec_of(path)), GrowingFile(path, offset=offset), 2, behind)
    tables = list(again.chunks())
    assert {table.recordings[0] for table in tables} == {"a.2"} and tables[0].span[0] == 0
    assert sum(map(len, tables)) == expected["a.2"][2]


def test_late_rows_are_dropped_and_told_at_once_with_the_time(tmp_path, monkeypatch, caplog):
    content = sumo_fcd(seconds=60)
    first, rest = split_at(content, 40)
    late = split_at(split_at(content, 39)[0], 35)[1]
    path = tmp_path / "a.csv"
    expected = whole(tmp_path / "b.csv", content)
    path.write_bytes(first)
    told = []
    acts = [lambda: append(path, late), lambda: told.append(caplog.text), lambda: append(path, rest)]
    writer = Writer(monkeypatch, path, spec_of(path), acts)
    assert writer.recordings() == {"a": expected}
    count = late.count(b"\n")
    assert "the clock went back from t = 39.9 s to t = 35 s: rows are dropped until it is there again" in told[0]
    assert f"{count} late row(s) were dropped before t = 40 s" in caplog.text
    assert writer.reader.problems.counts["time backwards"] == count


@pytest.mark.parametrize(("t", "follow"), [(1e5, True), (1e6, False), (-1e4, True), (1e12, False)])
def test_a_time_stamp_that_stands_alone_is_dropped_and_told(tmp_path, monkeypatch, caplog, t, follow):
    content = sumo_fcd(seconds=60)
    first, rest = split_at(content, 40)
    path = tmp_path / "a.csv"
    expected = whole(tmp_path / "b.csv", content)
    path.write_bytes(first + f"{t:.2f};x;8.15;-1.60;90.00;car;30.46;8.15;in_1;;0.00\n".encode() + rest)
    writer = Writer(monkeypatch, path, spec_of(path), [])
    writer.file.follow = follow
    assert writer.recordings() == {"a": expected}
    assert f"t = {t:g} s, after 39.9 s, stands alone: 1 row(s) dropped" in caplog.text


def test_a_clock_set_ahead_is_a_gap(tmp_path, caplog):
    first, rest = split_at(sumo_fcd(seconds=60), 40)
    ahead = b"".join(
        b"%.2f;" % (float(line.split(b";")[0]) + 1000) + line.split(b";", 1)[1] for line in rest.splitlines(True)
    )
    path = tmp_path / "a.csv"
    path.write_bytes(first + ahead)
    table = TailReader(open_trajectories(spec_of(path)), GrowingFile(path)).table()
    assert table.span == (0, pytest.approx(1059.9))
    assert "after t = 39.9 s follows t = 1040 s: a gap" in caplog.text


def test_silence_and_its_end_are_told_with_the_time(tmp_path, monkeypatch, caplog):
    first, rest = split_at(sumo_fcd(seconds=40), 20)
    path, now = tmp_path / "a.csv", [0.0]
    path.write_bytes(first)
    monkeypatch.setattr(growing_file.time, "monotonic", lambda: now[0])

    def wait():
        now[0] += 4.0

    def go_on():
        wait()
        append(path, rest)

    with caplog.at_level(logging.WARNING):
        Writer(monkeypatch, path, spec_of(path), [wait] * 12 + [go_on]).recordings()
    told = [float(text) for text in re.findall(r"nothing new for (\d+) s, since \d{4}-\d\d-\d\d \d\d:", caplog.text)]
    assert told == [12, 24, 48] and "t = 19.9 s" in caplog.text
    assert "new bytes after 52 s of silence" in caplog.text


def test_a_name_that_is_gone_is_waited_for(tmp_path, monkeypatch, caplog):
    old, new = sumo_fcd(seconds=20), sumo_fcd(seconds=20, seed=2)
    path = tmp_path / "a.csv"
    path.write_bytes(old)
    acts = [path.unlink, lambda: None, lambda: path.write_bytes(new)]
    assert list(Writer(monkeypatch, path, spec_of(path), acts).recordings()) == ["a", "a.2"]
    assert caplog.text.count("is gone: waiting for a new file of this name") == 1


def test_the_mark_of_a_file_knows_it_again_and_no_other(tmp_path):
    path = tmp_path / "a.csv"
    first, rest = split_at(sumo_fcd(seconds=40), 20)
    path.write_bytes(first)
    file = GrowingFile(path)
    for _ in file.blocks():
        pass
    known = file.mark_of_read()
    assert known.read == len(first)
    append(path, rest)
    GrowingFile(path, known=known)  # it has grown
    copy = tmp_path / "copy.csv"
    copy.write_bytes(first)
    GrowingFile(copy, known=known)  # the content counts, not the inode
    for other, text in ((sumo_fcd(seconds=60, seed=2), "is not the file that the saved state is of"), (b"", "0 bytes")):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=text):
            GrowingFile(path, known=known)
    assert FileMark(**vars(known)) == known


def test_a_file_in_another_encoding_or_form_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    content = sumo_fcd(seconds=20)
    for wrong, text in (
        (content.decode().encode("utf-16"), r"a\.csv is in UTF-16: a file that grows is read in UTF-8"),
        (content.replace(b"f.1;", "f.\xe9;".encode("latin1")), r"a\.csv is no UTF-8 text"),
        (content.replace(b"vehicle_pos", b"p"), r"a\.csv lacks the columns pos"),
        (b"\0" * 5000, r"a\.csv begins with zero bytes"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=text):
            list(TailReader(open_trajectories(spec_of(path)), GrowingFile(path)).chunks())
    os.mkfifo(tmp_path / "b.csv")
    with pytest.raises(ValueError, match="named pipe"):
        GrowingFile(tmp_path / "b.csv")
