"""Progress of all processes of a job in one line, without a collective operation that a slow process would time out."""

import itertools
import time

import torch.distributed as dist
from detectron2.utils import comm

from d2road.utils.progress import format_progress

_names = itertools.count()  # the same in all processes, which count the same things in one order


class JobProgress:
    """How many items are done in all processes; the first one prints a line every `every_s` seconds.

    Args:
        label: what is counted.
        total: items of all processes, those of an earlier run included.
        already_done: by an earlier run.
    """

    def __init__(self, label: str, total: int, already_done: int = 0, every_s: float = 5.0):
        self.label, self.total, self.already_done, self.every_s = label, total, already_done, every_s
        self._store = dist.distributed_c10d._get_default_store() if comm.get_world_size() > 1 else None
        self._key = f"d2road progress {next(_names)}"
        self._own = 0
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Count items that this process has done."""
        self._own += count
        if self._store is not None:
            self._store.add(self._key, count)
        if (
            comm.is_main_process()
            and time.monotonic() - self._last >= self.every_s
            and (done := self.done) < self.total
        ):
            self._print(done)

    @property
    def done(self) -> int:
        """Items that are done in all processes."""
        return self.already_done + (self._own if self._store is None else int(self._store.add(self._key, 0)))

    def wait(self, every_s: float = 0.2) -> None:
        """Return when all processes are done; the first one goes on printing, and prints the last line."""
        while self._store is not None and (done := self.done) < self.total:
            if comm.is_main_process() and time.monotonic() - self._last >= self.every_s:
                self._print(done)
            time.sleep(every_s)
        if comm.is_main_process():
            self._print(self.done)

    def _print(self, done: int) -> None:
        self._last = time.monotonic()
        print(format_progress(self.label, done, self.total, self._last - self._start, self.already_done), flush=True)
