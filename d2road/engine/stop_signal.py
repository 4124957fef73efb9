"""Orderly stops: what a run does on Ctrl-C, or when a scheduler, a container or `timeout` terminates it.

The whole process group gets the signal as a rule. Data-loader workers ignore it; the training process finishes the step
in hand, or leaves the evaluation in hand unfinished, saves a checkpoint and ends with exit code 128 + signal.
"""

import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from d2road.utils.errors import OutputError
from d2road.utils.output_files import CURES

logger = logging.getLogger(__name__)

# A second signal this soon is the same request by another way: from the group, and from the launcher.
REPEAT_S = 3.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_received = 0  # the signal that this process got while a StopOnSignal was listening


class TrainingStopped(SystemExit):
    """The run was asked to stop, saved a checkpoint, and ends with the customary exit code 128 + signal."""


class EvaluationStopped(Exception):
    """An evaluation was left unfinished, in all processes, because the run was asked to stop."""


class StopOnSignal(HookBase):
    """On SIGINT (Ctrl-C) or SIGTERM the step in hand is finished and saved, then the run ends. A second one kills."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._since = 0.0

    def before_train(self) -> None:
        global _received
        _received = 0
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train(self) -> None:
        global _received
        _received = 0
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number: int, frame: Any) -> None:
        global _received
        if not _received:
            _received, self._since = number, time.monotonic()
            # Straight to the file descriptor: logging is not safe inside a signal handler.
            os.write(2, b"\nStopping after this iteration. Once more, some seconds later, stops without saving.\n")
        elif time.monotonic() - self._since > REPEAT_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def after_step(self) -> None:
        number = agreed_signal(self.trainer.device)
        last = self.trainer.iter + 1 >= self.trainer.max_iter
        if not number or (last and not self.trainer.evaluation.is_unfinished):
            return
        if not self.trainer.saver.due():
            self.trainer.save_checkpoint()
        comm.synchronize()  # the first process to leave ends the others: not before the file is written
        logger.warning(
            "Stopped by %s after iteration %d. To continue: the same command with --resume",
            signal.Signals(number).name,
            self.trainer.iter,
        )
        raise TrainingStopped(128 + number)


def agreed_signal(device: torch.device | str = "cpu") -> int:
    """The signal that any process of the job got, 0 for none; all processes must ask."""
    if comm.get_world_size() == 1:
        return _received
    # All processes stop after the same step, whoever was told.
    asked = torch.tensor(float(_received), device=device)
    dist.all_reduce(asked, dist.ReduceOp.MAX)
    return int(asked.item())


class StoppableEvaluator(DatasetEvaluator):
    """An evaluator that leaves off, in all processes at once, when the training is asked to stop.

    Args:
        build: makes the evaluator that it stands for, when its data set comes.
        device: of the model, where processes talk to each other.
        folder: that it writes to.
    """

    def __init__(self, build: Callable[[], DatasetEvaluator], device: torch.device | str, folder: str):
        self._build, self._device, self._folder = build, device, folder
        self._inner: DatasetEvaluator | None = None

    @property
    def inner(self) -> DatasetEvaluator:
        """The evaluator itself."""
        if self._inner is None:
            self._inner = self._build()
        return self._inner

    def reset(self) -> None:
        self.inner.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        if _received:
            self._agree()
        self.inner.process(inputs, outputs)

    def evaluate(self) -> Any:
        self._agree()
        try:
            return self.inner.evaluate()
        except OSError as error:
            if error.errno not in FULL or isinstance(error, OutputError):
                raise
            text = f"cannot write what was predicted to {self._folder}: {error.strerror}; {CURES[error.errno]}"
            raise OutputError(error.errno, text) from error
        finally:
            self._inner = None  # its predictions are not needed any more

    def _agree(self) -> None:
        # Each process comes here once a data set: after its last image, or when it got the signal.
        if agreed_signal(self._device):
            raise EvaluationStopped


def stoppable(
    cfg: CfgNode,
    build: Callable[[CfgNode, str], DatasetEvaluator],
    given: Sequence[DatasetEvaluator] | DatasetEvaluator | None = None,
) -> list[DatasetEvaluator]:
    """Stoppable evaluators of DATASETS.TEST: those given, or what `build(cfg, name)` makes when their turn comes."""
    if isinstance(given, DatasetEvaluator):
        given = [given]
    builders: list[Callable[[], DatasetEvaluator]] = [partial(build, cfg, name) for name in cfg.DATASETS.TEST]
    if given is not None:
        builders = [partial(_itself, evaluator) for evaluator in given]
    return [StoppableEvaluator(each, cfg.MODEL.DEVICE, cfg.OUTPUT_DIR) for each in builders]


def _itself(evaluator: DatasetEvaluator) -> DatasetEvaluator:
    return evaluator
