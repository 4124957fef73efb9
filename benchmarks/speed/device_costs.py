"""What batches cost an accelerator that is only pretended: kernel launches, waits of the host, copies from it.

    python -m benchmarks.speed.device_costs [--record NAME]

The models are small versions of the configurations (`gpu_samples --quick`), each in inference and in a training step
without its optimizer. Launches hang on the number of stages, steps and layers, not on the size of images.
"""

import argparse
import sys
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.common.records import write_record
from benchmarks.speed.gpu_samples import Sample, samples

if TYPE_CHECKING:
    from tests.factories.pretended_device import Cost

FILES = 12  # those with the most launches


def main(argv: list[str] | None = None) -> int:
    """Print a line for each sample; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", metavar="NAME", help="keep the counts as benchmarks/results/benchmark/NAME.json")
    args = parser.parse_args(argv)
    start, counts = time.monotonic(), {}
    for sample in samples(argparse.Namespace(device="cpu", quick=True)):
        cost = cost_of(sample)
        row = {"launches": cost.launches, "synchronisations": len(cost.waits), "uploads": len(cost.uploads)}
        counts[sample.name] = row | {"launches_by_file": dict(cost.by_file.most_common(FILES))}
        print(sample.name, row, flush=True)
    if args.record:
        write_record(
            "benchmark", args.record, metrics=counts, config="see benchmarks/speed/gpu_samples.py", seed=0,
            command=f"python -m benchmarks.speed.device_costs --record {args.record}",
            seconds=time.monotonic() - start,
        )  # fmt: skip
    return 0


def cost_of(sample: Sample) -> "Cost":
    """The cost of the second batch: the first reads what a checkpoint says of itself."""
    # Here, for a process that has been told of the device takes it for an accelerator from then on.
    from tests.factories.pretended_device import PretendedAccelerator

    with PretendedAccelerator() as accelerator:
        sample.model.to(accelerator.device)
        for _ in range(2):
            torch.manual_seed(0)
            sample.model.zero_grad()
            with accelerator.measured() as cost:
                if sample.training:
                    sample.losses().backward()
                else:
                    sample.infer()
    return cost


if __name__ == "__main__":
    sys.exit(main())
