"""Writing files so that a reader, or a run killed half-way, never meets half a file, and nothing else is lost.

All outputs go through `atomic_write`, `append_text`, `write_small`, `write_json` and `make_folder`.
"""

import errno
import io
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from d2road.utils.errors import OutputError

CURES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "you may not write there: choose another folder, or change its permissions",
    errno.EPERM: "you may not write there: choose another folder, or change its permissions",
    errno.EFBIG: "files may not be that large there: choose another folder",
}
# Names of files that this process has open already.
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
OWN_FILES = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb", sync: bool = True) -> Iterator[IO]:
    """Open a file that takes its name only once it is complete.

    The content goes to a temporary file in the same folder (so that the final rename stays on one file system), is
    flushed to the disk and then renamed over `path`. An exception removes the temporary file; `path` stays as it was.
    A link is followed, and the file behind it replaced; a replaced file keeps its mode and, as far as the system lets
    us, its owner. Pipes and character devices such as /dev/stdout and /dev/null are written to as they are.

    Args:
        path: the final name; its folder must exist.
        mode: "wb", or "w" for UTF-8 text.
        sync: wait until the disk has it, so that it outlives a machine that stops, not only a process.
    Raises:
        FileNotFoundError: the folder is not there.
        OutputError: the system refuses, the disk is full, the file is write-protected or no file that can be written.
        ValueError: a mode other than "wb" or "w".
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"atomic_write: mode is {mode!r}, expected 'wb' or 'w'")
    encoding = None if "b" in mode else "utf-8"
    own = _own_descriptor(path)
    if own is not None:
        with named_output(path), os.fdopen(own, mode, encoding=encoding) as stream:
            yield stream
        return
    target = output_target(path)
    if target.exists() and not target.is_file():
        with named_output(path), open(target, mode, encoding=encoding) as stream:
            yield stream
        return
    with named_output(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:200]}.", suffix=".tmp", dir=target.parent)
    watched = _WatchedFile(descriptor)
    try:
        buffered = io.BufferedWriter(watched)
        file = io.TextIOWrapper(buffered, encoding=encoding, newline="\n") if encoding else buffered
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
            _take_mode(descriptor, target)
        finally:
            # What could not be written is in the buffer still; closing must not try again and hide the first error.
            with suppress(OSError, ValueError):
                file.close()
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        # A library may turn the system's error into words of its own, as torch.save does.
        cause = watched.error or (error if isinstance(error, OSError) and error.errno in CURES else None)
        if cause is not None and not isinstance(error, OutputError) and isinstance(error, Exception):
            _refuse(cause, path)
        raise


def append_text(path: str | os.PathLike, text: str) -> None:
    """Add text to the end of a file and flush it to the disk; what was there stays, also where the disk is full.

    Raises:
        OutputError: as `atomic_write`.
    """
    own = _own_descriptor(path)
    with named_output(path), open(output_target(path) if own is None else own, "ab", buffering=0) as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        end = os.fstat(file.fileno()).st_size
        content = memoryview(text.encode("utf-8"))
        try:
            while content:
                content = content[file.write(content) :]
            if regular:
                os.fsync(file.fileno())
        except OSError:
            if regular:
                with suppress(OSError):  # no half line stays
                    os.ftruncate(file.fileno(), end)
            raise


def write_small(path: str | os.PathLike, content: str | bytes) -> None:
    """Write one of many small files that can be made again, whole or not at all, without waiting for the disk.

    Raises:
        FileNotFoundError, OutputError: as `atomic_write`.
    """
    with atomic_write(path, "w" if isinstance(content, str) else "wb", sync=False) as file:
        file.write(content)


def write_json(path: str | os.PathLike, obj: Any, indent: int | None = 2) -> None:
    """Write `obj` as JSON, atomically (see `atomic_write`). `indent=None` gives one compact line."""
    # Serialised first: an object that JSON cannot hold must not cost the file that is there.
    text = json.dumps(obj, indent=indent)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder for outputs, and those above it, unless it is there; returns it.

    Raises:
        OutputError: a file is in the way, or the system refuses.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            errno.ENOTDIR, f"cannot make the folder {path}: a file is in the way; choose another"
        ) from error
    except OSError as error:
        cure = CURES.get(error.errno or 0, "choose another")
        raise OutputError(
            error.errno or errno.EIO, f"cannot make the folder {path}: {error.strerror}; {cure}"
        ) from error
    return path


def output_target(path: str | os.PathLike) -> Path:
    """The file that an output of this name goes to: what a link leads to, else the path itself.

    Raises:
        FileNotFoundError: its folder is not there.
        OutputError: a loop of links, a folder, a block device or socket, or a write-protected file.
    """
    path = Path(path).expanduser()
    target = path
    if path.is_symlink():
        try:
            target = Path(os.path.realpath(path))
            status = target.stat() if target.exists() else None
        except OSError as error:
            _refuse(error, path)
        if target.is_symlink():
            raise OutputError(errno.ELOOP, f"cannot write {path}: a loop of links; remove it or choose another name")
    try:
        status = target.stat()
    except FileNotFoundError as error:
        if not target.parent.is_dir():
            raise FileNotFoundError(
                f"{target.parent} is not a folder: create it before writing {target.name}"
            ) from error
        return target
    except OSError as error:
        _refuse(error, path)
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise OutputError(errno.EISDIR, f"cannot write {path}: it is a folder, expected the name of a file")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OutputError(errno.EINVAL, f"cannot write {path}: a block device or socket; name a file")
    # Root may write to everything, so the mode itself is asked.
    if stat.S_ISREG(mode) and not (mode & 0o222 and os.access(target, os.W_OK)):
        raise OutputError(
            errno.EACCES, f"cannot write {path}: the file is write-protected; choose another name or chmod u+w it"
        )
    return target


def check_output(path: str | os.PathLike) -> None:
    """Make sure before a long computation that its output can be written; nothing stays behind.

    Raises:
        FileNotFoundError, OutputError: as `atomic_write`.
    """
    if _own_descriptor(path, copy=False) is not None:
        return
    target = output_target(path)
    if not target.exists() or target.is_file():
        with (
            named_output(path),
            tempfile.NamedTemporaryFile(prefix=f".{target.name[:200]}.", suffix=".tmp", dir=target.parent),
        ):
            pass


def _own_descriptor(path: str | os.PathLike, copy: bool = True) -> int | None:
    """A copy of the open file of this process that /dev/stdout and its like name; None for other paths.

    Opened by its name, a file behind it would be truncated, or replaced and what is printed later lost.
    """
    name = os.fspath(path)
    number = STREAMS.get(name)
    if number is None:
        found = OWN_FILES.fullmatch(name)
        if found is None:
            return None
        number = int(found[1])
    if not copy:
        return number
    for stream in (sys.stdout, sys.stderr):  # what was printed before comes first
        with suppress(OSError, ValueError):
            stream.flush()
    with named_output(path):
        return os.dup(number)


class _WatchedFile(io.FileIO):
    """A file that remembers the first error of the system while it was written."""

    error: OSError | None = None

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "wb")

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = self.error or error
            raise


def _take_mode(descriptor: int, target: Path) -> None:
    """Mode and owner of the file that is replaced, or the usual mode of a new one; mkstemp makes private files."""
    try:
        status = target.stat()
    except FileNotFoundError:
        os.chmod(descriptor, 0o666 & ~_umask())
        return
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):  # only root may give files away
            os.chown(descriptor, status.st_uid, status.st_gid)
    os.chmod(descriptor, stat.S_IMODE(status.st_mode))


@contextmanager
def named_output(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the system inside name this output and the cure, as OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        _refuse(error, path)


def _refuse(error: OSError, path: str | os.PathLike) -> NoReturn:
    number = error.errno or errno.EIO
    cure = CURES.get(number, "choose another name")
    raise OutputError(
        number, f"cannot write {path}: {error.strerror or error}; {cure}. Nothing of it was kept"
    ) from error


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
