"""Outbox of alarms: each is on the disk, one JSON object a line, before anybody is told of it.

What is delivered to whom is kept beside it as a byte offset (FILE.NAME.sent), so that a run that ends, or is killed,
is gone on with where it was: every alarm arrives at least once, and twice only where the run was killed between the
receiver's answer and the note of it. Memory is that of one line, however long nobody answers.
"""

import errno
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2road.utils.errors import DataError, OutputError
from d2road.utils.output_files import append_text, make_folder, output_target, write_small


class Outbox:
    """A file of alarms that grows; `grown` tells those who deliver that something was added.

    Args:
        path: of the file; one that is there is gone on with. A last line without its end, of a run that was killed
            while it wrote, is cut off.
    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path):
        make_folder(path.parent)
        self.path, self.grown = output_target(path), threading.Condition()
        self.count = 0
        if self.path.is_file():
            self._cut_half_line()
            with open(self.path, "rb") as file:
                self.count = sum(1 for _ in file)
        else:
            append_text(self.path, "")

    def _cut_half_line(self) -> None:
        with open(self.path, "rb+") as file:
            size = end = file.seek(0, 2)
            while end > 0:
                start = max(0, end - 65536)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            if end < size:
                file.truncate(end)

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a record to the disk, then wake up who delivers.

        Raises:
            OutputError: it cannot be written; nothing of it stays.
        """
        append_text(self.path, json.dumps(record, allow_nan=False) + "\n")
        with self.grown:
            self.count += 1
            self.grown.notify_all()


class Cursor:
    """How far an outbox has been delivered to one receiver.

    Args:
        name: of the receiver, in the file's name.
        from_end: begin behind what is there now where nobody was told of anything yet.
    Raises:
        DataError: the note beside the outbox is damaged, or the outbox is shorter than what was delivered of it.
    """

    def __init__(self, outbox: Outbox, name: str):
        self.outbox = outbox
        self.note = outbox.path.with_name(f"{outbox.path.name}.{name}.sent")
        self.offset = self._read()

    def _read(self) -> int:
        if not self.note.is_file():
            return 0
        text = self.note.read_text().strip()
        size = self.outbox.path.stat().st_size
        if not text.isdecimal() or int(text) > size:
            raise DataError(
                f"{self.note} holds {text[:40]!r}, expected how many of the {size} bytes of "
                f"{self.outbox.path.name} were delivered: another file stands in its place; delete the note to deliver "
                "all alarms again"
            )
        return int(text)

    def peek(self) -> bytes | None:
        """The next line that was not delivered, None at the end."""
        with open(self.outbox.path, "rb") as file:
            file.seek(self.offset)
            line = file.readline()
        return line if line.endswith(b"\n") else None

    def advance(self, line: bytes) -> None:
        """Note that a line that `peek` gave was delivered.

        Raises:
            OutputError: the note cannot be written; it is delivered again then.
        """
        offset = self.offset + len(line)
        try:
            write_small(self.note, f"{offset}\n")
        except FileNotFoundError as error:
            raise OutputError(errno.ENOENT, f"cannot write {self.note}: its folder is gone") from error
        self.offset = offset

    @property
    def waiting(self) -> bool:
        """Whether something is left to deliver."""
        return self.peek() is not None
