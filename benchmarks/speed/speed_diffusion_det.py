"""Benchmark of DiffusionDet, with random weights on random images: neither changes the time.

python -m benchmarks.speed.benchmark diffusion_det --what infer --batch 1 2 --steps 1 4 [KEY VALUE ...]
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import nn

from benchmarks.speed.diffusion_det_compare import compare_row, matcher_row, pooler_row
from benchmarks.speed.diffusion_det_inputs import build, random_inputs
from benchmarks.speed.row_report import report_rows
from benchmarks.speed.timing import Stopwatch, median_parts, peak_memory_mb, reset_peak_memory
from d2road.config import make_cfg
from d2road.data import build_mapper
from d2road.data.build import load_dataset_dicts
from d2road.engine.meta_arch import prepare_for_inference
from d2road.engine.solver import build_clipper, build_optimizer
from d2road.engine.train_step import amp_dtype, autocast
from d2road.utils.rng import seeded_rng

CONFIG = "configs/diffusion_det/coco/resnet50.yaml"
LOADED_IMAGES = 20


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.benchmark diffusion_det",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--what", nargs="+", default=["infer"], choices=["train", "infer", "compare", "load"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1], metavar="B")
    parser.add_argument("--steps", nargs="+", type=int, default=[1], metavar="S", help="sampling steps (inference)")
    parser.add_argument("--boxes", nargs="+", type=int, default=[300], metavar="N", help="boxes an image")
    parser.add_argument("--size", type=image_size, default=(480, 640), metavar="HxW", help="of the network input")
    parser.add_argument("--runs", type=int, default=5, help="timed runs; medians are reported")
    parser.add_argument("--warmup", type=int, default=1, help="runs before that")
    parser.add_argument("--no-fuse", action="store_true", help="leave the batch norms of inference as they are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    for name in ("batch", "steps", "boxes"):
        if min(getattr(args, name)) < 1:
            parser.error(f"--{name} got {getattr(args, name)}, expected numbers of at least 1")
    if args.runs < 1 or args.warmup < 0:
        parser.error(f"--runs got {args.runs} and --warmup {args.warmup}, expected at least 1 and 0")
    return args


def image_size(text: str) -> tuple[int, int]:
    """Height and width from "480x640"."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected HEIGHTxWIDTH such as 480x640") from None
    if min(height, width) < 32:
        raise argparse.ArgumentTypeError(f"got '{text}', expected at least 32 pixels a side")
    return height, width


def main(argv: Sequence[str]) -> int:
    """Print a line for each measurement; returns 0."""
    args = parse(argv)
    return report_rows(
        "diffusion_det", argv, args, measure(args), describe, {"file": args.config_file, "opts": args.opts}
    )


def measure(args: argparse.Namespace) -> Iterator[dict]:
    """One row of figures after the other."""
    for batch, boxes in product(args.batch, args.boxes):
        if "train" in args.what:
            yield train_row(args, batch, boxes)
        for steps in args.steps:
            if "infer" in args.what:
                yield infer_row(args, batch, steps, boxes)
            if "compare" in args.what and (steps == 1 or batch == 1):  # the published loop takes one image at a time
                yield compare_row(args, batch, steps, boxes)
        if "compare" in args.what:
            yield pooler_row(args, batch, boxes)
    if "compare" in args.what:
        yield matcher_row(args)
    if "load" in args.what or "train" in args.what:
        yield load_row(args)


def describe(row: dict) -> str:
    """A row as a line of text."""
    row = dict(row)
    words = [f"{row.pop('what'):<8}"]
    words += [f"{name} {row.pop(name)}" for name in ("batch", "steps", "boxes") if name in row]
    for name, value in row.items():
        if isinstance(value, dict):
            parts = ", ".join(f"{k} {v:.4g}" for k, v in value.items())
            words.append(f"\n    {name}: {parts}")
        else:
            words.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return "  ".join(words)


