"""Speed of EfficientAD against the published layers called plainly and, where it is installed, anomalib.

Random weights on random images: neither changes the time. All candidates take turns in one run, after a check that
they give the same maps (fp32 to 1e-4; lower precision is compared by correlation). docs/efficientad_speed.md
says what the figures mean.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.efficientad_candidates import (
    ANOMALIB_MISSING,
    CONFIG,
    anomalib_model,
    calibrated,
    detector,
    random_images,
)
from benchmarks.speed.plain_efficientad import PlainEfficientAD
from benchmarks.speed.row_report import report_rows
from benchmarks.speed.timing import alternate, compare, peak_memory_mb
from d2road.config import make_cfg
from d2road.engine.solver import build_optimizer
from d2road.utils.rng import seeded_rng
from efficientad.detector import EfficientAD

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
INFER = ("plain", "anomalib", "fp32", "fp32_direct", "bf16", "int8")
TRAIN = ("plain", "fp32", "fp32_direct", "bf16")
MAP_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-4  # relative
Call = Callable[[], object]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; see `--help`."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.benchmark efficientad", description=__doc__)
    parser.add_argument("--what", nargs="+", default=["infer", "train"], choices=["infer", "train"])
    parser.add_argument("--sizes", nargs="+", default=["small"], choices=["small", "medium"], help="of the networks")
    parser.add_argument("--batch", nargs="+", type=int, default=[1], metavar="B", help="images at once in inference")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=None, help=f"candidates among {', '.join(INFER)}")
    parser.add_argument("--runs", type=int, default=7, help="turns of all candidates; medians are reported")
    parser.add_argument("--warmup", type=int, default=2, help="turns before that")
    parser.add_argument("--quick", action="store_true", help="one turn, no warm-up, no memory: to see that it works")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for one thread on a busy machine"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory, a process per candidate")
    parser.add_argument("--memory-of", nargs=2, metavar=("WHAT", "NAME"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    args = parser.parse_args(argv)
    if args.quick:
        args.runs, args.warmup, args.no_memory = 1, 0, True
    if min(args.batch) < 1 or args.runs < 1 or args.warmup < 0:
        parser.error(
            f"--batch got {args.batch}, --runs {args.runs}, --warmup {args.warmup}: expected 1, 1 and 0 or more"
        )
    unknown = sorted(set(args.only or ()) - set(INFER))
    if unknown:
        parser.error(f"--only got {', '.join(unknown)}, expected some of {', '.join(INFER)}")
    return args


def main(argv: Sequence[str]) -> int:
    """Print a block of lines for each measurement; returns 0."""
    args = parse(argv)
    if args.memory_of:
        return print_memory(args)
    return report_rows("efficientad", argv, args, measure(args), describe, CONFIG.name, f", {args.clock} time")


def measure(args: argparse.Namespace) -> Iterator[dict]:
    """One row of figures after the other."""
    for size in args.sizes:
        if "infer" in args.what:
            yield from (infer_row(args, size, batch) for batch in args.batch)
        if "train" in args.what:
            yield train_row(args, size)


def describe(row: dict) -> str:
    """A row as lines of text: the times, and how many times as fast as the references each is."""
    lines = [f"{row['what']}  {row['size']}  batch {row['batch']}  256x256"]
    for name, found in row["candidates"].items():
        words = [f"    {name:<15} {found['ms']:7.0f} ms (best {found['ms_best']:.0f})"]
        words.append(f"{found['ratio']:.2f} x plain ({found['ratio_low']:.2f}-{found['ratio_high']:.2f})")
        if "ratio_anomalib" in found:
            words.append(f"{found['ratio_anomalib']:.2f} x anomalib")
        words += [f"{label} {found[label]:.5g}" for label in ("difference", "correlation") if label in found]
        words += [f"{found['peak_memory_mb']:.0f} MB"] if "peak_memory_mb" in found else []
        lines.append("  ".join(words))
    return "\n".join(lines + [f"    {note}" for note in row["notes"]])


# --- inference ---


def infer_row(args: argparse.Namespace, size: str, batch: int) -> dict:
    """One batch through every candidate."""
    calls, notes = inference_calls(args, size, batch, wanted(args, INFER))
    maps = {name: call() for name, call in calls.items()}
    agreement = {name: agree(maps["plain"], found) for name, found in maps.items() if name not in ("plain", "anomalib")}
    for name in ("fp32", "fp32_direct"):
        if name in agreement and agreement[name]["difference"] > MAP_TOLERANCE:
            raise RuntimeError(f"maps of {name} differ from those of the plain layers: {agreement[name]}")
    return timed_row(args, "infer", size, batch, calls, agreement, notes)


def wanted(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The candidates to measure: the reference always."""
    return [name for name in names if args.only is None or name in args.only or name == "plain"]


