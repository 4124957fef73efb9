"""Time of the state space scan by length, against the torch code of transformers and of mamba_ssm where installed.

    python -m benchmarks.speed.speed_state_space [--lengths 64 256 1024 4096] [--train] [--clock cpu] [--record NAME]

Peers: `mamba2_chunk_scan` of transformers and `ssd_minimal_discrete` of mamba_ssm, unchanged. Every candidate runs with
every chunk size that it can take, in turns, and is judged by its fastest one. `ratio` is a peer's time over ours:
median over turns, and in brackets its range. All outputs are compared before the clock starts.
"""

import argparse
import importlib
import importlib.util
import inspect
import shlex
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.records import machine, revision, write_record
from benchmarks.speed.timing import alternate, compare
from d2road.layers import ssd
from d2road.utils.output_files import write_json

OURS = "d2road"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TOLERANCE = 1e-4  # largest difference of outputs, relative to the largest output

Scan = Callable[[dict[str, Tensor], int], Tensor]


def scan_of_d2road(values: dict[str, Tensor], chunk: int) -> Tensor:
    """The torch back end of `ssd`."""
    return ssd(**values, chunk_size=chunk, backend="torch")


def scan_of_transformers() -> Scan:
    """transformers' torch code, also where it would call mamba_ssm's kernels."""
    modeling = importlib.import_module("transformers.models.mamba2.modeling_mamba2")
    function = inspect.unwrap(modeling.mamba2_chunk_scan)

    def scan(values: dict[str, Tensor], chunk: int) -> Tensor:
        return function(values["x"], **{k: v for k, v in values.items() if k != "x"}, chunk_size=chunk)

    return scan


def scan_of_mamba_ssm() -> Scan:
    """mamba_ssm's minimal code, which takes a group for each head and lengths that the chunk size divides."""
    spec = importlib.util.find_spec("mamba_ssm")
    if spec is None:
        raise ImportError("not installed")
    if "mamba_ssm" not in sys.modules:  # without its __init__, which needs compiled extensions
        package = types.ModuleType("mamba_ssm")
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["mamba_ssm"] = package
    function = importlib.import_module("mamba_ssm.modules.ssd_minimal").ssd_minimal_discrete

    def scan(values: dict[str, Tensor], chunk: int) -> Tensor:
        x, dt, heads = values["x"], values["dt"], values["x"].shape[2]
        B, C = (values[name].repeat_interleave(heads // values[name].shape[2], dim=2) for name in "BC")
        return function(x * dt.unsqueeze(-1), dt * values["A"], B, C, chunk)[0]

    return scan


def candidates() -> dict[str, Scan]:
    """Our code, and of the peers those that can be imported."""
    found: dict[str, Scan] = {OURS: scan_of_d2road}
    for name, load in (("transformers", scan_of_transformers), ("mamba_ssm minimal", scan_of_mamba_ssm)):
        try:
            found[name] = load()
        except (ImportError, AttributeError) as error:
            print(f"# without {name}: {error}")
    return found


def random_values(length: int, args: argparse.Namespace) -> dict[str, Tensor]:
    """Arguments of a scan as a trained layer would have them, seed 0."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    values = {
        "x": normal(args.batch, length, args.heads, args.dim),
        "dt": F.softplus(normal(args.batch, length, args.heads) - 3),
        "A": -1 - 15 * torch.rand(args.heads, generator=generator),
        "B": normal(args.batch, length, args.groups, args.state),
        "C": normal(args.batch, length, args.groups, args.state),
    }
    return {name: value.to(args.device).requires_grad_(args.train) for name, value in values.items()}


def measure(length: int, scans: dict[str, Scan], args: argparse.Namespace) -> dict:
    """One row: for each candidate its best chunk size and milliseconds, and how many times as long the peers take."""
    values = random_values(length, args)

    def run(scan: Scan, chunk: int) -> Tensor:
        if not args.train:
            with torch.no_grad():
                return scan(values, chunk)
        y = scan(values, chunk)
        torch.autograd.grad(y.sum(), list(values.values()))
        return y

    chunks = sorted({min(chunk, length) for chunk in args.chunks})
    runs = {
        (name, chunk): lambda scan=scan, chunk=chunk: run(scan, chunk)
        for name, scan in scans.items()
        for chunk in chunks
        if name != "mamba_ssm minimal" or length % chunk == 0
    }
    expected = runs[OURS, chunks[0]]().detach()
    for (name, chunk), function in runs.items():
        error = float((function().detach() - expected).abs().max() / expected.abs().max())
        if not error < TOLERANCE:
            raise RuntimeError(f"{name} with chunks of {chunk} differs by {error:.1e} at length {length}")
    seconds = alternate(runs, runs=args.runs, warmup=1, device=torch.device(args.device), clock=CLOCKS[args.clock])
    times = compare(seconds, (OURS, chunks[0]))
    row: dict = {"length": length, "candidates": {}}
    best = {name: min((key for key in runs if key[0] == name), key=lambda key: times[key]["ms"]) for name in scans
            if any(key[0] == name for key in runs)}  # fmt: skip
    for name, key in best.items():
        against = compare({key: seconds[key], "ours": seconds[best[OURS]]}, key)["ours"]
        row["candidates"][name] = {"chunk": key[1], "ms": times[key]["ms"], "ms_best": times[key]["ms_best"]} | {
            k: against[k] for k in ("ratio", "ratio_low", "ratio_high", "ratio_best")
        }
    return row


def describe(row: dict) -> str:
    """A line for a row."""
    parts = [f"{row['length']:6}"]
    for name, figures in row["candidates"].items():
        text = f"{name} {figures['ms']:.2f} ms (chunk {figures['chunk']})"
        if name != OURS:
            text += f" ratio {figures['ratio']:.2f} [{figures['ratio_low']:.2f}, {figures['ratio_high']:.2f}]"
        parts.append(text)
    return " | ".join(parts)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--chunks", type=int, nargs="+", default=[32, 64, 128, 256])
    for name, default, text in (
        ("batch", 1, "sequences"), ("heads", 8, "heads"), ("dim", 32, "channels of a head"),
        ("state", 64, "size of the state"), ("groups", 1, "groups of heads that share B and C"), ("runs", 9, "turns"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--train", action="store_true", help="forward and backward, not forward alone")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of this process, for a busy machine")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    args = parser.parse_args(argv)
    if min(*args.lengths, *args.chunks, args.runs) < 1:
        parser.error("--lengths, --chunks and --runs are at least 1")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each length, and write them if asked to."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv)
    start, rows, scans = time.perf_counter(), [], candidates()
    print(f"# {machine()}, revision {revision() or 'unknown'}, seed 0, {'training step' if args.train else 'forward'}")
    for length in args.lengths:
        rows.append(measure(length, scans, args))
        print(describe(rows[-1]), flush=True)
    if args.json:
        write_json(args.json, rows)
    if args.record:
        command = f"python -m benchmarks.speed.speed_state_space {shlex.join(argv)}"
        write_record("benchmark", args.record, metrics={"rows": rows}, command=command, config="", seed=0,
                     seconds=time.perf_counter() - start)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
