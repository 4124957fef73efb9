"""Reading files that other people made: real files of a sane size, text in a known encoding, finite numbers.

Every reader of text in the house goes through `read_text`, `text_lines`, `open_text` or `read_json`, so that a file
that cannot be read is named with what is wrong with it and what to do.
"""

import codecs
import errno
import gzip
import io
import json
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from d2road.utils.errors import DataError

MIB = 1 << 20
LARGEST_TEXT = 256 * MIB  # labels, calibrations, lists
LARGEST_JSON = 8192 * MIB  # annotations of a large data set
GZIP_MARK = b"\x1f\x8b"
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What a JSON file may hold and no computation can use: integers beyond 64 bits, floats beyond double precision.
SUSPECT_NUMBER = re.compile(r"[0-9]{19}|[eE]\+?[0-9]{3}")


def open_input(path: str | os.PathLike, what: str = "file", largest: int | None = None) -> IO[bytes]:
    """A regular file, opened for reading; pipes, devices and loops of links are refused before anything waits for them.

    Args:
        what: to call it in messages.
        largest: bytes that it may have.
    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: it is not there, a folder, or not ours to read.
        DataError: no regular file, or too large.
    """
    path = Path(path).expanduser()
    try:
        # Without O_NONBLOCK, opening a named pipe waits until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} {path} does not exist") from error
    except OSError as error:
        _refuse(error, path, what)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{what} {path} is a folder, expected a file")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{what} {path} is a {_kind(status.st_mode)}, expected a regular file: copy it into one")
        if largest is not None and status.st_size > largest:
            raise DataError(
                f"{what} {path} has {status.st_size / MIB:.0f} MiB, at most {largest / MIB:.0f} are read: is it the "
                "right file?"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike, what: str = "file", largest: int | None = LARGEST_TEXT) -> bytes:
    """The content of a regular file.

    Raises:
        OSError, DataError: as `open_input`, and where the system fails to read.
    """
    with open_input(path, what, largest) as file:
        try:
            return file.read()
        except OSError as error:
            _refuse(error, Path(path), what)


def read_text(path: str | os.PathLike, what: str = "file", largest: int | None = LARGEST_TEXT) -> str:
    """A text file: UTF-8, with or without a byte-order mark, or UTF-16 with one; without the mark.

    Raises:
        OSError, DataError: as `open_input`; the encoding is another one, or it is no text.
    """
    return decode_text(read_bytes(path, what, largest), f"{what} {path}")


def text_lines(path: str | os.PathLike, what: str = "file", largest: int | None = LARGEST_TEXT) -> list[str]:
    """The lines of a text file, see `read_text`, without their ends."""
    return split_lines(read_text(path, what, largest))


def split_lines(text: str) -> list[str]:
    """The lines of a text without their ends, which are those of any system."""
    # Not splitlines, which also splits at form feeds and Unicode's separators, within a value.
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if lines[-1] == "" else lines


def decode_text(content: bytes, source: str) -> str:
    """Bytes of a text file as text, see `read_text`; `source` is named in messages.

    Raises:
        DataError: no text, or of another encoding.
    """
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        found = (
            "packed with gzip" if content.startswith(GZIP_MARK) else f"no UTF-8 text at {_place(content, error.start)}"
        )
        raise DataError(
            f"{source} is {found}: expected text in UTF-8 (or UTF-16 with a byte-order mark); convert it, e.g. "
            "iconv -f LATIN1 -t UTF-8"
        ) from error
    if "\0" in text:
        place = _place(content, content.find(b"\0"))
        raise DataError(
            f"{source} holds a zero byte at {place}: binary, or UTF-16 without a byte-order mark; convert it to UTF-8"
        )
    return text


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a text file tell by their mark; else UTF-8."""
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8")


@contextmanager
def open_text(path: str | os.PathLike, what: str = "file", largest: int | None = LARGEST_TEXT) -> Iterator[IO[str]]:
    """A text file to read line by line, unpacked if it is one of gzip, whatever its name; see `read_text`.

    Line ends stay as they are, as the `csv` module wants them.

    Raises:
        OSError, DataError: as `read_text`; the packed data is damaged or cut off.
    """
    with errors_of_text(path, what), open_input(path, what, largest) as file, unpacked(file) as plain:
        text = io.TextIOWrapper(plain, encoding=encoding_of(_peek(plain)), newline="")
        yield text
        text.detach()


@contextmanager
def unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """An open binary file, unpacked while it is read if it is one of gzip by its first bytes."""
    if _peek(file, len(GZIP_MARK)) == GZIP_MARK:
        with gzip.GzipFile(fileobj=file) as plain:
            yield io.BufferedReader(plain)
    else:
        yield file


@contextmanager
def errors_of_text(path: str | os.PathLike, what: str = "file") -> Iterator[None]:
    """Around the reading of a text file: what decoders raise becomes a DataError that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{what} {path} is no UTF-8 text: expected UTF-8 (or UTF-16 with a byte-order mark); convert it, e.g. "
            "iconv -f LATIN1 -t UTF-8"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{what} {path} is packed and cannot be unpacked ({error}): cut off or damaged? Fetch it again"
        ) from error


