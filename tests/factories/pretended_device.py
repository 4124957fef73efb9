"""A pretended accelerator: tensors say that they live on "pretended:0" while the processor computes them.

What an accelerator would break or wait for shows without one:

    with PretendedAccelerator() as accelerator:
        model.to(accelerator.device)
        with accelerator.measured() as cost:
            model(batch)
        assert cost.launches < 1000 and not cost.waits, cost

- An operation on tensors of two devices raises RuntimeError. Scalars and indices of the host may join, as on CUDA.
- `waits` are host synchronisations: operations that the host cannot go on from before the device has finished, since
  a value or the shape of a result is asked for. Each has the line that asked.
- `launches` are operations that compute (views and empty tensors do not), `uploads` copies from the host.
- `captured()` is the body of a CUDA graph: there a wait or an upload raises, for no graph can hold it.
- Under `torch.autocast("pretended")` operations are cast by the lists of CUDA.

One device, one process; no tensor of it may leave the block.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

TYPE = "pretended"
ROOT = Path(__file__).resolve().parents[2]
NO_CALLERS = (Path(__file__).name, "uploads.py")
# The size of their result, or what they return, is known only when the device has finished.
WAITING = frozenset(
    ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim")
    + ("unique_consecutive", "bincount", "multinomial", "nms", "_linalg_check_errors")
)
INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"))
COPYING = frozenset(("_to_copy", "copy_", "_pin_memory"))
# Nothing runs on the device for these, beside views, which the schema tells.
IDLE = frozenset(
    ("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh")
)
# Computed in half and in single precision under autocast.
LOWERED = (  # noqa: SIM905
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d matmul mm mv bmm addmm addmv addbmm baddbmm prelu "
    "scaled_dot_product_attention"
).split()
RAISED = (  # noqa: SIM905
    "exp expm1 log log1p log2 log10 pow rsqrt reciprocal sinh cosh tan acos asin softplus softmax log_softmax cumsum "
    "cumprod prod sum cdist layer_norm group_norm mse_loss l1_loss smooth_l1_loss huber_loss nll_loss kl_div "
    "binary_cross_entropy_with_logits cosine_similarity soft_margin_loss"
).split()


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend(TYPE, _Backend())
DEVICE = torch.device(TYPE, 0)


@dataclass
class Cost:
    """What the device was asked for: launches by operation and file; waits and uploads as "operation at file:line"."""

    by_operation: Counter[str] = field(default_factory=Counter)
    by_file: Counter[str] = field(default_factory=Counter)
    waits: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)

    @property
    def launches(self) -> int:
        return sum(self.by_operation.values())

    def __str__(self) -> str:
        lines = [f"{self.launches} launches, {len(self.waits)} waits, {len(self.uploads)} uploads"]
        lines += [f"{number:5d} waits  {place}" for place, number in Counter(self.waits).most_common()]
        lines += [f"{number:5d} x {name}" for name, number in self.by_operation.most_common(8)]
        return "\n".join(lines)


class DeviceTensor(torch.Tensor):
    """A tensor of the device; `values` are its numbers, on the host."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "DeviceTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=DEVICE,
            requires_grad=values.requires_grad,
        )
        made.values = values.detach()
        return made

    def tolist(self) -> Any:
        _ledger.wait("tolist")
        return self.values.detach().tolist()

    def numpy(self, *_: object, **__: object) -> Any:
        raise TypeError(f"can't convert {TYPE}:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __repr__(self, **_: object) -> str:
        return f"DeviceTensor({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _execute(func, args, kwargs or {})


class _Ledger:
    """Where costs are written; `capturing` while a graph is recorded."""

    def __init__(self) -> None:
        self.cost, self.capturing = Cost(), False

    def wait(self, name: str) -> None:
        self._note(self.cost.waits, name, "waits for the device")

    def upload(self, name: str) -> None:
        self._note(self.cost.uploads, name, "copies from the host")

    def _note(self, places: list[str], name: str, what: str) -> None:
        place = f"{name} at {_caller()}"
        if self.capturing:
            raise RuntimeError(f"{place} {what}, which a captured graph cannot hold")
        places.append(place)


_ledger = _Ledger()


def _caller() -> str:
    """file:line of the innermost frame that is of this repository but neither of this file nor of `upload`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = _own_file(frame.f_code.co_filename)
        if name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "backward"


@functools.cache
def _own_file(filename: str) -> str:
    """The path of a caller's file within this repository, empty where it counts as none."""
    path = Path(filename)
    own = path.is_relative_to(ROOT) and ".venv" not in path.parts and path.name not in NO_CALLERS
    return str(path.relative_to(ROOT)) if own else ""


class PretendedAccelerator(TorchDispatchMode):
    """While active, tensors can be made on, moved to and computed on `device`."""

    device = DEVICE

    def __enter__(self) -> "PretendedAccelerator":
        self._lifting = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(values, device=...) is made on the host, then copied
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(self._lifting)
        super().__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _execute(func, args, kwargs or {})

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """The cost of the block."""
        outer, _ledger.cost = _ledger.cost, Cost()
        try:
            yield _ledger.cost
        finally:
            _ledger.cost = outer

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Operations as a CUDA graph would record them."""
        _ledger.capturing = True
        try:
            yield
        finally:
            _ledger.capturing = False


def _execute(func: Any, args: tuple, kwargs: dict) -> Any:
    """One operation: checked, written down, computed on the host."""
    name, writes, views = _facts_of(func)
    tensors = list(_tensors_in((args, kwargs)))
    on_device = any(isinstance(t, DeviceTensor) for t in tensors)
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if on_device and name not in COPYING:
        _check_one_device(func, name, tensors)
    _write_down(func, name, views, args, tensors, on_device, target)
    host_args, host = _map_tensors(_on_host, (args, kwargs))
    if target is not None:
        host["device"], on_device = torch.device("cpu"), target.type == TYPE
    elif name == "copy_":
        on_device = isinstance(args[0], DeviceTensor)
    if host.get("pin_memory"):
        host["pin_memory"] = False
    # Memory of the host is laid out as the operation wants, which a view of the wrapper may not allow.
    run = torch.ops.aten.reshape.default if func is torch.ops.aten.view.default else func
    result = run(*host_args, **host)
    if writes:
        return kwargs.get("out", args[0] if args else result)
    return _map_tensors(_on_device, result) if on_device else result


@functools.cache
def _facts_of(func: Any) -> tuple[str, bool, bool]:
    """The name of an operation, whether it writes into what it returns, and whether all that it returns are views."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    writes = bool(aliases) and aliases[0] is not None and aliases[0].is_write
    views = bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
    return func._schema.name.split("::")[1], writes, views


# PyTorch's own walks through nested arguments, which may be of any class, take most of the time of an operation.
def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, dict):
        yield from _tensors_in(list(value.values()))


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Nested arguments or results with other tensors."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        items = [_map_tensors(function, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {key: _map_tensors(function, item) for key, item in value.items()}
    return value


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.values if isinstance(tensor, DeviceTensor) else tensor


