"""CUDA graphs of a function of tensors: its kernels are recorded once and then launched together.

A small network on a large accelerator is bound by the launching of its kernels, not by their work. Recorded are shapes
and addresses, so that the function must neither wait for the device nor copy from the host, and nothing in it may hang
on the numbers.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
# Records a function without arguments; returns how to run it again, and the tensors in which its outputs then lie.
Record = Callable[[Callable[[], Outputs]], tuple[Callable[[], object], Outputs]]
WARM_UP_RUNS = 3  # libraries choose their kernels and take their memory in the first runs


def record_cuda_graph(function: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
    """Record on a stream of its own, after a few runs, as PyTorch's notes on CUDA graphs ask for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_RUNS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph.replay, outputs


@dataclass
class _Recording:
    """Inputs where the graph reads them, which tensors they were copied from, how to replay, and its outputs."""

    inputs: list[Tensor]
    sources: list[tuple[Any, int]]
    replay: Callable[[], object]
    outputs: Outputs


@dataclass
class GraphReplay:
    """Replays a function of tensors by the graph of their shapes; the least used graph goes when there are too many.

    A copy of it starts without graphs: they hold the addresses of the weights that they were recorded with.

    Args:
        limit: graphs that are kept.
        record: how a function is recorded.
    """

    limit: int = 8
    record: Record = record_cuda_graph
    recordings: OrderedDict[Any, _Recording] = field(default_factory=OrderedDict, init=False, repr=False)

    def __call__(self, function: Callable[..., Outputs], inputs: Sequence[Tensor]) -> Outputs:
        """`function(*inputs)` without gradients; an input that is the tensor of the call before is not copied again."""
        autocast = [
            torch.is_autocast_enabled(t.device.type) and torch.get_autocast_dtype(t.device.type) for t in inputs
        ]
        key = (*((t.shape, t.stride(), t.dtype, t.device) for t in inputs), *autocast)
        if key not in self.recordings:
            held = [t.clone() for t in inputs]
            replay, outputs = self.record(lambda: function(*held))
            self.recordings[key] = _Recording(held, [(weakref.ref(t), t._version) for t in inputs], replay, outputs)
            if len(self.recordings) > self.limit:
                self.recordings.popitem(last=False)
        self.recordings.move_to_end(key)
        recording = self.recordings[key]
        for place, given in enumerate(inputs):
            source, version = recording.sources[place]
            if source() is not given or version != given._version:
                recording.inputs[place].copy_(given)
                recording.sources[place] = (weakref.ref(given), given._version)
        recording.replay()
        return tuple(output.clone() for output in recording.outputs)

    def forget(self) -> None:
        """Drop all graphs: the weights have moved."""
        self.recordings.clear()

    def __deepcopy__(self, memo: dict) -> "GraphReplay":
        return GraphReplay(self.limit, self.record)
