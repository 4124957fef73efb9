"""A lock on an output folder: two runs at once in one folder would mix their files.

The operating system holds the lock (flock), so it ends with its process, however that ends; the file beside it only
tells who holds it. A lock on a network file system may hold on one machine alone: there a folder that a run on another
machine claims is reported and not refused.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from d2road.utils.errors import OutputError
from d2road.utils.output_files import make_folder

logger = logging.getLogger(__name__)

LOCK_NAME = ".run.lock"
# What a file system answers that has no locks.
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

# Folders that this process holds: the open file, and how often it was asked for.
_held: dict[Path, tuple[int, int]] = {}
_guard = threading.RLock()


class FolderInUseError(OutputError):
    """Another run is writing into the folder; the message names it."""


@contextmanager
def lock_folder(folder: str | os.PathLike, what: str = "run", cure: str = "choose another folder") -> Iterator[None]:
    """Be the only process that writes into a folder, until the end of the block. Within one process it may be nested.

    Args:
        folder: made if it is not there.
        what: that holds the lock, for the message that another one gets: "training", "evaluation".
        cure: what else to do than to wait for the other one, for this one's message.
    Raises:
        FolderInUseError: another process holds it; names its process, machine and start.
        OutputError: the folder cannot be made or written to.
    """
    key = Path(os.path.realpath(make_folder(folder)))
    with _guard:
        if key in _held:
            descriptor, count = _held[key]
            _held[key] = descriptor, count + 1
        else:
            _held[key] = _acquire(key, folder, what, cure), 1
    try:
        yield
    finally:
        with _guard:
            descriptor, count = _held[key]
            if count > 1:
                _held[key] = descriptor, count - 1
            else:
                del _held[key]
                _release(key, descriptor)


def _acquire(key: Path, folder: str | os.PathLike, what: str, cure: str) -> int:
    """The open, locked file; -1 where the file system has no locks."""
    path = key / LOCK_NAME
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            number = error.errno or errno.EIO
            raise OutputError(number, f"cannot write to {folder}: {error.strerror}; {cure}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno in WITHOUT_LOCKS:
                logger.warning("%s is on a file system without locks: see that no other run writes there", folder)
                return -1
            raise FolderInUseError(
                errno.EBUSY, f"{folder} is in use by {_describe(holder)}: wait for it, stop it, or {cure}"
            ) from error
        if _is_file_at(descriptor, path):
            break
        os.close(descriptor)  # its holder ended and removed it in between
    _warn_of_other_machine(_read_holder(descriptor), folder)
    _write_holder(descriptor, what)
    return descriptor


def _release(key: Path, descriptor: int) -> None:
    if descriptor < 0:
        return
    with suppress(OSError):
        (key / LOCK_NAME).unlink()  # while it is locked still: nobody else can have it
    os.close(descriptor)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, what: str) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "what": what}
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read_holder(descriptor: int) -> dict[str, Any]:
    """What the holder wrote about itself; empty if nothing."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another run"
    return (
        f"another {holder.get('what', 'run')} (process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
        f"since {holder.get('since', '?')})"
    )


def _warn_of_other_machine(holder: dict[str, Any], folder: str | os.PathLike) -> None:
    # On this machine the system has just said that the holder is gone.
    if holder and holder.get("host") != socket.gethostname():
        logger.warning(
            "%s was locked by %s and was not given back: it was killed, or still runs there and this file system's "
            "locks do not reach across machines. See that only one of them writes there", folder, _describe(holder),
        )  # fmt: skip


def _forget_in_child() -> None:
    """A forked process, such as a data-loader worker, must not keep the lock of a parent that was killed."""
    global _guard
    _guard = threading.RLock()
    for descriptor, _ in _held.values():
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