def _on_device(tensor: torch.Tensor) -> DeviceTensor:
    return tensor if isinstance(tensor, DeviceTensor) else DeviceTensor(tensor)


def _check_one_device(func: Any, name: str, tensors: list[torch.Tensor]) -> None:
    guests = [t for t in tensors if not isinstance(t, DeviceTensor) and t.dim() > 0]
    if name in INDEXING:
        guests = [t for t in guests if t is tensors[0] or t.is_floating_point()]
    if guests:
        found = [(tuple(t.shape), str(t.device)) for t in tensors]
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} at {_caller()} got {found}")


def _write_down(
    func: Any,
    name: str,
    views: bool,
    args: tuple,
    tensors: list[torch.Tensor],
    on_device: bool,
    target: torch.device | None,
) -> None:
    """Note what the operation costs."""
    if not on_device:
        if target is not None and target.type == TYPE and tensors:
            _ledger.upload(name)
        return
    if not views and name not in IDLE:
        _ledger.cost.by_operation[name] += 1
        _ledger.cost.by_file[_caller().partition(":")[0]] += 1
    by_mask = name in INDEXING and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors_in(args[1]))
    dynamic = name in WAITING or by_mask or func is torch.ops.aten.repeat_interleave.Tensor
    to_host = name == "_to_copy" and target is not None and target.type != TYPE
    if name == "copy_" and not isinstance(tensors[0], DeviceTensor):
        to_host = True
    elif name == "copy_" and not isinstance(tensors[1], DeviceTensor) and tensors[1].dim():
        _ledger.upload(name)
    if dynamic or to_host:
        _ledger.wait(name)


def _autocast_kernel(overload: Any, dtype: Callable[[], torch.dtype]) -> Callable:
    """The operation on casts of its floating tensors of the device, as a kernel of the autocast key."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        wanted = dtype()
        narrow = tensor.is_floating_point() and tensor.dtype != torch.float64 and tensor.device.type == TYPE
        return tensor.to(wanted) if narrow and tensor.dtype != wanted else tensor

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            args, kwargs = _map_tensors(cast, (args, kwargs))
            return overload(*args, **kwargs)

    return kernel


def _register() -> list[torch.library.Library]:
    """Send operations of the device to `_execute`, and cast them under autocast."""
    fallback, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    fallback.fallback(lambda func, *args, **kwargs: _execute(func, args, kwargs), "PrivateUse1")
    fallback.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in ("empty.memory_format", "empty_strided"):
        op = getattr(torch.ops.aten, name.split(".")[0])
        overload = op.memory_format if "." in name else op.default
        aten.impl(name, lambda *args, _op=overload, **kwargs: _execute(_op, args, kwargs), "PrivateUse1")
    # CUDA has a kernel for it; devices that are not known to PyTorch would get its parts.
    aten.impl("silu_backward", lambda *args: _execute(torch.ops.aten.silu_backward.default, args, {}), "PrivateUse1")
    lower = lambda: torch.get_autocast_dtype(TYPE)  # noqa: E731
    for names, dtype in ((LOWERED, lower), (RAISED, lambda: torch.float32)):
        for name in names:
            packet = getattr(torch.ops.aten, name)
            for overload_name in packet.overloads():
                overload = getattr(packet, overload_name)
                if any(a.is_out for a in overload._schema.arguments) or name + "_" == overload._schema.name:
                    continue
                full = name if overload_name == "default" else f"{name}.{overload_name}"
                aten.impl(full, _autocast_kernel(overload, dtype), "AutocastPrivateUse1")
    return [fallback, aten]


_libraries = _register()  # kept: the registrations end with them
