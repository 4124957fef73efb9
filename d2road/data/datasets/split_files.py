"""Split files: the frames of a data set's split, one a line."""

from pathlib import Path

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text


def read_split(path: Path, hint: str = "") -> list[str]:
    """The frames that a split file names, one a line.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it names none, or one twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist" + (f". To get it: {hint}" if hint else ""))
    frames = read_text(path, "split file").split()
    if not frames:
        raise DataError(f"split file {path} is empty: it names no frame")
    if len(set(frames)) < len(frames):
        twice = next(f for f in frames if frames.count(f) > 1)
        raise DataError(f"split file {path} names {twice} more than once")
    return frames
