"""The output folder of generated data: who may write into it, so that an interrupted generation can go on."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json
from d2road.utils.run_lock import LOCK_NAME, lock_folder


def prepare_output_dir(
    out: Path,
    meta_name: str,
    meta: Mapping[str, Any],
    folders: Sequence[str],
    contents: Sequence[str],
    overwrite: bool = False,
) -> None:
    """Make `out` and the folders in it, or take up one that an earlier run with the same parameters began.

    Args:
        out: the data set; a new or empty folder, or one with the file `meta_name`.
        meta_name: file in `out` that holds `meta`, the parameters that decide the content.
        folders: to make in `out`.
        contents: files and folders in `out` that go where `overwrite` replaces a data set of other parameters; while
            they hold nothing, as after a run that failed at once, other parameters may be given.
    Raises:
        DataError: `out` holds content of other parameters, or something else.
        PermissionError: `out` cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"--output {out} is a file, expected a folder")
    path = out / meta_name
    if path.is_file():
        found = read_run_record(path)
        if found != meta:
            if not overwrite and (not contents or any(_holds_files(out / name) for name in contents)):
                differs = {k: (found.get(k), meta[k]) for k in meta if found.get(k) != meta[k]}
                text = ", ".join(f"{k} {a} there, {b} asked for" for k, (a, b) in differs.items())
                raise DataError(f"{out} holds data of other parameters ({text}): use --overwrite or another --output")
            for name in contents:
                shutil.rmtree(out / name, ignore_errors=True)
    elif out.is_dir() and any(inside.name != LOCK_NAME for inside in out.iterdir()):
        raise DataError(f"{out} is not empty and was not made here ({meta_name} is missing): choose another --output")
    try:
        for name in folders:
            (out / name).mkdir(parents=True, exist_ok=True)
        write_json(path, meta)
    except OSError as error:
        raise PermissionError(f"cannot write to {out} ({error}): choose another --output") from error


@contextmanager
def output_dir(out: Path, *args: Any, **options: Any) -> Iterator[None]:
    """`prepare_output_dir`, and nobody else writes into the folder until the end of the block.

    Raises:
        DataError, PermissionError: as `prepare_output_dir`.
        OutputError: another process writes there.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"--output {out} is a file, expected a folder")
    with lock_folder(out, "generation of data", "choose another --output"):
        prepare_output_dir(out, *args, **options)
        yield


def _holds_files(path: Path) -> bool:
    """Whether something was made already: a file, or a folder with one in it."""
    return path.is_file() or any(inside.is_file() for inside in path.rglob("*"))


def read_run_record(path: Path) -> Any:
    """What a run wrote down about itself, as JSON; if it is damaged, the message says to delete it."""
    return read_json(path, "record", "Delete it and run again", nan=True)
