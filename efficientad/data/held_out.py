"""Good images that are held out of training, at random and always alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from d2road.utils.errors import DataError

SPLIT_SEED = 42  # nelson1425's, so that its validation images are ours
TEST_SHARE = 0.2  # of the good images of a plain folder that has none to test with


def held_out(paths: Sequence, share: float) -> tuple[list, list]:
    """Divide into what stays and a share that is held out, at random but always alike, each in order.

    Raises:
        ValueError: fewer than two.
    """
    if len(paths) < 2:
        raise DataError(
            f"there is {len(paths)} good image ({', '.join(map(str, paths))}): at least 2 are needed, one to train "
            "on and one to calibrate with; 10 are few"
        )
    kept = min(max(int((1 - share) * len(paths)), 1), len(paths) - 1)
    order = random_order(len(paths), SPLIT_SEED)
    return [paths[i] for i in sorted(order[:kept])], [paths[i] for i in sorted(order[kept:])]


def random_order(count: int, seed: int) -> list[int]:
    """The permutation that `torch.randperm` gives on a CPU for a seed, without torch: MT19937, modulo, Fisher-Yates."""
    generator = np.random.MT19937()
    state: Any = np.random.RandomState(seed).get_state(legacy=False)
    generator.state = state
    order = list(range(count))
    for i in range(count - 1):
        j = i + int(generator.random_raw()) % (count - i)
        order[i], order[j] = order[j], order[i]
    return order
