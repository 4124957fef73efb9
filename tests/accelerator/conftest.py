"""A pretended accelerator for every test here, and the small models of the systems' own tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from torch import nn

from tests.diffusion_det.conftest import make_input, make_scene, small_cfg, small_model, small_opts  # noqa: F401
from tests.factories.pretended_device import PretendedAccelerator


@pytest.fixture
def accelerator() -> Iterator[PretendedAccelerator]:
    """Active during the test; tensors of the processor stay what they are."""
    with PretendedAccelerator() as device:
        yield device


@contextmanager
def on_device(model: nn.Module, accelerator: PretendedAccelerator) -> Iterator[None]:
    """The model on the device during the block."""
    model.to(accelerator.device)
    yield
