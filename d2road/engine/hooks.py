"""What happens between the steps of a training: averages, evaluation, checkpoints, log files.

Their order after a step matters (see Trainer.build_hooks): averages first, then a checkpoint if one is due, the
evaluation, the checkpoint again (it now knows the evaluation), log files, and last the wish to stop (`stop_signal`).
"""

import errno
import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, get_event_storage

from d2road.engine import meta_arch
from d2road.engine.plots import put_images
from d2road.engine.stop_signal import EvaluationStopped
from d2road.utils.errors import ConfigError, OutputError
from d2road.utils.input_files import text_lines
from d2road.utils.output_files import CURES, atomic_write

logger = logging.getLogger(__name__)


class EmaUpdate(HookBase):
    """Takes the weights of every step into the averages."""

    def after_step(self) -> None:
        self.trainer.ema.update(self.trainer.bare_model)


class SaveCheckpoints(HookBase):
    """Saves every `period` steps as model_<iteration>.pth and after the last step as model_final.pth."""

    def __init__(self, period: int):
        self.period = period

    def due(self) -> bool:
        """Whether the step just done is one to save."""
        done = self.trainer.iter + 1
        return done == self.trainer.max_iter or (self.period > 0 and done % self.period == 0)

    def after_step(self) -> None:
        if self.due():
            self.trainer.save_checkpoint()


