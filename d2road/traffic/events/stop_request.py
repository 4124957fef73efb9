"""Ctrl-C and SIGTERM as a wish that a long run grants once it has saved what it has."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNAL_EXIT = 128  # exit code of a program that a signal ended, less the signal's number, as shells give it


class StopRequest:
    """Whether a signal has asked to stop; False until then.

    Further ones change nothing: `timeout` and schedulers send theirs to the process and to its group.
    """

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """Of a program that stops for it: 130 after Ctrl-C, 143 after SIGTERM; 0 if nobody asked."""
        return SIGNAL_EXIT + self.number if self.number else 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, the signals ask here, instead of ending the process; in other threads than the first nothing does."""
        if threading.current_thread() is not threading.main_thread():  # signals are the first one's
            yield
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
