"""Signals as a wish to stop: asked in the first thread, left alone in others."""

import os
import signal
import threading

from d2road.traffic.events.stop_request import StopRequest


def test_a_signal_asks_and_what_handled_it_before_comes_back():
    before, stop = signal.getsignal(signal.SIGTERM), StopRequest()
    with stop.listening():
        assert not stop and stop.exit_code == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop and stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_changes():
    """Python lets the first thread alone set handlers; a stream that is scored in another one is not interrupted."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopRequest().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
