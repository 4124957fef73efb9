"""The one step of a training without gradients: a model is fitted to all of its data at once."""

import time
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine.train_loop import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from d2road.engine.distributed import threads_of_one_process
from d2road.engine.meta_arch import FitsWithoutGradients
from d2road.utils.errors import ConfigError


class FitStep(SimpleTrainer):
    """In the place of `TrainStep` for a model that `FitsWithoutGradients`.

    Its optimizer has no parameter, so that the checkpoints of such a run are those of any other.

    Args:
        cfg: of the training, with the seed that it goes by.
        model: takes part in the fit in every process, not wrapped for distribution.
    Raises:
        ConfigError: SOLVER.MAX_ITER is not 1, or averages of weights are asked for.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module):
        problems = fit_problems(cfg)
        if problems:
            raise ConfigError("; ".join(problems))
        assert isinstance(model, FitsWithoutGradients)
        optimizer = torch.optim.SGD([{"params": []}], lr=0.0)
        super().__init__(model, None, optimizer)
        self.cfg = cfg

    def run_step(self) -> None:
        """Fit the model; its numbers go to the metrics of the run."""
        model: Any = self.model  # a module that FitsWithoutGradients
        start = time.perf_counter()
        model.eval()
        try:
            # As many threads as in one process: several find the same to the last digit.
            with torch.no_grad(), threads_of_one_process():
                numbers = model.fit(self.cfg)
        finally:
            model.train()
        if comm.is_main_process():
            get_event_storage().put_scalars(fit_seconds=time.perf_counter() - start, **numbers, smoothing_hint=False)


def fit_problems(cfg: CfgNode) -> list[str]:
    """Keys of a config that contradict a training without gradients, each with its cure."""
    name, problems = cfg.MODEL.META_ARCHITECTURE, list[str]()
    if cfg.SOLVER.MAX_ITER != 1:
        problems.append(f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}: {name} is fitted in one step; set it to 1")
    if cfg.MODEL_EMA.ENABLED:
        problems.append(f"MODEL_EMA.ENABLED: {name} has no steps to average weights over; set it to False")
    return problems
