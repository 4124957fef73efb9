"""The held-out images are those of torch's generator."""

import pytest
import torch

from efficientad.data.held_out import random_order


@pytest.mark.parametrize("count", [1, 2, 3, 320, 5000])
@pytest.mark.parametrize("seed", [0, 42])
def test_order_is_that_of_torch(count, seed):
    assert random_order(count, seed) == torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
