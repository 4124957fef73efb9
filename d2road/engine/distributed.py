"""Seeds, weights and processor cores across the processes of a job."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psutil
import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2road.utils.errors import is_user_error
from d2road.utils.run_lock import lock_folder

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Threads that torch would use in this process if it were the only one of the job; None: it is.
_threads_alone: int | None = None


def share_cores(num_processes: int, threads_alone: int) -> None:
    """Divide this machine's cores among its processes, unless the user did.

    Args:
        num_processes: of this job on this machine.
        threads_alone: what one process would use; see `threads_of_one_process`.
    """
    global _threads_alone
    _threads_alone = threads_alone
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, threads_alone // num_processes))


def threads_under_torchrun() -> int:
    """Threads that a single process would use in the environment in which torchrun was started.

    torchrun itself sets OMP_NUM_THREADS to 1 for several processes if the user has not set it.
    """
    try:
        chosen_by_user = "OMP_NUM_THREADS" in psutil.Process(os.getppid()).environ()
    except psutil.Error:
        chosen_by_user = True
    if chosen_by_user or "OMP_NUM_THREADS" not in os.environ:
        return torch.get_num_threads()
    return psutil.cpu_count(logical=False) or torch.get_num_threads()


@contextmanager
def threads_of_one_process() -> Iterator[None]:
    """Compute with as many threads as a single process would.

    Sums are split among threads, so their number shows in the last digits on a CPU. Evaluating with the number of a
    single process, several processes find exactly what one finds.
    """
    present = torch.get_num_threads()
    torch.set_num_threads(_threads_alone or present)
    try:
        yield
    finally:
        torch.set_num_threads(present)


def distribute(model: nn.Module) -> nn.Module:
    """Wrap a model for several processes, on GPUs or on a CPU; one process needs no wrapper."""
    if comm.get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).device.type == "cuda"
    return DistributedDataParallel(
        model, device_ids=[comm.get_local_rank()] if on_gpu else None, broadcast_buffers=False
    )


def synchronize_weights(model: nn.Module, buffers_only: bool = False) -> None:
    """Give all processes the first one's weights (running statistics, for one, differ between processes)."""
    if comm.get_world_size() == 1:
        return
    for tensor in model.buffers() if buffers_only else model.state_dict().values():
        dist.broadcast(tensor.detach(), 0)


def with_seed(cfg: CfgNode, seed: int | None = None) -> CfgNode:
    """A config whose SEED is `seed`, or if None its own or a drawn one."""
    if seed is None:
        if cfg.SEED >= 0:
            return cfg
        seed = comm.shared_random_seed()
        logger.info("SEED is not set; drew %d", seed)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = int(seed)
    cfg.freeze()
    return cfg


def by_first_process(function: Callable[[], T]) -> T:
    """What a function returns in the first process, in every process; what its user can put right is raised in all."""
    found: T | Exception | None = None
    if comm.is_main_process():
        try:
            found = function()
        except Exception as error:
            if comm.get_world_size() == 1 or not is_user_error(error):
                raise
            found = error
    found = comm.all_gather(found)[0]
    if isinstance(found, Exception):
        raise found
    return found


@contextmanager
def locked_output(folder: str, what: str, key: str = "OUTPUT_DIR") -> Iterator[None]:
    """A job's lock on its output folder, held by the first process, see `lock_folder`; "" needs none.

    Args:
        key: that names the folder, for messages.

    Raises:
        OutputError: in all processes: another run holds it, or it cannot be written to.
    """
    if not folder:
        yield
        return
    with ExitStack() as stack:
        lock = lock_folder(folder, what, f"choose another {key}")
        by_first_process(lambda: stack.enter_context(lock))
        yield


def mean_over_processes(counts: Tensor) -> Tensor:
    """Average numbers (of objects, ...) over the processes of a distributed training."""
    world = comm.get_world_size()
    if world == 1:
        return counts
    counts = counts.clone()
    dist.all_reduce(counts)
    return counts / world
