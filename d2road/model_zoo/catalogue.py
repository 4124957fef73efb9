"""Catalogue of the model zoo: what each entry is, what it was trained on, how good it is and what it may be used for.

`catalogue.json` is the one place that knows; MODEL_ZOO.md, `d2road zoo` and the addresses `zoo:NAME` come from it. An
entry with a file is shipped with the package; one with `fetch` says where weights of others are to be had.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from d2road.utils.errors import CheckpointError, DataError
from d2road.utils.input_files import read_json
from d2road.utils.registry import unknown_name
from d2road.utils.values import as_integer, as_list, as_number, as_object, as_text, field

FOLDER = Path(__file__).resolve().parent
CATALOGUE = FOLDER / "catalogue.json"


@dataclass(frozen=True)
class Metric:
    """A measured number: what; value; where it is from, a record below benchmarks/results or a publication.

    `record` is "BENCH/RUN:key/key": the entry of a record that the value equals; "" for published numbers.
    """

    what: str
    value: float
    record: str
    source: str


@dataclass(frozen=True)
class Fetch:
    """Weights of others: project and file, the folder or name to put it at, and its SHA-256, "" where we know none."""

    project: str
    file: str
    put: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """An entry of the model zoo.

    Attributes:
        name: behind `zoo:`. system: package that uses it. title: what it is, in a line.
        use: how, as a command or as keys of a config. config: below configs/, "" where it is no model by itself.
        file, size, sha256: below this folder; "" and 0 where it is to be fetched. storage: half, int8 or json.
        base: entry whose weights the file does not repeat, "" for a file that is whole; base_without: parts of which
            it has nothing from there. left_out: frozen parts that it has from elsewhere. needs: what to install for it.
        former: names of earlier versions. class_names: by the class indices of the model.
        metrics, data, seed, command, machine: how good, trained on what, from which seed, by what, where; source: what
            is packed.
        licence: of the weights and of what they were trained on.
        fetch: where weights of others are, None for shipped ones.
    """

    name: str
    system: str
    title: str
    use: str
    config: str
    metrics: tuple[Metric, ...]
    data: str
    licence: str
    file: str = ""
    size: int = 0
    sha256: str = ""
    storage: str = ""
    base: str = ""
    base_without: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    needs: str = ""
    former: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    seed: int | None = None
    command: str = ""
    machine: str = ""
    source: str = ""
    fetch: Fetch | None = None

    @property
    def path(self) -> Path:
        """Of the shipped file."""
        return FOLDER / self.file


@lru_cache
def read_catalogue(path: Path = CATALOGUE) -> dict[str, Entry]:
    """All entries by name, in the order of the file.

    Raises:
        FileNotFoundError, DataError: it is missing or not what it should be.
    """
    rows = as_list(read_json(path, "catalogue of the model zoo", "Install d2road again"), str(path))
    entries = [_entry(as_object(row, f"{path}, entry {number}"), path) for number, row in enumerate(rows, 1)]
    found = {entry.name: entry for entry in entries}
    if len(found) < len(entries):
        raise DataError(f"{path}: {len(entries)} entries have {len(found)} names; each needs its own")
    for number, entry in enumerate(entries):  # earlier ones, so that no two build on each other
        if entry.base and entry.base not in {one.name for one in entries[:number] if one.file}:
            raise DataError(f"{path}, {entry.name}: expected the base {entry.base!r} above it, an entry with a file")
    return found


def shipped_entries() -> dict[str, Entry]:
    """The entries with a file."""
    return {name: entry for name, entry in read_catalogue().items() if entry.file}


def find_entry(name: str) -> Entry:
    """An entry by its name, or the file name that it had in an earlier version.

    Raises:
        CheckpointError: there is none; names the nearest.
    """
    entries = read_catalogue()
    found = entries.get(name) or next((entry for entry in entries.values() if name in entry.former), None)
    if found is None:
        raise CheckpointError(f"{unknown_name('model', name, entries)}; `d2road zoo list` has them all")
    return found


def find_entry_by_prefix(name: str) -> Entry:
    """An entry by its name, or by the beginning of it that no other one has.

    Raises:
        CheckpointError: there is none, or there are several; names them, or the nearest.
    """
    begun = [entry for entry in read_catalogue().values() if name and entry.name.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    try:
        return find_entry(name)
    except CheckpointError:
        if not begun:
            raise
        names = ", ".join(entry.name for entry in begun)
        raise CheckpointError(f"{len(begun)} models begin with {name!r}: {names}; name one of them") from None


def _entry(row: Mapping[str, Any], path: Path) -> Entry:
    name = field(row, "name", as_text, str(path))
    source = f"{path}, {name}"

    def text(key: str) -> str:
        return field(row, key, as_text, source) if key in row else ""

    def texts(key: str) -> tuple[str, ...]:
        return (
            tuple(as_text(value, f"{source}, {key}") for value in field(row, key, as_list, source))
            if key in row
            else ()
        )

    metrics = [_metric(as_object(one, source), source) for one in field(row, "metrics", as_list, source)]
    fetch = field(row, "fetch", as_object, source) if "fetch" in row else None
    if ("file" in row) == (fetch is not None):
        raise DataError(f"{source}: expected either a file or fetch")
    required: dict[str, Any] = {
        key: field(row, key, as_text, source) for key in ("system", "title", "use", "config", "data", "licence")
    }
    optional: dict[str, Any] = {
        **{key: text(key) for key in ("file", "sha256", "storage", "base", "needs", "command", "machine", "source")},
        **{key: texts(key) for key in ("base_without", "left_out", "former", "class_names")},
    }
    return Entry(
        name=name,
        **required,
        metrics=tuple(metrics),
        **optional,
        size=field(row, "size", as_integer, source) if "size" in row else 0,
        seed=field(row, "seed", as_integer, source) if "seed" in row else None,
        fetch=None if fetch is None else Fetch(*(field(fetch, key, as_text, source) for key in Fetch.__annotations__)),
    )


def _metric(row: Mapping[str, Any], source: str) -> Metric:
    what, value = field(row, "what", as_text, source), field(row, "value", as_number, source)
    record, origin = (field(row, key, as_text, source) if key in row else "" for key in ("record", "source"))
    if bool(record) == bool(origin):
        raise DataError(f"{source}: metric {what!r} needs either a record or the source of a published number")
    return Metric(what, value, record, origin)
