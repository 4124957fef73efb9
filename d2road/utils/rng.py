"""Random states of Python, NumPy and torch: keep them, restore them, borrow them.

A training run can be continued exactly only if its random numbers continue too, and a side activity (an evaluation,
the augmentation of one image) must neither use up nor depend on the numbers of the run.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_rng_state(devices: bool = True) -> dict[str, Any]:
    """The random states of this process as tensors and plain types, so that `torch.load(weights_only=True)` reads them.

    Args:
        devices: with the generators of the CUDA devices that this process uses.
    """
    version, words, gauss = random.getstate()
    of_numpy = np.random.get_state()
    assert isinstance(of_numpy, tuple)
    name, keys, position, has_gauss, cached = of_numpy
    assert name == "MT19937"
    state = {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if devices and torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()  # of the current device: one process drives one GPU
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `get_rng_state` returned. A CUDA state is left out where there is no CUDA."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def preserve_rng() -> Iterator[None]:
    """Whatever happens inside, the random states afterwards are those from before."""
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


@contextmanager
def seeded_rng(seed: int) -> Iterator[None]:
    """Run with Python's, NumPy's and torch's CPU generators seeded, and restore them afterwards.

    Args:
        seed: 0 <= seed < 2**63. NumPy's global generator takes its lower 32 bits.
    """
    # The cheap forms of the states: this runs once for every training image.
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        # Not torch.manual_seed: that would seed the GPU too.
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
