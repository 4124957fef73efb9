"""Samples of every system on a GPU: time, peak memory, host synchronisations and the most expensive kernels.

    python -m benchmarks.speed.gpu_samples --device cuda --json FILE

Random weights, random images: neither changes the time. A training step is forward, backward and optimizer; inference
is what a batch of Detectron2's inputs takes. Called by benchmarks/speed/gpu_check.sh, which runs on a bare machine.
"""

import argparse
import copy
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from benchmarks.speed import diffusion_det_inputs, speed_mono3dvg
from benchmarks.speed.timing import peak_memory_mb, reset_peak_memory, synchronize
from d2road.config import make_cfg
from d2road.engine import meta_arch
from d2road.utils.rng import seeded_rng

DETECTOR, ANOMALY = "configs/diffusion_det/Base-DiffusionDet.yaml", "configs/efficientad/Base-EfficientAD.yaml"
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
KERNELS = 12  # rows of a profiler's table
Call = Callable[[], Any]


@dataclass
class Sample:
    """A model and a batch of its inputs; `uncalibrated` asks for maps without a threshold."""

    name: str
    model: Any
    inputs: list[dict]
    training: bool = False
    uncalibrated: bool = False

    @torch.no_grad()
    def infer(self) -> None:
        """The answers to the batch."""
        model = self.model.eval()
        (model.detect if self.uncalibrated else model)(self.inputs)

    def losses(self) -> torch.Tensor:
        """The sum of the losses of the batch."""
        return sum(value.float() for value in self.model.train()(self.inputs).values())

    def step(self) -> Call:
        """What does a training step each time that it is called."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=all(p.is_cuda for p in parameters) or None)

        def once() -> None:
            optimizer.zero_grad()
            self.losses().backward()
            optimizer.step()

        return once


def main(argv: list[str] | None = None) -> int:
    """Measure everything that the time allows; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=240.0, help="no sample begins after so long")
    parser.add_argument("--quick", action="store_true", help="small images and one run, to see that it works")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--summary", type=Path, metavar="DIR", help="print what a run of gpu_check.sh has left there")
    args = parser.parse_args(argv)
    if args.summary is not None:
        print(json.dumps(summary(args.summary), indent=1))
        return 0
    rows, end = [], time.monotonic() + args.seconds
    for sample in samples(args):
        call = sample.step() if sample.training else sample.infer
        for precision, dtype in PRECISIONS.items():
            if time.monotonic() > end or (dtype == torch.float16 and args.device == "cpu"):
                continue
            rows.append({"sample": sample.name, "precision": precision, **measured(args, call, sample.model, dtype)})
            print(json.dumps({key: value for key, value in rows[-1].items() if key != "kernels"}), flush=True)
            if args.json:
                args.json.write_text(json.dumps({"machine": machine(args.device), "rows": rows}, indent=1))
    return 0


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else "none"
    return {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "gpu": gpu,
        "threads": torch.get_num_threads(),
    }


def samples(args: argparse.Namespace) -> Iterator[Sample]:
    """One after the other, so that one model is in memory at a time."""
    yield from _detector_samples(args)
    yield from _grounder_samples(args)
    yield from _anomaly_samples(args)


