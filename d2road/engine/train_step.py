"""One optimizer step: micro-batches of a batch forward and backward, checked, clipped, applied, reported."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine.train_loop import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from d2road.utils.errors import ConfigError
from d2road.utils.processor import multiplies_bfloat16
from d2road.utils.rng import get_rng_state

logger = logging.getLogger(__name__)
Losses = dict[str, torch.Tensor]


class NonFiniteLossError(FloatingPointError):
    """A loss is NaN or infinite in some process. Holds what is needed to look into it.

    Attributes:
        losses: values by name, of this process.
        batch_files: names of the images of this process's micro-batch.
        rng: random states before the micro-batch.
    """

    def __init__(self, losses: dict[str, float], batch_files: list[str], rng: dict):
        super().__init__(f"losses {losses} on {batch_files}")
        self.losses, self.batch_files, self.rng = losses, batch_files, rng


def describe_non_finite_loss(iteration: int, file: str, reports: Sequence[Mapping[str, Any]]) -> str:
    """What to tell the user: losses and images of each process, where the state is, and the usual causes.

    Args:
        file: that holds the state before the step.
        reports: `losses` and `batch_files` of each process.
    """
    per_rank = "\n".join(
        f"  process {rank}: {report['losses']} on {', '.join(report['batch_files'])}"
        for rank, report in enumerate(reports)
    )
    return (
        f"a loss is NaN or infinite at iteration {iteration}. The state before this step is in {file}. Losses and "
        f"images of the step:\n{per_rank}\n"
        "Usual causes: a learning rate that is too high, no gradient clipping, fp16, a broken annotation"
    )


class TrainStep(SimpleTrainer):
    """Detectron2's SimpleTrainer with gradient accumulation, mixed precision and clipping.

    The loss of a step is the mean over its micro-batches and processes of the model's summed losses.

    Args:
        model: returns a dict of losses; may be wrapped for distribution.
        optimizer: steps once per `run_step`.
        micro_batches: batches of the loader that make one step.
        amp_dtype: arithmetic of the forward pass; None is full precision.
        scaler: scales losses against underflow; needed with fp16.
        clip: called with the trained parameters, whose gradients are complete and unscaled; may return their norm.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        micro_batches: int = 1,
        amp_dtype: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
        clip: Callable | None = None,
    ):
        super().__init__(model, None, optimizer)
        self.micro_batches = micro_batches
        self.amp_dtype = amp_dtype
        self.scaler = scaler
        self.clip = clip
        self.device = next(model.parameters()).device

    def run_step(self) -> None:
        """Do one step.

        Raises:
            NonFiniteLossError: in every process, before the weights change.
        """
        if not self.model.training:
            raise RuntimeError("the model was left in eval mode; call model.train() before the next step")
        self.optimizer.zero_grad()
        sums: Losses = {}
        data_time = 0.0
        for number in range(self.micro_batches):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            losses = self._run_micro_batch(batch, last=number == self.micro_batches - 1)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / self.micro_batches
        self._apply()
        self._write_metrics(sums, data_time)

    def _run_micro_batch(self, batch: list, last: bool) -> Losses:
        rng = get_rng_state()
        with ExitStack() as stack:
            if isinstance(self.model, DistributedDataParallel) and not last:
                stack.enter_context(self.model.no_sync())  # gradients are exchanged once a step
            with autocast(self.device, self.amp_dtype):
                losses = self.model(batch)
            if isinstance(losses, torch.Tensor):
                losses = {"loss": losses}
            losses = {name: value.float() for name, value in losses.items()}
            total = sum(losses.values())
            self._check(losses, total, batch, rng)
            total = total / self.micro_batches
            (self.scaler.scale(total) if self.scaler else total).backward()
        return losses

    def _check(self, losses: Losses, total: torch.Tensor, batch: list, rng: dict) -> None:
        """Raise NonFiniteLossError in every process if the loss of any is not finite."""
        bad = (~torch.isfinite(total.detach())).float()
        if comm.get_world_size() > 1:
            dist.all_reduce(bad, dist.ReduceOp.MAX)
        if bad.item():
            values = {name: float(value.detach()) for name, value in losses.items()}
            raise NonFiniteLossError(values, [str(item.get("file_name", "unnamed image")) for item in batch], rng)

    def _apply(self) -> None:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        if self.clip:
            norm = self.clip(p for group in self.optimizer.param_groups for p in group["params"])
            if norm is not None and comm.is_main_process():
                get_event_storage().put_scalar("grad_norm", float(norm))
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.scaler:
            state["grad_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.scaler and "grad_scaler" in state:
            self.scaler.load_state_dict(state["grad_scaler"])


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """A context for mixed precision, or one that does nothing for `dtype` None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def amp_dtype(cfg: CfgNode, device: torch.device) -> torch.dtype | None:
    """The arithmetic that SOLVER.AMP asks for on a device; None if it is off.

    Raises:
        ConfigError: unknown DTYPE, or fp16 away from CUDA.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    name = cfg.SOLVER.AMP.DTYPE
    if name == "auto":
        if device.type == "cpu" and not multiplies_bfloat16():
            logger.info("This CPU has no arithmetic in bfloat16: training in float32")
            return None
        name = "fp16" if device.type == "cuda" else "bf16"
    if name == "bf16":
        return torch.bfloat16
    if name != "fp16":
        raise ConfigError(f"SOLVER.AMP.DTYPE is '{name}', expected auto, fp16 or bf16")
    if device.type != "cuda":
        raise ConfigError("SOLVER.AMP.DTYPE fp16 needs CUDA: use bf16 or auto, or SOLVER.AMP.ENABLED False")
    return torch.float16
