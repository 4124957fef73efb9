"""Time of products of 8-bit integers as a search in an int8 memory bank would take them, against those of float32.

    python -m benchmarks.speed.speed_integer_products [--queries 1024] [--vectors 8192] [--channels 152] [--record NAME]

Candidates take turns on the same numbers, after a check that the results are equal: float32 (exact as long as sums stay
below 2^24; into memory that is kept), torch's `_int_mm`, and MatMulInteger of onnxruntime with queries of 7 bits, since
processors without VNNI add pairs of products in 16 bits.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from benchmarks.common.records import machine, revision, write_record
from benchmarks.speed.timing import alternate, compare

FLOAT = "float32"


def candidates(queries: Tensor, vectors: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Products (N, M) of queries (N, C) from 0 to 127 and vectors (M, C) from -127 to 127, both int8."""
    real_queries, real_vectors = queries.float(), vectors.float().T.contiguous()
    memory = torch.empty(len(queries), len(vectors))
    columns = vectors.T.contiguous()
    session, unsigned = integer_session(columns), queries.to(torch.uint8).numpy()
    return {
        FLOAT: lambda: torch.mm(real_queries, real_vectors, out=memory),
        "torch._int_mm": lambda: torch._int_mm(queries, columns),
        "onnxruntime": lambda: torch.from_numpy(session.run(None, {"queries": unsigned})[0]),
    }


def integer_session(columns: Tensor) -> onnxruntime.InferenceSession:
    """MatMulInteger with a constant (C, M), as many threads as torch uses."""
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["queries", "columns"], ["products"])], "products",
        [helper.make_tensor_value_info("queries", kinds.UINT8, [None, len(columns)])],
        [helper.make_tensor_value_info("products", kinds.INT32, None)],
        [onnx.numpy_helper.from_array(columns.numpy().astype(np.int8), "columns")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Times of each candidate, and billions of multiply-adds a second.

    Raises:
        RuntimeError: results differ.
    """
    generator = torch.Generator().manual_seed(args.seed)
    queries = torch.randint(0, 128, (args.queries, args.channels), generator=generator).to(torch.int8)
    vectors = torch.randint(-127, 128, (args.vectors, args.channels), generator=generator).to(torch.int8)
    calls = candidates(queries, vectors)
    expected = queries.long()[:16] @ vectors.long().T
    for name, call in calls.items():
        if not torch.equal(call()[:16].long(), expected):
            raise RuntimeError(f"{name} does not give the products")
    rows = compare(alternate(calls, args.runs, 1, torch.device("cpu"), time.process_time), FLOAT)
    for found in rows.values():
        found["giga_products_per_s"] = args.queries * args.vectors * args.channels / found["ms"] / 1e6
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each candidate, and keep them if asked to."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("queries", 1024), ("vectors", 8192), ("channels", 152), ("runs", 7), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    args, start = parser.parse_args(argv), time.perf_counter()
    print(f"# {machine()}, revision {revision() or 'unknown'}, seed {args.seed}, processor time")
    rows = measure(args)
    for name, found in rows.items():
        rate = found["giga_products_per_s"]
        print(f"{name:<14} {found['ms']:8.1f} ms  {rate:6.1f} G/s  {found['ratio']:.2f} x float32")
    if args.record:
        command = f"python -m benchmarks.speed.speed_integer_products {shlex.join(argv)}"
        write_record("benchmark", args.record, metrics=rows, command=command, config="", seed=args.seed,
                     seconds=time.perf_counter() - start)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
