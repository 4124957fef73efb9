"""Time and memory of attention over the number of tokens: linear, softmax, and linear by the table of all pairs.

    python -m benchmarks.speed.speed_linear_attention [--tokens 256 1024 4096] [--dim 16] [--heads 4] [--json FILE]

The exponent is the slope of log time over log tokens between the last two numbers: 1 is linear, 2 quadratic.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.timing import alternate, compare
from d2road.layers.linear_attention import linear_attention, linear_attention_by_pairs
from d2road.utils.output_files import write_json

KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linear": linear_attention,
    "softmax": F.scaled_dot_product_attention,
    "by pairs": linear_attention_by_pairs,
}


def measure(tokens: int, dim: int, heads: int, runs: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of each kind for one image, in alternating runs."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, tokens, dim, generator=generator).to(device) for _ in range(3))
    candidates = {name: lambda function=function: function(q, k, v) for name, function in KINDS.items()}
    with torch.no_grad():
        seconds = alternate(candidates, runs=runs, warmup=2, device=device)
    return {name: row["ms"] for name, row in compare(seconds, "linear").items()}


def exponents(rows: Sequence[dict], kinds: Sequence[str]) -> dict[str, float]:
    """How each kind's time grows between the last two numbers of tokens."""
    (before, last), growth = rows[-2:], {}
    for kind in kinds:
        growth[kind] = math.log(last[kind] / before[kind]) / math.log(last["tokens"] / before["tokens"])
    return growth


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--dim", type=int, default=16, help="channels of a head")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if len(args.tokens) < 2 or min(args.tokens) < 1:
        parser.error(f"--tokens {args.tokens}: give two numbers or more, each at least 1")
    rows = []
    print("tokens" + "".join(f"{kind + ' ms':>14}" for kind in KINDS))
    for tokens in sorted(args.tokens):
        row = measure(tokens, args.dim, args.heads, args.runs, torch.device(args.device))
        rows.append({"tokens": tokens, **row})
        print(f"{tokens:6}" + "".join(f"{row[kind]:14.3f}" for kind in KINDS), flush=True)
    growth = exponents(rows, list(KINDS))
    print("growth" + "".join(f"{growth[kind]:14.2f}" for kind in KINDS))
    if args.json:
        write_json(args.json, {"dim": args.dim, "heads": args.heads, "rows": rows, "exponent": growth})
    return 0


if __name__ == "__main__":
    sys.exit(main())