def read_json(
    path: str | os.PathLike,
    what: str = "file",
    cure: str = "Cut off while it was written or copied?",
    largest: int | None = LARGEST_JSON,
    nan: bool = False,
) -> Any:
    """The content of a JSON file, in any encoding of `read_text`.

    Args:
        what: to call it in messages.
        cure: said of a file that is not JSON.
        nan: whether NaN and Infinity, which JSON does not know and many programs write, become floats. The caller then
            checks those that it uses.
    Raises:
        OSError, DataError: as `read_text`; not JSON (names the line), nested too deep, or with numbers beyond range.
    """
    path = Path(path).expanduser()
    content = read_bytes(path, what, largest)
    return parse_json(content, f"{what} {path}", cure, nan)


def parse_json(content: bytes, source: str, cure: str = "", nan: bool = False) -> Any:
    """A JSON value from its bytes, see `read_json`; `source` is named in messages."""
    text = decode_text(content, source)
    hooks: dict[str, Any] = {}
    if SUSPECT_NUMBER.search(text):  # a hook for each number would double the time of a large file
        hooks = {"parse_int": _small_int, "parse_float": _finite_float}
    try:
        return json.loads(text, parse_constant=None if nan else _refuse_constant, **hooks)
    except RecursionError as error:
        raise DataError(
            f"{source} is nested too deep to be read as JSON: expected objects and lists of a few levels"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{source} is not JSON: {error}. {cure}".rstrip()) from error
    except _NumberError as error:
        raise DataError(f"{source} holds {error}") from error


class _NumberError(Exception):
    """A number that cannot be used; not a ValueError, since `json` gives those another meaning."""


def _small_int(digits: str) -> int:
    if len(digits.lstrip("-")) > 19 or not -(2**63) <= int(digits) < 2**63:
        raise _NumberError(f"an integer of {len(digits.lstrip('-'))} digits: expected one of 64 bits")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _NumberError(f"the number {digits[:40]}, which is beyond double precision")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _NumberError(f"{name}, which is no number of JSON: expected finite numbers, or null where there is none")


def walk_files(root: Path) -> list[Path]:
    """All files below a folder, sorted by path; links to folders are followed once, so that a loop of links ends."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
        except OSError:  # a link to nowhere, or to itself
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in os.scandir(folder):
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            (pending if is_folder else found).append(Path(entry.path))
    return sorted(found)


def _peek(file: IO[bytes], count: int = 4) -> bytes:
    """The first bytes of a buffered file, which stay to be read."""
    return file.peek(count)[:count]  # type: ignore[attr-defined]  # of io.BufferedReader


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
        (stat.S_ISSOCK, "socket"),
    )
    return next((name for test, name in kinds if test(mode)), "special file")


def _place(content: bytes, position: int) -> str:
    line = content.count(b"\n", 0, position) + 1
    return f"byte {position} (line {line})"


def _refuse(error: OSError, path: Path, what: str) -> NoReturn:
    """Name the file in an error of the system."""
    if error.errno == errno.ELOOP:
        raise DataError(f"{what} {path} is a loop of links: name the file itself") from error
    if error.errno == errno.ENXIO:
        raise DataError(f"{what} {path} is a socket, expected a regular file") from error
    raise type(error)(error.errno, f"{what} {path} cannot be read: {error.strerror}") from error
