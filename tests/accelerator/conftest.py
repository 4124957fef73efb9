"""A pretended accelerator for every test here, and the small models of the systems' own tests.

A device that a process has been told of stays with it: PyTorch then takes it for an accelerator in everything, and its
threads and compilers do not survive a fork. So these files are run by test_own_processes.py in processes of their
own, and are not collected without the environment variable that it sets: D2ROAD_ALONE=1 pytest tests/accelerator.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torch import nn

from tests.diffusion_det.conftest import make_input, make_scene, small_cfg, small_model, small_opts  # noqa: F401

if TYPE_CHECKING:
    from tests.factories.pretended_device import PretendedAccelerator

OWN = "test_own_processes.py"
ALONE = os.environ.get("D2ROAD_ALONE") == "1"
collect_ignore = [OWN] if ALONE else [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name != OWN]


@pytest.fixture
def accelerator() -> "Iterator[PretendedAccelerator]":
    """Active during the test; tensors of the processor stay what they are."""
    from tests.factories.pretended_device import PretendedAccelerator  # an import is enough to be told

    with PretendedAccelerator() as device:
        yield device


@contextmanager
def on_device(model: nn.Module, accelerator: "PretendedAccelerator") -> Iterator[None]:
    """The model on the device during the block."""
    model.to(accelerator.device)
    yield
