"""Inputs: every kind of file that is no text, no JSON or no regular file is refused by name, and nothing waits."""

import gzip
import json
import os
import socket

import pytest

from d2road.utils.errors import DataError
from d2road.utils.input_files import open_text, read_bytes, read_json, read_text, text_lines, walk_files

TEXT = "Straße 1\nзнак 2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_in_any_encoding_with_a_mark_is_read(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    path.write_bytes((mark + TEXT.replace("\n", end)).encode(encoding))
    assert text_lines(path) == ["Straße 1", "знак 2"]
    with open_text(path) as file:
        assert file.read() == TEXT.replace("\n", end)


def test_text_of_another_encoding_is_refused_with_file_and_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("good\nStraße\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.txt is no UTF-8 text at byte 9 \(line 2\).*iconv"):
        read_text(path)
    with pytest.raises(DataError, match=r"labels\.txt is no UTF-8"), open_text(path) as file:
        file.read()
    path.write_bytes("abc".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"labels\.txt holds a zero byte"):
        read_text(path)


def test_a_table_packed_with_gzip_is_read_whatever_its_name_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "a.csv"
    packed = gzip.compress(("x,y\n" * 5000).encode())
    path.write_bytes(packed)
    with open_text(path) as file:
        assert file.read() == "x,y\n" * 5000
    for damaged in (packed[:-20], packed[:30] + b"xxxx" + packed[34:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.csv is packed and cannot be unpacked"), open_text(path) as file:
            file.read()
    with pytest.raises(DataError, match=r"a\.csv is packed with gzip"):
        read_text(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    cases = {"pipe": "named pipe", "loop": "loop of links", "socket": "socket", "/dev/zero": "device"}
    for name, kind in cases.items():
        with pytest.raises(DataError, match=f"list .*{name} is a {kind}"):
            read_bytes(tmp_path / name, "list")
    with pytest.raises(IsADirectoryError, match=r"list .* is a folder"):
        read_bytes(tmp_path, "list")
    with pytest.raises(FileNotFoundError, match=r"list .*gone does not exist"):
        read_bytes(tmp_path / "gone", "list")


def test_a_file_beyond_the_bound_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "sparse.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    for read in (read_text, read_json):
        with pytest.raises(DataError, match=r"sparse\.json has 1048576 MiB, at most"):
            read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_any_encoding_with_a_mark_is_read(tmp_path, encoding):
    path = tmp_path / "a.json"
    value = {"name": "Straße", "numbers": [1, -(2**63), 0.12345678901234567, 1e-320, 1e300]}
    path.write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
    assert read_json(path) == value


@pytest.mark.parametrize(
    "text, said",
    [
        ("[" * 1200 + "]" * 1200, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("[1" + "0" * 400 + "]", "an integer of 401 digits"),
        ("[-9223372036854775809]", "an integer of 19 digits"),
        ("[1" + "0" * 5000 + "]", "an integer of 5001 digits"),
        ("[1e999]", "1e999, which is beyond double precision"),
        ("[NaN]", "NaN, which is no number of JSON"),
        ("[-Infinity]", "-Infinity"),
        ("[1,", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_that_no_computation_can_use_is_refused_by_name(tmp_path, text, said):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"scores .*odd\.json .*{said}"):
        read_json(path, "scores")


def test_nan_is_read_where_the_caller_checks_it(tmp_path):
    (tmp_path / "a.json").write_text("[NaN, 1]")
    assert read_json(tmp_path / "a.json", nan=True)[1] == 1


def test_a_loop_of_links_ends_and_each_file_comes_once(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one.txt").touch()
    (tmp_path / "a/b/back").symlink_to(tmp_path / "a")
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "a/b/two.txt").touch()
    names = [p.relative_to(tmp_path).as_posix() for p in walk_files(tmp_path)]
    assert names == ["a/b/two.txt", "a/one.txt", "a/self"]
