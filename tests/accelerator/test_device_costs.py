"""Costs of the samples for a GPU, on a device that is pretended."""

import argparse

from benchmarks.speed.device_costs import cost_of
from benchmarks.speed.gpu_samples import samples


def test_costs_of_a_sample():
    args = argparse.Namespace(device="cpu", quick=True)
    sample = next(s for s in samples(args) if s.name.startswith("diffusion_det inference, 1"))
    cost = cost_of(sample)
    assert cost.launches == sum(cost.by_file.values()) > 500 and len(cost.waits) <= 3