def instrument(model: nn.Module, watch: Stopwatch) -> None:
    """Let the parts of a detector report their time."""
    model.preprocess = watch.timed("preprocess", model.preprocess)
    model.features = watch.timed("backbone", model.features)
    model.head.forward = watch.timed("decoder", model.head.forward)
    model.criterion.forward = watch.timed("loss", model.criterion.forward)
    model.criterion.match = watch.timed("of which matching", model.criterion.match)


def infer_row(args: argparse.Namespace, batch: int, steps: int, boxes: int) -> dict:
    """Inference of one batch by stage."""
    cfg, model = build(args, boxes, steps)
    model.eval()
    if not args.no_fuse:
        prepare_for_inference(model)
    inputs = random_inputs(args, batch, cfg.MODEL.DiffusionDet.NUM_CLASSES, training=False)
    watch = Stopwatch(model.device)
    instrument(model, watch)
    dtype = amp_dtype(cfg, model.device)

    @torch.no_grad()
    def once() -> dict[str, float]:
        watch.seconds.clear()
        with autocast(model.device, dtype):
            watch.run("total", model, inputs)
        return in_stages(watch.seconds, "postprocess")

    reset_peak_memory(model.device)
    ms = median_parts(once, args.runs, args.warmup)
    return speed_row("infer", batch, ms, model.device, steps=steps, boxes=boxes)


def train_row(args: argparse.Namespace, batch: int, boxes: int) -> dict:
    """A training step by stage."""
    cfg, model = build(args, boxes)
    model.train()
    inputs = random_inputs(args, batch, cfg.MODEL.DiffusionDet.NUM_CLASSES, training=True)
    optimizer, clip = build_optimizer(cfg, model), build_clipper(cfg)
    watch = Stopwatch(model.device)
    instrument(model, watch)
    dtype = amp_dtype(cfg, model.device)

    def update() -> None:
        if clip:
            clip(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()

    def step() -> None:
        optimizer.zero_grad()
        with autocast(model.device, dtype):
            losses = model(inputs)
        watch.run("backward", lambda: sum(losses.values()).backward())
        watch.run("optimizer", update)

    def once() -> dict[str, float]:
        watch.seconds.clear()
        watch.run("total", step)
        return in_stages(watch.seconds, "other")

    reset_peak_memory(model.device)
    with seeded_rng(args.seed):
        ms = median_parts(once, args.runs, args.warmup)
    return speed_row("train", batch, ms, model.device, boxes=boxes)


def in_stages(seconds: dict[str, float], rest: str) -> dict[str, float]:
    """Milliseconds by part, the part that nothing else counted under the name `rest`."""
    counted = sum(value for name, value in seconds.items() if name not in ("total", "of which matching"))
    return {name: 1000 * value for name, value in {**seconds, rest: seconds["total"] - counted}.items()}


def speed_row(what: str, batch: int, ms: dict[str, float], device: torch.device, **setting: int) -> dict:
    """A row of an inference or a training step."""
    return {
        "what": what,
        "batch": batch,
        **setting,
        "images_per_s": 1000 * batch / ms["total"],
        "peak_memory_mb": peak_memory_mb(device),
        "ms": ms,
    }


def load_row(args: argparse.Namespace) -> dict:
    """Reading and mapping images of DATASETS.TRAIN in one process, if they are there."""
    cfg = make_cfg(args.config_file, args.opts)
    try:
        dicts = load_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=True)[:LOADED_IMAGES]
    except (ValueError, FileNotFoundError) as error:
        return {"what": "load", "skipped": str(error)}
    mapper = build_mapper(cfg, is_train=True)
    with seeded_rng(args.seed):
        mapper(dicts[0])
        start = time.perf_counter()
        for item in dicts:
            mapper(item)
        ms = 1000 * (time.perf_counter() - start) / len(dicts)
    return {"what": "load", "images": len(dicts), "ms_per_image": ms, "images_per_s_and_process": 1000 / ms}
