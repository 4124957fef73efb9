"""Benchmark of Mono3DVG, with random weights on random images and made-up sentences: neither changes the time.

python -m benchmarks.speed.benchmark mono3dvg --what infer --size 256x448 [KEY VALUE ...]
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from operator import attrgetter

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from benchmarks.speed.row_report import report_rows
from benchmarks.speed.speed_diffusion_det import image_size
from benchmarks.speed.timing import Stopwatch, median_parts, peak_memory_mb, reset_peak_memory
from d2road.config import make_cfg
from d2road.engine.train_step import amp_dtype, autocast
from d2road.structures import Camera
from d2road.utils.rng import seeded_rng

CONFIG = "configs/mono3dvg/toy_grounding/effnet_lite0.yaml"
CLASSES = ("car", "van", "truck", "bus", "cyclist", "pedestrian")
SIZE_M = (1.6, 1.8, 4.2)
WORDS = ("the", "white", "car", "left", "of", "a", "bus", "second", "from", "behind")
MANY_TOKENS = 2048  # so that the longest text of a sweep is not cut


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.benchmark mono3dvg",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--what", nargs="+", default=["infer"], choices=["infer", "text", "pixels"])
    parser.add_argument("--size", nargs="+", type=image_size, default=[(256, 448)], metavar="HxW")
    parser.add_argument("--sentences", nargs="+", type=int, default=[1, 8, 32], metavar="N", help="of one image")
    parser.add_argument("--words", nargs="+", type=int, default=[16, 64, 256, 1000], metavar="T", help="for `text`")
    parser.add_argument("--runs", type=int, default=5, help="timed runs; medians are reported")
    parser.add_argument("--warmup", type=int, default=1, help="runs before that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    if min(*args.sentences, *args.words, args.runs) < 1 or args.warmup < 0:
        parser.error("--sentences, --words and --runs are 1 or more, --warmup is 0 or more")
    return args


def main(argv: Sequence[str]) -> int:
    """Print a line for each measurement; returns 0."""
    args = parse(argv)
    return report_rows("mono3dvg", argv, args, measure(args), describe, {"file": args.config_file, "opts": args.opts})


def describe(row: dict) -> str:
    """A row as two lines of text."""
    ms = "  ".join(f"{name} {value:.1f}" for name, value in row["ms"].items())
    rest = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if k != "ms")
    return f"{rest}\n    ms: {ms}"


def measure(args: argparse.Namespace) -> Iterator[dict]:
    """One row of figures after the other: all sizes and numbers of sentences; cost against text length at the first
    size; cost against pixels at the first number of sentences."""
    cfg, model = build(args)
    if "infer" in args.what:
        for size, sentences in product(args.size, args.sentences):
            yield row_of("infer", args, cfg, model, size, sentences, words=12)
    if "text" in args.what:
        for words in args.words:
            yield row_of("text", args, cfg, model, args.size[0], args.sentences[0], words)
    if "pixels" in args.what:
        for size in args.size:
            yield row_of("pixels", args, cfg, model, size, args.sentences[0], words=12)


def build(args: argparse.Namespace) -> tuple[CfgNode, nn.Module]:
    """Config and model with random weights; every image has TOP_K candidates."""
    cfg = make_cfg(args.config_file, args.opts)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.MODEL.WEIGHTS = cfg.MODEL.TIMM.WEIGHTS = cfg.MODEL.DLA.WEIGHTS = ""
    node = cfg.MODEL.MONO3DVG
    node.CLASSES, node.DIMENSION_PRIORS, node.RY_FRAME = CLASSES, (SIZE_M,) * len(CLASSES), "ground"
    node.DETECTION.MIN_HEAT, node.DETECTION.NMS_2D, node.DETECTION.NMS_BEV = 0.0, 1.0, 1.0
    if node.TEXT.ENCODER == "scratch" and "text" in args.what:
        node.TEXT.MAX_TOKENS = MANY_TOKENS
    with seeded_rng(args.seed):
        model = build_model(cfg).eval()
    if node.TEXT.ENCODER == "scratch":
        model.text_encoder.learn_tokenizer([" ".join(WORDS)] * 2)
    return cfg, model


def random_input(args: argparse.Namespace, size: tuple[int, int], sentences: int, words: int) -> dict:
    """A random input with sentences of so many words."""
    height, width = size
    generator = torch.Generator().manual_seed(args.seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(words)) for i in range(sentences)]
    expressions = [{"id": i, "text": text} for i, text in enumerate(texts)]
    return {"image": image, "camera": Camera(K, [0.0, -0.97, -0.24, 6.0]), "expressions": expressions}


def row_of(
    what: str,
    args: argparse.Namespace,
    cfg: CfgNode,
    model: nn.Module,
    size: tuple[int, int],
    sentences: int,
    words: int,
) -> dict:
    """Inference of one image by part."""
    inputs = [random_input(args, size, sentences, words)]
    watch = Stopwatch(model.device)
    parts = {
        "image": "encode_maps", "text": "text_encoder.encode", "filter": "text_encoder.filter", "fusion": "neck",
        "relation": "relation",
    }  # fmt: skip
    plain = {name: _function(model, part) for name, part in parts.items()}
    dtype = amp_dtype(cfg, model.device)

    @torch.no_grad()
    def once() -> dict[str, float]:
        watch.seconds.clear()
        with autocast(model.device, dtype):
            watch.run("total", model, inputs)
        rest = watch.seconds["total"] - sum(v for name, v in watch.seconds.items() if name != "total")
        return {name: 1000 * value for name, value in {**watch.seconds, "rest": rest}.items()}

    reset_peak_memory(model.device)
    try:
        for name, part in parts.items():
            _replace(model, part, watch.timed(name, plain[name]) if plain[name] else None)
        ms = median_parts(once, args.runs, args.warmup)
    finally:
        for name, part in parts.items():
            _replace(model, part, plain[name])
    return {
        "what": what,
        "size": f"{size[0]}x{size[1]}",
        "sentences": sentences,
        "words": words,
        "images_per_s": 1000 / ms["total"],
        "sentences_per_s": 1000 * sentences / ms["total"],
        "peak_memory_mb": peak_memory_mb(model.device),
        "ms": ms,
    }


def _function(model: nn.Module, part: str):
    """The method or the forward of a part; None where the model has no such part."""
    found = attrgetter(part)(model)
    return found.forward if isinstance(found, nn.Module) else found


def _replace(model: nn.Module, part: str, function) -> None:
    found, (parent, _, name) = attrgetter(part)(model), part.rpartition(".")
    if isinstance(found, nn.Module):
        found.forward = function
    elif function is not None:
        setattr(attrgetter(parent)(model) if parent else model, name, function)
