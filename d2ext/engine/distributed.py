"""Seeds and weights across the processes of a job."""

import logging

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

logger = logging.getLogger(__name__)


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
