"""Writing files so that a reader, or a run killed half-way, never meets half a file."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from d2road.utils.errors import DataError


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a file that takes its name only once it is complete.

    The content goes to a temporary file in the same folder (so that the final rename stays on one file system), is
    flushed to the disk and then renamed over `path`. An exception removes the temporary file; `path` stays as it was.

    Args:
        path: the final name; its folder must exist.
        mode: "wb", or "w" for UTF-8 text.
    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: a mode other than "wb" or "w".
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"atomic_write: mode is {mode!r}, expected 'wb' or 'w'")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder: create it before writing {path.name}")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give the usual permissions of a new file.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike, obj: Any, indent: int | None = 2) -> None:
    """Write `obj` as JSON, atomically (see `atomic_write`). `indent=None` gives one compact line."""
    # Serialised first: an object that JSON cannot hold must not cost the file that is there.
    text = json.dumps(obj, indent=indent)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def read_json(
    path: str | os.PathLike, what: str = "file", cure: str = "Cut off while it was written or copied?"
) -> Any:
    """The content of a JSON file.

    Args:
        what: to call it in messages.
        cure: said of a file that is not JSON.
    Raises:
        FileNotFoundError: it is not there.
        DataError: it is not JSON; names the line.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path} does not exist")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}. {cure}") from error


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
