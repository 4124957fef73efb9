"""Packed uploads: a gzip file, or a zip archive of one file, unpacked no further than the limit of a file."""

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from d2road.utils.errors import DataError
from d2road.utils.input_files import GZIP_MARK
from d2road.web.uploads import MEGABYTE

PACKED = (".gz", ".zip")
PARQUET_MARK = b"PAR1"
ZIP_MARK = b"PK\x03\x04"
CHUNK = 1 << 16
DAMAGED = (EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def unpacked_name(path: Path) -> Path:
    """The name of what an upload holds: without the ending of a packed file."""
    return path.with_suffix("") if path.suffix.lower() in PACKED else path


def unpack(path: Path, target: Path, max_bytes: int) -> None:
    """Copy an upload, unpacked where it is packed; what it is its content tells, and names in an archive do not count.

    Raises:
        DataError: more than `max_bytes` come out, an archive of several files or of none, a damaged one, or in it
            what is packed itself.
    """
    mark = _mark(path)
    if not mark:
        shutil.copyfile(path, target)
        return
    with _opened(path, is_zip=mark == ZIP_MARK) as packed, target.open("wb") as out:
        left = max_bytes
        for chunk in _chunks(packed, path):
            left -= len(chunk)
            if left < 0:
                raise DataError(
                    f"{path.name} unpacks to more than {max_bytes / MEGABYTE:.1f} MB, which is the limit of a file: "
                    "shorten it, or use d2road score-stream"
                )
            out.write(chunk)
    if _mark(target):  # readers would unpack it on their own, without a limit
        raise DataError(f"{path.name} is packed twice: pack it once")
    with target.open("rb") as file:
        if file.read(len(PARQUET_MARK)) == PARQUET_MARK:  # whose columns are packed
            raise DataError(f"{path.name} is Parquet, expected text: write it as CSV, or use d2road score-stream")


def _mark(path: Path) -> bytes:
    """What a packed file begins with; b"" for other files."""
    with path.open("rb") as file:
        found = file.read(len(ZIP_MARK))
    return ZIP_MARK if found == ZIP_MARK else GZIP_MARK if found.startswith(GZIP_MARK) else b""


@contextmanager
def _opened(path: Path, is_zip: bool) -> Iterator[IO[bytes]]:
    if not is_zip:
        with gzip.open(path, "rb") as unpacked:
            yield cast(IO[bytes], unpacked)
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path.name} is a damaged archive ({error}): pack it anew") from error
    with archive:
        files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        if len(files) != 1:
            raise DataError(f"{path.name} holds {len(files)} files, expected one: pack the trajectories alone")
        try:
            packed = archive.open(files[0])
        except DAMAGED as error:
            raise DataError(f"{path.name} cannot be unpacked ({error}): pack it anew, without a password") from error
        with packed:
            yield packed


def _chunks(packed: IO[bytes], path: Path) -> Iterator[bytes]:
    while True:
        try:
            chunk = packed.read(CHUNK)
        except DAMAGED as error:
            raise DataError(
                f"{path.name} cannot be unpacked ({error}): it is damaged or cut off, pack it anew"
            ) from error
        if not chunk:
            return
        yield chunk
