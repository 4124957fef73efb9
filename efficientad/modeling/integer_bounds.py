"""Lower bounds of distances by products of 8-bit integers.

Vectors are rotated, so that no channel is much larger than the others, and rounded to multiples of one step:
a = s A + e_a with whole numbers A. By the triangle inequality

    |a - b| >= s |A - B| - |e_a| - |e_b|,    |A - B|^2 = |A|^2 + 2 (|B|^2 / 2 - A . B),

and |B|^2 / 2 - A . B, the table here, is one product of integers, in which a few further channels spell |B|^2 / 2.
Processors with VNNI take it several times as fast as one of float32. Letters: N queries, M vectors, C channels, D
channels behind the rotation, a multiple of its first factor.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efficientad.modeling.distance_bounds import GROUP, BoundTable, worst_of
from efficientad.onnx_sessions import require_onnx, start_session

LARGEST = 127  # code
ZERO = 128  # code of a query that stands for 0
UNIT = 2.0**-24  # relative rounding of float32
CURE = "set MODEL.PATCHCORE.SEARCH auto"
OPSET, IR_VERSION = 17, 8


class Rotation:
    """A random rotation as the Kronecker product of two, which costs D (r + D / r) instead of D^2 products a vector.

    Args:
        channels: C; vectors are filled up with zeros to D, a multiple of r.
    """

    def __init__(self, channels: int):
        first = 1 << (channels.bit_length() // 2)
        self.filled = -channels % first  # D - C
        generator = torch.Generator().manual_seed(0)
        sizes = (channels + self.filled) // first, first
        made = [torch.randn(size, size, dtype=torch.float64, generator=generator) for size in sizes]
        self.inner, self.outer = (torch.linalg.qr(matrix)[0].float() for matrix in made)
        # Of products of n numbers by n^1.5, and of the factors themselves.
        self.rounding = UNIT * (sum(size**1.5 + 2 * size for size in sizes) + 8)

    def __call__(self, vectors: Tensor) -> Tensor:
        """(N, D) of vectors (N, C), of lengths and differences that are off by `rounding` of the lengths at most."""
        filled = F.pad(vectors, (0, self.filled))
        inner = filled.view(len(vectors), -1, len(self.inner)) @ self.inner  # (N, r, D / r)
        return (inner.transpose(1, 2).reshape(-1, len(self.outer)) @ self.outer).view(filled.shape)


class IntegerBounds:
    """Bounds of distances to fixed vectors in half squared steps, less |A|^2 / 2, in int32; on the CPU.

    Args:
        vectors: (M, C) float32; they are not kept.
    Raises:
        ImportError: onnx or onnxruntime is missing.
    """

    def __init__(self, vectors: Tensor):
        require_onnx(CURE)
        self.count, self.channels = vectors.shape
        self.mean, self.rotation = vectors.mean(0), Rotation(self.channels)
        z = self.rotation(vectors - self.mean)
        self.step = float(z.abs().max()) / LARGEST or 1.0
        codes = (z / self.step).round_().clamp_(-LARGEST, LARGEST)
        # As far as a vector may be from what its code stands for.
        self.error = float((z - codes * self.step).norm(dim=1).max())
        self.longest = float(z.norm(dim=1).max())
        halves = codes.double().square().sum(1).long() // 2  # |B|^2 / 2, less 1/2 where it is odd
        self.middle = int(halves.min() + halves.max()) // 2
        digits = spell(halves - self.middle)
        self.digits = digits.shape[1]
        columns = torch.cat([-codes.to(torch.int8), digits], 1)
        self.columns = F.pad(columns, (0, 0, 0, -self.count % GROUP)).T.contiguous()  # (D + digits, M)
        self._session: Any = None
        self._threads = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_threads": 0}  # a session cannot be copied

    def tables(self, excluded: Tensor | None, rows: int) -> Callable[[Tensor], BoundTable]:
        """See `DistanceBounds`."""
        if self._threads != torch.get_num_threads():
            self._session, self._threads = start_session(_product(self.columns.numpy())), torch.get_num_threads()
        worst = worst_of(torch.int32)
        if excluded is not None:
            excluded = F.pad(excluded, (0, self.columns.shape[1] - self.count))

        def table(queries: Tensor) -> BoundTable:
            codes, squares, reach = self._encode(queries)
            values = torch.from_numpy(self._session.run(None, {"queries": codes.numpy()})[0])
            values[:, self.count :] = worst
            if excluded is not None:
                values.masked_fill_(excluded, worst)
            return BoundTable(values, lambda squared: self._limit(squared, squares, reach))

        return table

    def _encode(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (N, D + digits) uint8; |A|^2 (N,) float64; (N,) by how much |a - b| may be below s |A - B|."""
        z = self.rotation(queries - self.mean)
        codes = (z / self.step).round_().clamp_(-LARGEST, LARGEST)
        errors, lengths = (z - codes * self.step).norm(dim=1), z.norm(dim=1)
        reach = errors.double() + self.error + 2 * self.rotation.rounding * (lengths.double() + self.longest)
        whole = torch.full((len(z), z.shape[1] + self.digits), LARGEST + ZERO, dtype=torch.uint8)
        whole[:, : z.shape[1]] = codes + ZERO
        whole[:, -1] = 1 + ZERO
        return whole, codes.square().sum(1).double(), reach

    def _limit(self, squared: Tensor, squares: Tensor, reach: Tensor) -> Tensor:
        # Lengths in float32 of vectors that are as near may be larger by so much.
        distances = squared.double().sqrt() * (1 + 4 * UNIT * (self.channels + 8))
        halves = (((distances + reach) / self.step).square() - squares) / 2 - self.middle + 1
        worst = worst_of(torch.int32)
        return halves.floor().clamp(-worst, worst - 1).to(torch.int32)


def spell(numbers: Tensor) -> Tensor:
    """Digits (M, n) int8 of whole numbers (M,): 127 times the sum of all but the last, plus the last."""
    tens = (numbers.double() / LARGEST).round().long()
    digits: list[Tensor] = []
    while not digits or bool(tens.any()):
        digits.append(tens.clamp(-LARGEST, LARGEST))
        tens = tens - digits[-1]
    last = numbers - LARGEST * sum(digits)
    return torch.stack([*digits, last], 1).to(torch.int8)


def _product(columns: np.ndarray) -> Any:
    """A graph that takes `queries` (N, D + digits) uint8, ZERO for 0, times columns (D + digits, M) to int32 (N, M)."""
    onnx, _ = require_onnx(CURE)
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = [onnx.numpy_helper.from_array(*pair) for pair in ((columns, "columns"), (np.uint8(ZERO), "zero"))]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["queries", "columns", "zero"], ["products"])],
        "integer_bounds",
        [helper.make_tensor_value_info("queries", kinds.UINT8, [None, len(columns)])],
        [helper.make_tensor_value_info("products", kinds.INT32, [None, columns.shape[1]])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
