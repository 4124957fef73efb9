"""The one lookup of shipped files, by the names of the catalogue; needs neither torch nor Detectron2."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from d2road.model_zoo.catalogue import Entry, Fetch, find_entry, shipped_entries
from d2road.utils.addresses import ZOO, zoo_name
from d2road.utils.errors import CheckpointError


def shipped_class_names(path: str) -> tuple[str, ...]:
    """The class names of shipped weights, by their address or their file; () for other files."""
    name = zoo_name(path)
    for entry in shipped_entries().values():
        if name in (entry.name, *entry.former) or (name is None and os.path.realpath(path) == str(entry.path)):
            return entry.class_names
    return ()


def shipped_file(name: str) -> Path:
    """The file of an entry; its checksum is compared once a process.

    Args:
        name: of the entry, or the file name that it had in an earlier version; without `zoo:`.
    Returns:
        of a shipped one its path in the package, of one that is to be fetched the path where it was put.
    Raises:
        CheckpointError: there is no such entry, or its file is another one.
        FileNotFoundError: it is not there: the package was installed without it, or it is still to be fetched.
    """
    return checked_file(find_entry(name))


def require_shipped(path: str) -> None:
    """Raise as `shipped_file` if this is an address of the model zoo that cannot be read."""
    name = zoo_name(path)
    if name is not None:
        shipped_file(name)


def fetch_hint(entry: Entry) -> str:
    """Where weights of others are to be had, in a sentence; "" for shipped ones."""
    fetch = entry.fetch
    return "" if fetch is None else f"fetch {fetch.file} of {fetch.project} and put it at {fetch.put}"


def checked_file(entry: Entry) -> Path:
    """The file of an entry, once its checksum and that of its base are right; see `shipped_file`."""
    if entry.base:
        try:
            shipped_file(entry.base)
        except (CheckpointError, FileNotFoundError) as error:
            told = f"{ZOO}{entry.name} builds on {ZOO}{entry.base}, which cannot be read: {error}"
            raise type(error)(told) from error
    return _fetched_file(entry, entry.fetch) if entry.fetch is not None else _packaged_file(entry)


@lru_cache
def _packaged_file(entry: Entry) -> Path:
    path = entry.path
    if not path.is_file():
        raise FileNotFoundError(f"{ZOO}{entry.name}: {path} is missing; install d2road again")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry.sha256:
        raise CheckpointError(
            f"{ZOO}{entry.name}: {path} has SHA-256 {found}, expected {entry.sha256}: it was changed or cut off (or is "
            "a pointer of Git LFS); install d2road again, or check the file out anew"
        )
    return path


def _fetched_file(entry: Entry, fetch: Fetch) -> Path:
    path = Path(fetch.put)
    if not path.is_file():
        raise FileNotFoundError(
            f"{ZOO}{entry.name} is not shipped: {fetch_hint(entry)} (paths are relative to where you run)"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest() if fetch.sha256 else ""
    if found != fetch.sha256:
        raise CheckpointError(f"{path} has SHA-256 {found}, that of {fetch.project} is {fetch.sha256}: fetch it again")
    return path