def inference_calls(
    args: argparse.Namespace, size: str, batch: int, names: Sequence[str]
) -> tuple[dict[str, Callable[[], list[Tensor]]], list[str]]:
    """Candidates by name, each giving its anomaly maps, and what to say beside."""
    images, notes = random_images(batch, args.seed), []
    reference = calibrated(size, args.seed)
    calls: dict[str, Callable[[], list[Tensor]]] = {}
    for name in names:
        if name == "plain":
            plain = PlainEfficientAD(reference).eval()
            calls[name] = lambda plain=plain: [one for one, _ in plain([entry["image"] for entry in images])]
        elif name == "anomalib":
            other = anomalib_model(reference)
            if other is None:
                notes.append(ANOMALIB_MISSING)
                continue
            calls[name] = anomalib_call(other, torch.stack([entry["image"] for entry in images]) / 255)
        else:
            model = calibrated(size, args.seed, *name.split("_"))
            model.fold_for_inference()
            calls[name] = lambda model=model: [result["anomaly_map"] for result in model(images)]
    return calls, notes


def anomalib_call(model: Any, images: Tensor) -> Callable[[], list[Tensor]]:
    """Inference of anomalib, which takes images (B, 3, H, W) in 0..1."""

    @torch.no_grad()
    def infer() -> list[Tensor]:
        return list(model(images).anomaly_map)

    return infer


def agree(expected: list[Tensor], found: list[Tensor]) -> dict[str, float]:
    """Largest difference and correlation of anomaly maps."""
    one, other = (torch.stack(maps).flatten().double() for maps in (expected, found))
    correlation = np.corrcoef(one.numpy(), other.numpy())[0, 1]
    return {"difference": float((one - other).abs().max()), "correlation": float(correlation)}


# --- training ---


def train_row(args: argparse.Namespace, size: str) -> dict:
    """A step on one image: forward, backward, update."""
    names = wanted(args, TRAIN)
    plain, ours = PlainEfficientAD(calibrated(size, args.seed)).eval(), detector(size, args.seed).eval()
    ours.load_state_dict(calibrated(size, args.seed).state_dict())
    image, image_ae = (ours.preprocess_image(entry)[None] for entry in random_images(2, args.seed))
    with torch.no_grad():  # without dropout, so that both draw nothing
        expected, found = float(plain.loss(image, image_ae)), float(sum(ours.networks.losses(image, image_ae).values()))
    if abs(found / expected - 1) > LOSS_TOLERANCE:
        raise RuntimeError(f"the loss of a training step is {found}, that of the plain loop {expected}")
    calls = training_calls(args, size, names)
    notes = [f"losses before the first step: plain {expected:.6f}, ours {found:.6f}"]
    return timed_row(args, "train", size, 1, calls, {}, notes)


def training_calls(args: argparse.Namespace, size: str, names: Sequence[str]) -> dict[str, Call]:
    """Candidates by name, each doing one step."""
    image, jittered = (entry["image"] for entry in random_images(2, args.seed))
    calls: dict[str, Call] = {}
    for name in names:
        if name == "plain":
            calls[name] = plain_step(PlainEfficientAD(calibrated(size, args.seed)).train(), image, jittered)
        else:
            precision, *direct = name.split("_")
            model = detector(size, args.seed, "fp32", *direct).train()
            model.state.set_teacher("random")  # for silence
            amp = precision == "bf16"
            calls[name] = our_step(model, [{"image": image, "image_ae": jittered}], amp)
    return calls


def plain_step(model: PlainEfficientAD, image: Tensor, jittered: Tensor) -> Call:
    optimizer = model.optimizer()

    def step() -> None:
        normalised, normalised_ae = ((one[None] - model.mean) / model.std for one in (image, jittered))
        loss = model.loss(normalised, normalised_ae)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(model: EfficientAD, batch: list[dict], amp: bool) -> Call:
    optimizer = build_optimizer(make_cfg(str(CONFIG)), model)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            losses = model(batch)
        sum(value.float() for value in losses.values()).backward()
        optimizer.step()

    return step


# --- timing ---


def timed_row(
    args: argparse.Namespace,
    what: str,
    size: str,
    batch: int,
    calls: dict[str, Call],
    agreement: dict[str, dict],
    notes: list[str],
) -> dict:
    """Times of the candidates, in turns, and their peak memory."""
    with seeded_rng(args.seed):
        seconds = alternate(calls, args.runs, args.warmup, torch.device("cpu"), CLOCKS[args.clock])
    rows = compare(seconds, "plain")
    if "anomalib" in rows:
        for name, found in compare(seconds, "anomalib").items():
            rows[name]["ratio_anomalib"] = found["ratio"]
    for name in rows:
        rows[name] |= agreement.get(name, {})
        if not args.no_memory:
            rows[name]["peak_memory_mb"] = memory_of(args, what, name, size, batch)
    return {"what": what, "size": size, "batch": batch, "clock": args.clock, "candidates": rows, "notes": notes}


def memory_of(args: argparse.Namespace, what: str, name: str, size: str, batch: int) -> float:
    """Peak memory in MB of a process that does nothing else."""
    options = ["--memory-of", what, name, "--sizes", size, "--batch", str(batch), "--seed", str(args.seed)]
    command = [sys.executable, "-m", "benchmarks.speed.benchmark", "efficientad", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_memory(args: argparse.Namespace) -> int:
    """What `memory_of` reads: the peak of this process after a few runs of one candidate."""
    (what, name), (size,), (batch,) = args.memory_of, args.sizes, args.batch
    if what == "infer":
        calls, _ = inference_calls(args, size, batch, [name])
    else:
        calls = training_calls(args, size, [name])
    for _ in range(2):
        calls[name]()
    print(peak_memory_mb(torch.device("cpu")))
    return 0
