"""Errors that a user can put right, and how a program ends with one: a line "error: ..." and exit code 2.

They are the classes of this module, files that the operating system refuses, and files that are no text or no JSON.
Every other exception is a mistake in the program and keeps its traceback; with D2ROAD_DEBUG=1 all of them do.
"""

import errno
import functools
import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DEBUG = "D2ROAD_DEBUG"
USER_ERROR = 2  # exit code
NO_READER = 141  # exit code, as a shell gives it to a program that SIGPIPE ended
SHOWN = 5  # errors of a file listed in a message
# What the system says of a file, and what the user can do something about.
FILE_ERRORS = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENOSPC,
    errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip
# The same said by the kind of the exception, as this project's own code raises it.
FILE_ERROR_TYPES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


class D2RoadError(ValueError):
    """Something that the user of a program can put right: says what was found, what was expected and the cure."""


class ConfigError(D2RoadError):
    """A key or value of a config, an option or an argument that cannot be."""


class DataError(D2RoadError):
    """Data that cannot be read, or is not what it should be."""


class CheckpointError(D2RoadError):
    """Weights that cannot be read, or do not belong to the model."""


class OutputError(OSError, D2RoadError):
    """An output that cannot be written: a full disk, a folder in its place, a write-protected file.

    Args:
        number: of the system, as in `errno`.
        message: names the file and the cure.
    """

    def __init__(self, number: int, message: str):
        super().__init__(number, message)

    def __str__(self) -> str:
        return self.args[1]


def is_user_error(error: BaseException) -> bool:
    """Whether this is something that the user of a program can put right, see above."""
    if isinstance(error, (D2RoadError, UnicodeDecodeError, json.JSONDecodeError, *FILE_ERROR_TYPES)):
        return True
    return isinstance(error, OSError) and error.errno in FILE_ERRORS


def is_reported(error: BaseException) -> bool:
    """Whether an error ends the program with a line: it is its user's, and nobody asked for tracebacks."""
    return os.environ.get(DEBUG, "0") in ("", "0") and is_user_error(error)


def report(error: BaseException) -> None:
    """Print the line of a user's error."""
    text = str(error)
    if isinstance(error, D2RoadError):  # one from a worker of a loader: PyTorch wraps its words into a traceback
        text = text.rpartition(f"{type(error).__name__}: ")[2].strip()
    print(f"error: {text or type(error).__name__}", file=sys.stderr, flush=True)


def report_errors(main: Callable[..., Any]) -> Callable[..., int]:
    """Make a function the whole of a program: what its user can put right is told in a line.

    Returns:
        a function that returns the exit code: that of `main` if it returns an int, else 0; 2 after a user's error; 141
        if nobody reads the output any more, as behind `| head`.
    """

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> int:
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _output_is_closed():
                return NO_READER
            if not is_reported(error):
                raise
            report(error)
            return USER_ERROR
        return result if isinstance(result, int) else 0

    return run


def _output_is_closed() -> bool:
    """Whether nobody reads the standard output any more; then what is left of it goes nowhere."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # something in memory
        return False
    poll = select.poll()
    poll.register(output, 0)  # errors alone
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes once more as it ends
    return True


@contextmanager
def picklable_errors() -> Iterator[None]:
    """Within a worker process: a user's error inside stays one for the process that gets it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, D2RoadError) or not is_user_error(error):
            raise
        raise DataError(str(error)) from error


def raise_errors(errors: list[str], source: str) -> None:
    """Raise one DataError that lists the first several errors of a file, if there are any."""
    if errors:
        more = f"\n  ... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        listed = "\n".join(f"  {text}" for text in errors[:SHOWN])
        raise DataError(f"{source}: {len(errors)} error{'s' * (len(errors) > 1)}:\n{listed}{more}")