class Evaluate(HookBase):
    """Evaluates every `period` steps and after the last one, and keeps the best weights as model_best.pth.

    A checkpoint that is due is written before the evaluation, so that no failure in it costs training time. If a run
    ends between the two, resuming makes up for the evaluation first.

    Args:
        period: 0 evaluates only at the end.
        metric: "task/metric" of the results that decides what is best, or "" to keep no best one.
        mode: "max" if more is better, "min" if less is.
    Raises:
        ConfigError: unknown mode.
    """

    def __init__(self, period: int, metric: str = "", mode: str = "max"):
        if mode not in ("max", "min"):
            raise ConfigError(f"TEST.BEST_MODE is '{mode}', expected 'max' or 'min'")
        self.period, self.metric, self.mode = period, metric, mode
        self.results: dict[str, Any] = {}
        self.last_iter = -1  # of the latest evaluation
        self.best: float | None = None
        self.best_iter = -1
        self.is_unfinished = False  # the latest one was left, because the run is asked to stop

    def due(self, done: int) -> bool:
        """Whether there is an evaluation after `done` steps."""
        return done > 0 and (done == self.trainer.max_iter or (self.period > 0 and done % self.period == 0))

    def before_train(self) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Evaluate now if the step before the first one should have been evaluated and was not."""
        start = self.trainer.start_iter
        if self.due(start) and self.last_iter != start - 1:
            logger.info("The evaluation after iteration %d was not finished: doing it now", start - 1)
            self.trainer.iter = self.trainer.storage.iter = start - 1
            self._evaluate()
            self.trainer.save_checkpoint()
            self.trainer.iter = self.trainer.storage.iter = start

    def after_step(self) -> None:
        if self.due(self.trainer.iter + 1):
            if self.trainer.saver.due():
                self.trainer.save_checkpoint()
            self._evaluate()

    def _evaluate(self) -> None:
        with self.trainer.evaluation_weights() as model:
            try:
                results = self.trainer.test(self.trainer.cfg, model)
            except EvaluationStopped:
                left = "The evaluation after iteration %d is left unfinished; --resume makes up for it"
                logger.warning(left, self.trainer.iter)
                self.is_unfinished = True
                return
            self.results, self.last_iter = plain_numbers(results), self.trainer.iter
            # What was found out on validation data is saved with the weights.
            meta_arch.take_results(model, comm.all_gather(self.results)[0])
            if comm.is_main_process() and results:
                flat = {k: v for k, v in flatten_results_dict(self.results).items() if isinstance(v, float)}
                finite = {k: v for k, v in flat.items() if math.isfinite(v)}  # JSON has no NaN
                self.trainer.storage.put_scalars(**finite, smoothing_hint=False)
                put_images(self.trainer.storage, self.trainer.cfg)
                if self.metric:
                    self._keep_best(flat, model)
        comm.synchronize()

    def _keep_best(self, flat: Mapping[str, float], model: torch.nn.Module) -> None:
        if self.metric not in flat:
            raise ConfigError(f"TEST.BEST_METRIC '{self.metric}' is not in the results; they have {', '.join(flat)}")
        value = flat[self.metric]
        if math.isnan(value):
            logger.warning("%s is NaN at iteration %d: not taken for the best", self.metric, self.last_iter)
            return
        if self.best is not None and not (value > self.best if self.mode == "max" else value < self.best):
            logger.info("%s %.4f: the best stays %.4f of iteration %d", self.metric, value, self.best, self.best_iter)
            return
        logger.info("%s %.4f is the best so far", self.metric, value)
        about = {"iteration": self.last_iter, "metric": self.metric, "value": value}
        self.trainer.checkpointer.write("model_best", {"model": model.state_dict(), **about})
        self.best, self.best_iter = value, self.last_iter

    def state_dict(self) -> dict:
        return {
            "results": self.results, "last_iter": self.last_iter, "best": self.best, "best_iter": self.best_iter,
            "metric": self.metric,
        }  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        self.results, self.last_iter = state["results"], state["last_iter"]
        if state["metric"] == self.metric:
            self.best, self.best_iter = state["best"], state["best_iter"]


def plain_numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results with Python's own numbers, which a checkpoint may hold, instead of NumPy's; text stays as it is."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return plain_numbers(value)
        return value if value is None or isinstance(value, str) else float(value)

    return {key: plain(value) for key, value in results.items()}


class WriteMetrics(PeriodicWriter):
    """Detectron2's writers, opened only when training starts and it is known at which iteration.

    What cannot be written, because the disk is full, costs no training: it is said once, and tried again with what
    comes next. A checkpoint that cannot be written ends the run.

    Args:
        build: called without arguments, returns the writers.
        folder: that they write to.
    """

    def __init__(self, build: Callable[[], list[EventWriter]], folder: str, period: int = 20):
        super().__init__([], period)
        self._build, self._folder = build, folder

    def before_train(self) -> None:
        self._writers = [_Tolerant(writer, self._folder) for writer in self._build()]


class _Tolerant(EventWriter):
    """A writer whose errors are told and not raised; at the end they are."""

    def __init__(self, writer: EventWriter, folder: str):
        self.writer, self.folder = writer, folder
        self.told = False
        self.iteration: int | None = None

    def write(self) -> None:
        # Again at the end of a run that ends right after it was written: nothing is new, and Detectron2's printer
        # divides by the iterations since.
        iteration = get_event_storage().iter
        if iteration == self.iteration:
            return
        self.iteration = iteration
        try:
            self.writer.write()
        except OSError as error:
            if not self.told:
                logger.warning("%s; the training goes on", self._described(error))
            self.told = True

    def close(self) -> None:
        try:
            self.writer.close()
        except OSError as error:
            text = f"{self._described(error)}. The checkpoints are whole"
            raise OutputError(error.errno or errno.EIO, text) from error

    def _described(self, error: OSError) -> str:
        cure = CURES.get(error.errno or 0, "see the system's log")
        kind = type(self.writer).__name__
        reason = error.strerror or error
        return f"the metrics of the training ({kind}) cannot be written to {self.folder}: {reason}; {cure}"


def trim_metrics(path: Path, start_iter: int) -> None:
    """Take out of a JSON-lines log what a resumed run will write again, and a last line that was cut short."""
    if not path.is_file():
        return
    kept = []
    for line in text_lines(path, "log of metrics", largest=None):
        try:
            if json.loads(line)["iteration"] < start_iter:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    with atomic_write(path, "w") as file:
        file.writelines(kept)
