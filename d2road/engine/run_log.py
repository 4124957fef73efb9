"""What a run says of itself: its model, how far it is from the first step on, and its results in a line each."""

import logging
import math
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from torch import nn

from d2road.utils.console import LONG

logger = logging.getLogger(__name__)

RECENT = 20  # steps whose mean duration gives the time that is left
SOONEST_S = 5.0  # between lines in the first minutes; later they come rarer, see `ShowProgress`
RARER = 60  # a line after each 60th of the time so far
SHOWN_METRICS = 10


def log_model(model: nn.Module) -> None:
    """Log the network, and in short its name, device and numbers of parameters."""
    logger.info("Model:\n%s", model, extra=LONG)
    counts = torch.tensor([(p.numel(), p.numel() * p.requires_grad) for p in model.parameters()]).sum(0) / 1e6
    device = next(model.parameters()).device
    text = "%s on %s: %.2f million parameters, %.2f million of them train"
    logger.info(text, type(model).__name__, device, *counts.tolist())


class ShowProgress(HookBase):
    """Logs a line after the first step and then every few seconds: steps, time a step, time left, loss, rate.

    The time left is that of the steps alone, by their mean over the last `RECENT`: evaluations come on top. Lines
    come every `SOONEST_S` seconds for five minutes and then after each 60th of the time so far, so that a training of
    ten hours has some three hundred.
    """

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=RECENT)
        self._begun = self._start = self._last = 0.0

    def before_train(self) -> None:
        self._begun = self._last = time.monotonic()

    def before_step(self) -> None:
        self._start = time.monotonic()

    def after_step(self) -> None:
        now = time.monotonic()
        self._durations.append(now - self._start)
        done, total = self.trainer.iter + 1, self.trainer.max_iter
        is_first = self.trainer.iter == self.trainer.start_iter
        wait = max(SOONEST_S, (now - self._begun) / RARER)
        if is_first or done == total or now - self._last >= wait:
            self._last = now
            logger.info("%s", self.line(done, total))

    def line(self, done: int, total: int) -> str:
        """As "step 20/5000 0%, 1.96 s/step, eta 2:42:40, loss 31.4, lr 1.2e-06"."""
        seconds = sum(self._durations) / len(self._durations)
        left = timedelta(seconds=round(seconds * (total - done)))
        parts = [f"step {done}/{total} {100 * done // total}%", f"{seconds:.3g} s/step", f"eta {left}"]
        latest = get_event_storage().latest()
        parts += [
            f"{text} {latest[key][0]:.3g}" for key, text in (("total_loss", "loss"), ("lr", "lr")) if key in latest
        ]
        return ", ".join(parts)


def log_results(results: Mapping[str, Any]) -> None:
    """Log the first metrics of every task, of one data set or of several: {task: {metric: value}}, or by data set."""
    for name, values in results.items():
        if values and all(isinstance(value, Mapping) for value in values.values()):
            logger.info("Results on %s:", name)
            log_results(values)
        elif values:
            known = {key: value for key, value in values.items() if _is_known(value)}
            shown = [f"{key} {float(value):.4g}" for key, value in list(known.items())[:SHOWN_METRICS]]
            more = ", ..." if len(known) > SHOWN_METRICS else ""
            logger.info("Results, %s: %s%s", name, ", ".join(shown) or "none", more)


def _is_known(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
