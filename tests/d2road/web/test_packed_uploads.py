"""Packed uploads: what comes out is what went in, and never more than a file may have."""

import gzip
import zipfile

import pytest

from d2road.utils.errors import DataError
from d2road.web.packed_uploads import unpack, unpacked_name
from d2road.web.result_files import ResultFolders
from d2road.web.traffic_request import TrafficUpload, TrafficWindows, inspect_traffic
from d2road.web.uploads import UploadLimits
from tests.factories.stream_fcd import write_fcd


def zipped(path, **contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_packed_traffic_is_drawn_as_the_plain_file_is(tmp_path):
    text = write_fcd(tmp_path / "live.xml").encode()
    (tmp_path / "live.xml.gz").write_bytes(gzip.compress(text))
    zipped(tmp_path / "live.zip", **{"folder/live.xml": text})
    windows = TrafficWindows(["TIME_SPACE.S_RANGE", "(0, 512)"])
    limits = UploadLimits(len(text))  # what it unpacks to is what counts
    drawn = [
        inspect_traffic(windows, TrafficUpload(tmp_path / name), limits, ResultFolders(tmp_path))
        .diagrams[0]
        .read_bytes()
        for name in ("live.xml", "live.xml.gz", "live.zip")
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    with pytest.raises(DataError, match=r"live\.zip unpacks to more than .* MB"):
        inspect_traffic(
            windows, TrafficUpload(tmp_path / "live.zip"), UploadLimits(len(text) - 1), ResultFolders(tmp_path)
        )


def test_no_more_than_the_limit_is_ever_written(tmp_path):
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(bytes(50_000_000)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"unpacks to more than 1\.0 MB"):
        unpack(bomb, tmp_path / "out", 1 << 20)
    assert (tmp_path / "out").stat().st_size <= 1 << 20


def test_names_and_folders_of_an_archive_do_not_count(tmp_path):
    path = zipped(tmp_path / "a.zip", **{"../../evil.csv": b"x,y\n", "__MACOSX/evil.csv": b"?"})
    unpack(path, tmp_path / "out", 100)
    assert (tmp_path / "out").read_bytes() == b"x,y\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.zip", "out"]
    assert [unpacked_name(tmp_path / name).name for name in ("a.xml.gz", "b.zip", "c.xml")] == ["a.xml", "b", "c.xml"]


def test_what_cannot_be_unpacked_is_refused(tmp_path):
    whole = gzip.compress(b"time,id\n" * 1000)
    damaged = {
        "cut.gz": (whole[:-20], "damaged or cut off"),
        "wrong.gz": (whole[:30] + bytes([whole[30] ^ 255]) + whole[31:], "cannot be unpacked"),
        "twice.gz": (gzip.compress(whole), "packed twice"),
        "columns.gz": (gzip.compress(b"PAR1 and more"), "is Parquet"),
        "cut.zip": (zipped(tmp_path / "x.zip", a=b"1,2\n" * 99).read_bytes()[:-30], "damaged archive"),
        "two.zip": (zipped(tmp_path / "y.zip", a=b"1", b=b"2").read_bytes(), "holds 2 files, expected one"),
        "none.zip": (b"PK\x03\x04" + zipped(tmp_path / "z.zip").read_bytes(), "holds 0 files|damaged"),
    }
    for name, (content, words) in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"^{name} .*({words})"):
            unpack(tmp_path / name, tmp_path / "out", 10**6)
