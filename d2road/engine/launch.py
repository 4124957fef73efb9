"""Starting a program in one process or several: Detectron2's own way, or under torchrun; on GPUs or on a CPU."""

import argparse
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlparse

import torch
import torch.distributed as dist

# Here, before there is a process group: loaded later, as DDP does, its default arguments keep the group for ever.
import torch.distributed.nn.functional
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessExitedException

from d2road.engine.distributed import share_cores, threads_under_torchrun
from d2road.utils.errors import USER_ERROR, ConfigError, is_reported, report

logger = logging.getLogger(__name__)


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    """Run `main(args)` in all processes of a job.

    Under torchrun each process is one already, and joins the others. Otherwise `args.num_gpus` processes are started
    on this machine: one for each GPU, or on a machine without GPU as many, which talk through GLOO.

    Args:
        main: a function of a module (it is sent to other processes).
        args: with num_gpus, num_machines, machine_rank, dist_url, as Detectron2's argument parser gives.
    Returns:
        What `main` returns; None if it ran in other processes.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= set(os.environ):
        return _run_under_torchrun(main, args)
    if args.num_gpus * args.num_machines <= 1:
        return main(args)
    url = args.dist_url
    if args.num_machines == 1 and not _is_free(url):
        logger.warning("%s is in use; taking a free port instead", url)
        url = "auto"
    if not torch.cuda.is_available():
        # The processes share the cores: a thread that waits must not keep one busy. They read it when they start.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with _passing_on_sigterm():
            detectron2_launch(
                _run_in_worker,
                args.num_gpus,
                args.num_machines,
                args.machine_rank,
                url,
                args=(main, args, torch.get_num_threads()),
            )
    except KeyboardInterrupt:
        sys.exit(130)  # Python waits here for the processes, which save and stop
    except ProcessExitedException as error:
        # A run that stopped in good order (see StopOnSignal), or told what is wrong, needs no traceback of its parent.
        if error.exit_code and (error.exit_code > 128 or error.exit_code == USER_ERROR):
            sys.exit(error.exit_code)
        raise
    return None


@contextmanager
def _passing_on_sigterm() -> Iterator[None]:
    """Wait for the processes, which save and stop, instead of dying before them; tell them, if they were not told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(number: int, frame: Any) -> None:
        for child in multiprocessing.active_children():
            if child.pid:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)  # a repetition that is soon counts once, see StopOnSignal

    before = signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_in_worker(main: Callable, args: argparse.Namespace, threads_alone: int) -> None:
    share_cores(comm.get_local_size(), threads_alone)
    _run_in_job(main, args)
    _leave_job()


def _run_under_torchrun(main: Callable, args: argparse.Namespace) -> Any:
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        if local_size > torch.cuda.device_count():
            raise ConfigError(f"torchrun started {local_size} processes here, but there are "
                             f"{torch.cuda.device_count()} GPUs: lower --nproc-per-node")  # fmt: skip
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    comm.create_local_process_group(local_size)
    comm.synchronize()
    share_cores(local_size, threads_under_torchrun())
    result = _run_in_job(main, args)
    _leave_job()
    return result


def _leave_job() -> None:
    """Wait for the others and end the threads of the process groups.

    They end with the last reference to their group. A process that exits while they run can be aborted on its way out.
    """
    comm.synchronize()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()
    dist.destroy_process_group()


def _run_in_job(main: Callable, args: argparse.Namespace) -> Any:
    """Run in one of several processes: what is wrong with a config or data, all find out, and one tells."""
    try:
        return main(args)
    except Exception as error:
        if not is_reported(error):
            raise
        if _is_first("user error"):
            report(error)
        sys.exit(USER_ERROR)


def _is_first(event: str) -> bool:
    """Whether this process is the first to ask; also if those that may have asked are gone."""
    try:
        return dist.distributed_c10d._get_default_store().add(event, 1) == 1
    except RuntimeError:  # the store is in the first process
        return True


def _is_free(url: str) -> bool:
    parsed = urlparse(url)
    if parsed.scheme != "tcp" or not parsed.port:
        return True  # "auto", "file://...": nothing to find out
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((parsed.hostname or "127.0.0.1", parsed.port)) != 0
