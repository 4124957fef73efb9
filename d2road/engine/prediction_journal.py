"""Journal of a prediction: what was found in each input, on the disk as soon as it is done, so that it can go on.

OUTPUT/.journal/run.json tells by which weights, config and options; RUN_RANK.jsonl beside it has a line for each input
that a process has done. The tables of the output are made of it at the end, in the order of the inputs.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2road.engine.prediction_inputs import Source
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import parse_json, read_json
from d2road.utils.output_files import append_text, make_folder, write_json

logger = logging.getLogger(__name__)

FOLDER = ".journal"
SHOWN = 4  # differences in a message

Key = tuple[str, int]


@dataclass(frozen=True)
class Entry:
    """What was found in an input.

    Args:
        file, number: of the input, see `key_of`.
        state: see `Source.state`.
        copy: name of the annotated copy, "" for none.
        images: predicted on, of a video its frames.
        rows: of the table, with an `image_id` that counts within the input.
        highest: see `Annotator.highest_score`.
        error: why it failed, "" if it did not.
    """

    file: str
    number: int
    state: tuple[int, int]
    copy: str
    images: int
    rows: list[dict[str, Any]]
    highest: float | None = None
    error: str = ""


def key_of(source: Source) -> Key:
    """What an input is found by: its name, and its number in an archive, which may hold a name twice."""
    return str(source.name), source.member.number if source.member else -1


class Journal:
    """The journal in an output folder, for all processes of a job.

    Args:
        output: the folder of the prediction.
    """

    def __init__(self, output: Path):
        self.output, self.path = output, output / FOLDER
        self.record = self.path / "run.json"
        self._places: dict[Key, tuple[Path, int]] = {}
        self._mine: Path | None = None

    def check(self, identity: Mapping[str, Any], resume: bool) -> None:
        """See whether a prediction can begin or go on here, before its model is loaded; writes nothing.

        Args:
            identity: all that results depend on, as JSON holds it.
        Raises:
            ConfigError: another prediction to resume, or one that was interrupted and is not resumed.
            DataError: the record is damaged.
        """
        before = self._read_record()
        if not resume and before and not before.get("finished") and (done := self._count()):
            raise ConfigError(
                f"{self.output} holds {done} results of a prediction that was interrupted: --resume goes on there; to "
                f"begin anew choose another --output, or remove {self.path}"
            )
        differs = differences(before["identity"], identity) if resume and before else []
        if differs:
            more = f" and {len(differs) - SHOWN} more" if len(differs) > SHOWN else ""
            raise ConfigError(
                f"--resume: the results in {self.output} are of another prediction: {'; '.join(differs[:SHOWN])}"
                f"{more}. Give what it was begun with, or choose another --output"
            )

    def begin(self, identity: Mapping[str, Any], resume: bool) -> int:
        """Start or take up a prediction, in the first process; returns the number of its run.

        Raises:
            ConfigError, DataError: as `check`.
        """
        self.check(identity, resume)
        before = self._read_record() if resume else {}
        if resume and not before:
            logger.info("--resume: %s holds no prediction that was begun: it begins now", self.output)
        if not before and self.path.is_dir():
            shutil.rmtree(self.path)
        run = int(before.get("run", 0)) + 1
        make_folder(self.path)
        write_json(self.record, {"identity": identity, "run": run, "finished": False})
        return run

    def open(self, run: int, rank: int) -> None:
        """Read which inputs are done, and take a file for those that this process does."""
        self._mine = self.path / f"{run:04d}_{rank:03d}.jsonl"
        for path in sorted(self.path.glob("*_*.jsonl")):
            for offset, entry in _lines(path):
                self._places[entry.file, entry.number] = path, offset

    def is_done(self, source: Source, copy: str) -> bool:
        """Whether results of an input can stay: found without an error in the same file, its annotated copy there."""
        entry = self.entry(source)
        if entry is None or entry.error or tuple(entry.state) != source.state or entry.copy != copy:
            return False
        return not copy or (self.output / copy).is_file()

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep what was found in inputs. Raises OutputError as `append_text`."""
        assert self._mine is not None, "open() comes first"
        append_text(self._mine, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries))

    def entry(self, source: Source) -> Entry | None:
        """The newest result of an input; None where there is none."""
        place = self._places.get(key_of(source))
        return None if place is None else self._at(*place)

    def entries(self) -> Iterator[Entry]:
        """The newest results of all inputs."""
        for place in self._places.values():
            yield self._at(*place)

    def _at(self, path: Path, offset: int) -> Entry:
        with open(path, "rb") as file:
            file.seek(offset)
            return _entry(file.readline(), path)

    def finish(self, failed: int) -> None:
        """Note that all inputs were worked on, and how many of them failed."""
        write_json(self.record, {**self._read_record(), "finished": True, "failed": failed})

    @property
    def failed(self) -> int:
        """Inputs that failed, of a prediction that is finished; 0 of another."""
        return int(self._read_record().get("failed", 0))

    def _read_record(self) -> dict[str, Any]:
        if not self.record.is_file():
            return {}
        record = read_json(self.record, "record of a prediction", f"Remove {self.path} and predict anew")
        if not isinstance(record, dict) or not isinstance(record.get("identity"), dict):
            raise DataError(f"{self.record} is no record of a prediction: remove {self.path} and predict anew")
        return record

    def _count(self) -> int:
        return sum(1 for path in self.path.glob("*_*.jsonl") for _ in _lines(path))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which values of flat objects differ, in words."""
    present = json.loads(json.dumps(now))  # tuples as JSON has them
    names = [name for name in {**before, **present} if before.get(name) != present.get(name)]
    return [f"{name} was {before.get(name)!r} and is {present.get(name)!r}" for name in names]


def _lines(path: Path) -> Iterator[tuple[int, Entry]]:
    """Entries with the offsets of their lines; a last line that a killed process left unfinished is none."""
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, _entry(line, path)
            offset += len(line)


def _entry(line: bytes, path: Path) -> Entry:
    cure = f"Remove {path.parent} and predict anew"
    try:
        return Entry(**parse_json(line, f"journal {path}", cure, nan=True))
    except TypeError as error:
        raise DataError(f"journal {path} holds a line that is no result ({error}). {cure}") from error
