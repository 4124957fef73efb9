"""Where a training stands in its data and random numbers: what exact resuming needs beside weights and schedule."""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from d2road.utils.rng import get_rng_state, set_rng_state

logger = logging.getLogger(__name__)


class ResumeState:
    """Position in the endless stream of training images, and the random states of all processes.

    Args:
        cfg: with SEED of 0 or more, and SOLVER.IMS_PER_BATCH.
    """

    def __init__(self, cfg: CfgNode):
        self.seed: int = cfg.SEED
        self.batch_size: int = cfg.SOLVER.IMS_PER_BATCH
        self._skipped_steps = 0  # steps in the data beyond the iterations: after a change of the batch size
        self._resumed_rng: list[dict] | None = None

    @property
    def is_resumed(self) -> bool:
        """Whether this continues an earlier run."""
        return self._resumed_rng is not None

    def start_batch(self, iteration: int) -> int:
        """The step of the data that an iteration works off."""
        return iteration + self._skipped_steps

    def start_rng(self, start_iter: int) -> None:
        """Give this process the random states of the run that is resumed, or seed them."""
        rank = comm.get_rank()
        if self._resumed_rng is not None and rank < len(self._resumed_rng):
            set_rng_state(self._resumed_rng[rank])
        else:
            seed_all_rng(self.seed + start_iter + rank)

    def state_dict(self, iteration: int, num_images: int) -> dict[str, Any]:
        """What a checkpoint after `iteration` holds. Gathers from all processes, so all must call it."""
        return {
            "data": {
                "seed": self.seed,
                "steps": self.start_batch(iteration + 1),
                "ims_per_batch": self.batch_size,
                "num_images": num_images,
                "world_size": comm.get_world_size(),
            },
            "rng": comm.all_gather(get_rng_state()),
        }

    def load_state_dict(self, state: dict[str, Any], iteration: int) -> None:
        """Find the place in the data, and say so if it cannot be exactly the one of the run that is resumed.

        Args:
            iteration: the last one that is done.
        """
        data, self._resumed_rng = state["data"], state["rng"]
        if self.seed != data["seed"]:
            logger.info("The seed is %d, that of the run that is resumed", data["seed"])
        self.seed = data["seed"]
        size, steps = self.batch_size, data["steps"]
        if data["ims_per_batch"] != size:
            logger.warning("SOLVER.IMS_PER_BATCH was %d and is %d: resuming is not exact", data["ims_per_batch"], size)
            steps = steps * data["ims_per_batch"] // size
        if data["world_size"] != comm.get_world_size():
            logger.warning("The run had %d process(es), now there are %d: resuming is not exact",
                           data["world_size"], comm.get_world_size())  # fmt: skip
        self._skipped_steps = steps - (iteration + 1)
