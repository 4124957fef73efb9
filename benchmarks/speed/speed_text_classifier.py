"""Processor time of the decoder with a text classifier, folded and not, beside a linear one.

OMP_NUM_THREADS=1 python -m benchmarks.speed.speed_text_classifier [--record NAME]

A decoder of the published size (6 stages, 300 boxes) on random features, with 80 and with 1,203 classes; the candidates
share all weights but those of the last layer and take turns. The text embeddings are random, of CLIP's width.
"""

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F

from benchmarks.common.records import write_record
from benchmarks.speed.interleaved import prepare_process, time_in_turns
from d2road.utils.markdown import markdown_table
from diffusion_det.head import DynamicHead
from diffusion_det.text_classifier import TextClassifier, use_text_classifiers

CLASSES, WIDTH, BOXES, SIDE = (80, 1203), 512, 300, 640
STRIDES = (4, 8, 16, 32)


def measure(num_classes: int, runs: int, seed: int) -> dict[str, float]:
    """Median milliseconds of each candidate, and medians of the ratios to the linear one within each turn."""
    torch.manual_seed(seed)
    linear = DynamicHead(strides=STRIDES, num_outputs=num_classes, num_classes=num_classes).eval()
    unfolded = copy.deepcopy(linear)
    use_text_classifiers(unfolded, F.normalize(torch.randn(num_classes, WIDTH), dim=1), 0.01)
    folded = copy.deepcopy(unfolded.eval())
    for module in folded.modules():
        if isinstance(module, TextClassifier):
            module.fold()
    features = [torch.randn(1, 256, SIDE // stride, SIDE // stride) for stride in STRIDES]
    corner = torch.rand(1, BOXES, 2) * SIDE / 2
    boxes, level = torch.cat([corner, corner + 20 + torch.rand(1, BOXES, 2) * SIDE / 3], -1), torch.tensor([999])
    heads = {"linear": linear, "folded": folded, "unfolded": unfolded}
    seconds = time_in_turns(
        {name: lambda head=head: head(features, boxes, level) for name, head in heads.items()}, runs
    )
    found = {f"{name}_ms": 1000 * statistics.median(times) for name, times in seconds.items()}
    for name in ("folded", "unfolded"):
        found[f"{name}_ratio"] = statistics.median(a / b for a, b in zip(seconds[name], seconds["linear"]))
    return found


def main() -> None:
    """Measure, print a table and keep a record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record", metavar="NAME", help="keep the figures in benchmarks/results/words_as_classes/NAME.json"
    )
    args = parser.parse_args()
    prepare_process(torch.get_num_threads())
    start = time.perf_counter()
    found = {classes: measure(classes, args.runs, args.seed) for classes in CLASSES}
    columns = list(found[CLASSES[0]])
    rows = [[str(classes), *(f"{figures[name]:.3f}" for name in columns)] for classes, figures in found.items()]
    print("\n".join(markdown_table(["classes", *columns], rows)))
    if args.record:
        write_record(
            "words_as_classes", args.record, seed=args.seed, seconds=time.perf_counter() - start,
            metrics={f"{classes}_classes": figures for classes, figures in found.items()},
            command=f"OMP_NUM_THREADS=1 python -m benchmarks.speed.speed_text_classifier --record {args.record}",
            config="decoder of the published size, 300 boxes, random features",
        )  # fmt: skip


if __name__ == "__main__":
    main()
