"""Training under glibc as it is, under glibc told to keep its pages, and under jemalloc where it is installed.

    python -m benchmarks.speed.speed_allocator --rounds 3 --record allocator

Training steps of the toy detector on random inputs, one thread, a process each, in turns: page faults and processor
time a step (medians), and peak memory. Other work on the machine changes none of them much.
"""

import argparse
import ctypes.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common.process_memory import peak_mb

CONFIG = "diffusion_det/toy_roadside/effnet_lite0.yaml"
WARMUP, STEPS = 4, 6
ALLOCATORS = {
    "glibc": {},
    "glibc, pages kept": {},
    "jemalloc, pages kept": {
        "LD_PRELOAD": ctypes.util.find_library("jemalloc") or "",
        "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1",
    },
}


def train_steps(keeps: bool, batch: int, size: tuple[int, int]) -> dict[str, float]:
    """Page faults and processor milliseconds a step, and peak memory of this process, MB."""
    from d2road.utils.allocator import keep_freed_pages

    if keeps and not keep_freed_pages():
        raise RuntimeError("the allocator of this process is not glibc's, or its environment has chosen settings")
    import torch
    from detectron2.modeling import build_model
    from detectron2.structures import Boxes, Instances

    from d2road.config import make_cfg

    torch.set_num_threads(1)
    cfg = make_cfg(CONFIG, ["MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    height, width = size
    rows = []
    for _ in range(WARMUP + STEPS):
        inputs: list[dict[str, Any]] = []
        for _ in range(batch):
            low = torch.rand(6, 2) * torch.tensor([width, height]) / 2
            objects = Instances((height, width), gt_boxes=Boxes(torch.cat([low, low + 20], dim=1)))
            objects.gt_classes = torch.randint(0, cfg.MODEL.DiffusionDet.NUM_CLASSES, (6,))
            pixels = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
            inputs.append({"image": pixels, "instances": objects, "height": height, "width": width})
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
        sum(model(inputs).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before.ru_minflt
        rows.append((faults, 1000 * (time.process_time() - start)))
    faults, ms = np.median(rows[WARMUP:], axis=0)
    return {"page_faults_a_step": float(faults), "processor_ms_a_step": float(ms), "peak_mb": peak_mb()}


def run_child(name: str, args: argparse.Namespace) -> dict[str, float]:
    """`train_steps` in a process of its own, under an allocator."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "LD_PRELOAD"))}
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--child", name]
    command += ["--batch", str(args.batch), "--size", *map(str, args.size)]
    env |= {"OMP_NUM_THREADS": "1", **ALLOCATORS[name]}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure in turns, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(252, 448), metavar=("H", "W"))
    parser.add_argument("--record", default="", help="name of the record below benchmarks/results/benchmark")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(train_steps(args.child == "glibc, pages kept", args.batch, tuple(args.size))))
        return
    start = time.monotonic()
    names = [name for name in ALLOCATORS if ALLOCATORS[name].get("LD_PRELOAD", "-")]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            rounds[name].append(run_child(name, args))
            print(f"{name}: {rounds[name][-1]}", flush=True)
    if args.record:
        from benchmarks.common.records import write_record

        command = f"python -m benchmarks.speed.speed_allocator --rounds {args.rounds} --batch {args.batch}"
        config = {"config": CONFIG, "batch": args.batch, "size": list(args.size), "steps": STEPS, "warmup": WARMUP}
        write_record(
            "benchmark",
            args.record,
            metrics={"rounds": rounds},
            command=command,
            config=config,
            seed=0,
            seconds=time.monotonic() - start,
        )


if __name__ == "__main__":
    main()