def _detector_samples(args: argparse.Namespace) -> Iterator[Sample]:
    size, batch = ((96, 128), 1) if args.quick else ((480, 640), 2)
    opts = ["MODEL.DEVICE", args.device, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
    for graph in (False, True) if args.device.startswith("cuda") else (False,):
        more = ["MODEL.DiffusionDet.CUDA_GRAPH", str(graph)]
        options = argparse.Namespace(config_file=DETECTOR, opts=[*opts, *more], size=size, seed=0)
        for steps in (1, 4):
            cfg, model = diffusion_det_inputs.build(options, 30 if args.quick else 300, steps)
            inputs = diffusion_det_inputs.random_inputs(options, batch, cfg.MODEL.DiffusionDet.NUM_CLASSES, False)
            name = f"diffusion_det inference, {steps} step(s){', graph' if graph else ''}"
            yield Sample(name, as_predicted(model), inputs)
    inputs = diffusion_det_inputs.random_inputs(options, batch, cfg.MODEL.DiffusionDet.NUM_CLASSES, True)
    yield Sample("diffusion_det training step", model, inputs, training=True)


def _grounder_samples(args: argparse.Namespace) -> Iterator[Sample]:
    size, sentences = ((96, 160), 2) if args.quick else ((256, 448), 8)
    opts = ["MODEL.DEVICE", args.device]
    options = argparse.Namespace(config_file=speed_mono3dvg.CONFIG, opts=opts, seed=0, what=["infer"])
    _, model = speed_mono3dvg.build(options)
    entry = speed_mono3dvg.random_input(options, size, sentences, 12)
    yield Sample(f"mono3dvg inference, {sentences} sentences", as_predicted(model), [entry])
    labelled = [labelled_input(entry, size), labelled_input(entry, size)]
    yield Sample(f"mono3dvg training step, 2 images of {sentences} sentences", model, labelled, training=True)


def as_predicted(model: nn.Module) -> nn.Module:
    """A copy as `Predictor` runs it: batch norms within the convolutions."""
    return meta_arch.prepare_for_inference(copy.deepcopy(model).eval())


def labelled_input(entry: dict, size: tuple[int, int], objects: int = 6) -> dict:
    """An input of the grounder with boxes on a plane before the camera, two of which each sentence means."""
    place = torch.arange(objects, dtype=torch.float32)
    depth_m = 12 + 3 * place
    rows = torch.stack([place - objects / 2, torch.full_like(place, 1.5), depth_m], dim=1)
    rows = torch.cat([rows, torch.tensor(speed_mono3dvg.SIZE_M).expand(objects, 3), 0.1 * place[:, None]], dim=1)
    height, width = size
    corner = torch.stack([(0.1 + 0.12 * place) * width, 0.3 * height + 2 * place], dim=1)
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.cat([corner, corner + torch.tensor([0.1 * width, 0.2 * height])], dim=1))
    instances.gt_classes = torch.arange(objects) % len(speed_mono3dvg.CLASSES)
    instances.gt_boxes3d, instances.gt_has_3d = rows, torch.ones(objects, dtype=torch.bool)
    return entry | {"instances": instances, "expressions": [e | {"targets": [0, 1]} for e in entry["expressions"]]}


def _anomaly_samples(args: argparse.Namespace) -> Iterator[Sample]:
    side, batch = (128, 2) if args.quick else (256, 16)
    opts = [
        "MODEL.DEVICE",
        args.device,
        "MODEL.EFFICIENT_AD.TEACHER",
        "random",
        "INPUT.IMAGE_SIZE",
        f"({side}, {side})",
    ]
    with seeded_rng(0):
        model = build_model(make_cfg(ANOMALY, opts))
        images = [torch.rand(3, side, side) * 255 for _ in range(3 * batch)]
    inputs = [{"image": image, "height": side, "width": side} for image in images[:batch]]
    yield Sample(f"efficientad inference, {batch} images", model, inputs, uncalibrated=True)
    pairs = zip(inputs, images[batch : 2 * batch], images[2 * batch :])
    step = [entry | {"image_ae": jittered, "image_penalty": penalty} for entry, jittered, penalty in pairs]
    yield Sample(f"efficientad training step, {batch} images", model, step, training=True)


def measured(args: argparse.Namespace, call: Call, model: nn.Module, dtype: torch.dtype | None) -> dict[str, Any]:
    """Milliseconds, memory, synchronisations and kernels of a call; what it fails at, if it does."""
    device = next(model.parameters()).device
    reset_peak_memory(device)
    try:
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            for _ in range(1 if args.quick else 3):
                call()
            return {
                "ms": timed_ms(call, device, 1 if args.quick else 10),
                "peak_memory_mb": peak_memory_mb(device),
                "synchronisations": synchronisations(call, device),
                "kernels": kernels(call, device),
            }
    except Exception as error:  # the other samples are wanted all the same
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def timed_ms(call: Call, device: torch.device, runs: int) -> float:
    """Median of some runs."""
    times = []
    for _ in range(runs):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def synchronisations(call: Call, device: torch.device) -> int | None:
    """How often PyTorch itself sees the host wait in a call; None where it does not look."""
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def kernels(call: Call, device: torch.device) -> list[dict[str, Any]]:
    """The operations that take the most time, from PyTorch's profiler."""
    cuda = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        synchronize(device)
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, key))
    return [{"name": e.key, "calls": e.count, "ms": round(getattr(e, key) / 1000, 3)} for e in events[:KERNELS]]


def summary(folder: Path) -> dict[str, Any]:
    """Parts of a run, with exit code and seconds, and the figures of those that gave any."""
    parts = {}
    for line in (folder / "parts.txt").read_text().splitlines():
        name, *rest = line.split()
        parts[name] = {"exit": int(rest[0]), "seconds": int(rest[1])} if len(rest) == 2 else {"skipped": True}
    figures = {}
    for name in ("samples", "state_space"):
        path = folder / f"{name}.json"
        figures[name] = json.loads(path.read_text()) if path.is_file() else None
    return {"parts": parts, **figures}


if __name__ == "__main__":
    sys.exit(main())
