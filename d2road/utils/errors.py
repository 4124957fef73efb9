"""How a program ends when its user got something wrong: a line "error: ..." and exit code 2, instead of a traceback.

Errors of a user are those of files that the operating system reports, files that are no text or no JSON, and every
ValueError and OSError that this project's own code raises in words. Any other error is a mistake in the program, and
keeps its traceback: a ValueError of numpy or torch, too. With D2ROAD_DEBUG=1 all errors keep it.
"""

import dis
import errno
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

DEBUG = "D2ROAD_DEBUG"
USER_ERROR = 2  # exit code
# What the system says of a file, and what the user can do something about.
FILE_ERRORS = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENOSPC,
    errno.EDQUOT, errno.ENAMETOOLONG,
}  # fmt: skip


class UserError(ValueError):
    """A user's error from a worker of a loader; on its way PyTorch wraps the words into a traceback."""


def program(main: Callable[..., Any]) -> Callable[..., int]:
    """Make a function the whole of a program: what its user can put right is told in a line.

    Returns:
        a function that returns the exit code: that of `main` if it returns an int, else 0; 2 after a user's error.
    """

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> int:
        try:
            result = main(*args, **kwargs)
        except Exception as error:
            if not is_told(error):
                raise
            tell(error)
            return USER_ERROR
        return result if isinstance(result, int) else 0

    return run


def is_told(error: BaseException) -> bool:
    """Whether an error ends the program with a line: it is its user's, and nobody asked for tracebacks."""
    return os.environ.get(DEBUG, "0") in ("", "0") and is_user_error(error)


def is_user_error(error: BaseException) -> bool:
    """Whether this is something that the user of a program got wrong, see above."""
    if isinstance(error, (UserError, UnicodeDecodeError, json.JSONDecodeError)):
        return True
    if isinstance(error, OSError) and error.errno in FILE_ERRORS:
        return True
    return isinstance(error, (ValueError, OSError)) and _raised_in_words(error.__traceback__)


def tell(error: BaseException) -> None:
    """Print the line."""
    text = str(error)
    if isinstance(error, UserError):
        text = text.rpartition(f"{UserError.__name__}: ")[2].strip()
    print(f"error: {text or type(error).__name__}", file=sys.stderr, flush=True)


@contextmanager
def words_for_other_processes() -> Iterator[None]:
    """Within a worker process: a user's error inside stays one for the process that gets it."""
    try:
        yield
    except Exception as error:
        if not is_user_error(error):
            raise
        raise UserError(str(error)) from error


def _raised_in_words(traceback: TracebackType | None) -> bool:
    """Whether the innermost frame is this project's, and at a `raise`."""
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    instruction = dis.opname[frame.f_code.co_code[traceback.tb_lasti]]
    return instruction == "RAISE_VARARGS" and package in _own_packages()


def _own_packages() -> set[str]:
    from d2road.config.projects import system_references  # only now: a program without Detectron2 need not load it

    systems = {reference.partition(":")[0].partition(".")[0] for reference in system_references().values()}
    return {"d2road", "benchmarks", "__main__", "__mp_main__", *systems}
