"""Delivery of alarms from an outbox to one receiver: in order, at least once, with back-off, in a thread of its own."""

import logging
import random
import threading
import time
from typing import Protocol

from d2road.traffic.watch.outbox import Cursor, Outbox
from d2road.utils.errors import OutputError
from d2road.utils.output_files import append_text

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
POLL_S = 0.5

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A receiver that answers, and does not want this alarm: sending it again changes nothing."""


class NotDeliveredError(Exception):
    """A receiver that does not answer, or cannot take it now.

    Args:
        wait_s: that the receiver asks for, None where it says nothing.
    """

    def __init__(self, message: str, wait_s: float | None = None):
        super().__init__(message)
        self.wait_s = wait_s


class AlarmReceiver(Protocol):
    """Whoever is told of alarms.

    name: in messages and names of files, without secrets.
    """

    name: str

    def deliver(self, line: bytes) -> None:
        """Hand over one alarm, a line of JSON; returns once it has arrived.

        Raises:
            NotDeliveredError, RefusedError: it has not.
        """

    def close(self) -> None:
        """Let go of connections."""


class Delivery:
    """A thread that hands an outbox to a receiver.

    What a receiver refuses goes to FILE.NAME.refused beside the outbox, and the next alarm has its turn. Waits double
    from FIRST_WAIT_S to LONGEST_WAIT_S, and vary by a quarter so that many cameras do not ask at one time.
    """

    def __init__(self, outbox: Outbox, receiver: AlarmReceiver, first_wait_s: float = FIRST_WAIT_S):
        self.outbox, self.receiver, self.first_wait_s = outbox, receiver, first_wait_s
        self.cursor = Cursor(outbox, receiver.name)
        self.delivered = self.refused = self.failures = 0
        self._stop = threading.Event()
        self._last_try = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alarms to {receiver.name}", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 10.0) -> bool:
        """Deliver what is left, trying for so long; whether all of it has arrived. The rest is for the next run."""
        self._last_try.set()
        with self.outbox.grown:
            self.outbox.grown.notify_all()
        self._thread.join(timeout_s)
        self._stop.set()
        self._thread.join(timeout_s)
        left = self.cursor.waiting
        if left:
            logger.warning(
                "alarms to %s: not all were delivered; the same command with the same output goes on with them",
                self.receiver.name,
            )
        if not self._thread.is_alive():
            self.receiver.close()
        return not left

    def _run(self) -> None:
        wait = self.first_wait_s
        while not self._stop.is_set():
            line = self.cursor.peek()
            if line is None:
                if self._last_try.is_set():
                    return
                with self.outbox.grown:
                    self.outbox.grown.wait(POLL_S)
                continue
            try:
                self._hand_over(line)
                wait = self.first_wait_s
            except (NotDeliveredError, OutputError) as error:
                self.failures += 1
                asked = getattr(error, "wait_s", None)
                pause = max(wait, asked or 0.0) * random.uniform(0.75, 1.25)
                logger.warning("alarms to %s: %s; again in %.1f s", self.receiver.name, error, pause)
                self._stop.wait(pause)
                wait = min(2 * wait, LONGEST_WAIT_S)

    def _hand_over(self, line: bytes) -> None:
        try:
            self.receiver.deliver(line)
            self.delivered += 1
        except RefusedError as error:
            self.refused += 1
            path = self.outbox.path.with_name(f"{self.outbox.path.name}.{self.receiver.name}.refused")
            append_text(path, line.decode())
            logger.warning("alarms to %s: %s; kept in %s", self.receiver.name, error, path.name)
        self.cursor.advance(line)


def wait_until_delivered(deliveries: list[Delivery], timeout_s: float) -> bool:
    """Close all, sharing one time limit; whether every alarm has arrived everywhere."""
    end = time.monotonic() + timeout_s
    arrived = [one.close(max(0.1, end - time.monotonic())) for one in deliveries]  # each, also behind one that has not
    return all(arrived)
