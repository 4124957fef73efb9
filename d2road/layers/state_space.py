"""State space duality: a linear recurrence over a sequence, worked off in chunks of matrix products (Mamba-2).

Letters: b sequences, l steps, h heads, p channels of a head, g groups of heads that share B and C, n size of the state;
c chunks of q steps, r = h / g heads of a group.

Each head keeps a state S, a p x n matrix, that every step fades and writes, and that C reads:

    S_t = exp(dt_t A) S_(t-1) + dt_t x_t B_t^T        y_t = S_t C_t + D x_t

A step with dt = 0 leaves the state as it is. Within a chunk all pairs of steps are compared at once, as attention does,
with the fading between them as a mask; between chunks only states are handed on, so the cost is linear in l.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.layers.state_space_kernels import run_kernels, use_kernels
from d2road.utils.errors import ConfigError

# A step that fades by exp(-800) fades by zero, in float64 too; sums of longer ones would lose the digits of short ones.
MIN_LOG_DECAY = -800.0


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int = 64,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the recurrence above over sequences of any length, also zero.

    Args:
        x: (b, l, h, p) what is written into the state.
        dt: (b, l, h) length of each step, non-negative after bias and softplus.
        A: (h,) rate of fading, negative.
        B, C: (b, l, g, n) where it is written and read; g divides h, head i belongs to group i * g // h.
        chunk_size: steps of a chunk; the result is the same up to rounding.
        D: (h,) or (h, p) weight of x itself in y; None is 0.
        dt_bias: (h,) added to `dt`, before the softplus.
        dt_softplus: take log(1 + exp(dt)) for `dt`.
        initial_states: (b, h, p, n) state before the first step; None is 0.
        return_final_states: return the state after the last step, too.
        backend: "torch" any device, float64, twice differentiable | "mamba_ssm" Triton kernels on CUDA, once
            differentiable, matrix products perhaps in TF32 | "auto" the latter where it can run.
    Returns:
        y (b, l, h, p) in the type of `x`; or (y, final states (b, h, p, n) in float32, of float64 inputs float64).
    Raises:
        ValueError: shapes do not fit.
        ConfigError: `chunk_size` below 1, unknown back end, or one that cannot work on these tensors.
        ImportError: back end "mamba_ssm" is not installed.
    Source: Dao and Gu, Transformers are SSMs, ICML 2024, section 6; arguments as `mamba_chunk_scan_combined` of
        mamba_ssm. Differs: sums of log decays in float64.
    """
    _check(x, dt, A, B, C, chunk_size, D, dt_bias, initial_states)
    if use_kernels(backend, x, dt, A, B, C):
        return run_kernels(
            x, dt, A, B, C, chunk_size=chunk_size, D=D, dt_bias=dt_bias, dt_softplus=dt_softplus,
            initial_states=initial_states, return_final_states=return_final_states,
        )  # fmt: skip
    with torch.autocast(x.device.type, enabled=False):
        kind = _precision(x, dt, A, B, C)
        values, A, B, C = x.to(kind), A.to(kind), B.to(kind), C.to(kind)
        dt = _step_lengths(dt.to(kind), dt_bias, dt_softplus)
        state = None if initial_states is None else initial_states.to(kind)
        y, state = _scan(values, dt, A, B, C, chunk_size, state)
        y = _add_skip(y, values, D)
    return (y.to(x.dtype), state) if return_final_states else y.to(x.dtype)


def ssd_reference(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int = 64,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The same step by step: the definition, for comparison. `chunk_size` has no effect."""
    _check(x, dt, A, B, C, chunk_size, D, dt_bias, initial_states)
    batch, length, heads, dim = x.shape
    kind, share = _precision(x, dt, A, B, C), heads // B.shape[2]
    values = x.to(kind)
    B, C = (t.to(kind).repeat_interleave(share, dim=2) for t in (B, C))  # (b, l, h, n)
    dt = _step_lengths(dt.to(kind), dt_bias, dt_softplus)
    state = values.new_zeros(batch, heads, dim, B.shape[3]) if initial_states is None else initial_states.to(kind)
    rows = []
    for t in range(length):
        written = (dt[:, t, :, None] * values[:, t]).unsqueeze(-1) * B[:, t].unsqueeze(-2)  # (b, h, p, n)
        state = torch.exp(dt[:, t] * A.to(kind))[..., None, None] * state + written
        rows.append((state @ C[:, t].unsqueeze(-1)).squeeze(-1))
    y = torch.stack(rows, dim=1) if rows else torch.zeros_like(values)
    y = _add_skip(y, values, D).to(x.dtype)
    return (y, state) if return_final_states else y


def _precision(*tensors: Tensor) -> torch.dtype:
    """Type of the arithmetic: float32, or float64 where any tensor is."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def _step_lengths(dt: Tensor, dt_bias: Tensor | None, dt_softplus: bool) -> Tensor:
    if dt_bias is not None:
        dt = dt + dt_bias.to(dt.dtype)
    return F.softplus(dt) if dt_softplus else dt


def _add_skip(y: Tensor, x: Tensor, D: Tensor | None) -> Tensor:
    return y if D is None else y + x * (D if D.ndim == 2 else D.unsqueeze(-1)).to(x.dtype)


def _scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int, initial: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The recurrence without D, all tensors of one type: y (b, l, h, p) and final state (b, h, p, n).

    Maps between layouts are few: what the heads of a group share (B, C and their products) is computed once, and heads
    stand beside each other in one matrix, (q, r * p), wherever the fading of each can be applied before or after.
    """
    batch, length, heads, dim = x.shape
    groups, size = B.shape[2:]
    share = heads // groups
    chunks, steps = _chunks(length, chunk_size)
    if not length:
        return x, x.new_zeros(batch, heads, dim, size) if initial is None else initial.contiguous()
    state = None if initial is None else initial.view(batch, groups, share, dim, size).permute(0, 1, 4, 2, 3)
    if state is None and chunks > 1:
        state = x.new_zeros(batch, groups, size, share, dim)
    x, dt, B, C = (_split(t, chunks, steps) for t in (x, dt, B, C))

    B, C = B.transpose(2, 3), C.transpose(2, 3)  # (b, c, g, q, n)
    within, since_start, until_end, whole = _decays(dt, A)
    x = x * dt.unsqueeze(-1)

    # What each step reads of the steps of its own chunk.
    pairs = (C @ B.transpose(-1, -2)).unsqueeze(3)  # (b, c, g, 1, q, q)
    pairs = within.view(batch, chunks, groups, share, steps, steps) * pairs
    grouped = x.view(batch, chunks, steps, groups, share, dim)
    near = pairs @ grouped.permute(0, 1, 3, 4, 2, 5)  # (b, c, g, r, q, p)

    # What each chunk adds to the state, and the state that each chunk finds.
    faded = (x * until_end.unsqueeze(-1)).view(batch, chunks, steps, groups, share * dim).transpose(2, 3)
    written = (B.transpose(-1, -2) @ faded).view(batch, chunks, groups, size, share, dim)
    if state is None:  # nothing was there before the one chunk
        return near.permute(0, 1, 4, 2, 3, 5).reshape(batch, steps, heads, dim), _outer_layout(written[:, 0])
    whole = whole.exp().view(batch, chunks, groups, 1, share, 1)
    found = []
    for add, keep in zip(written.unbind(1), whole.unbind(1)):
        found.append(state)
        state = torch.addcmul(add, keep, state)

    # What each step reads of that.
    y = near.permute(0, 1, 4, 2, 3, 5)
    states = torch.stack(found, dim=1).view(batch, chunks, groups, size, share * dim)
    far = (C @ states).transpose(2, 3).reshape(batch, chunks, steps, groups, share, dim)
    since_start = since_start.exp().transpose(2, 3).reshape(batch, chunks, steps, groups, share, 1)
    y = (far * since_start).add_(y)
    return y.reshape(batch, chunks * steps, heads, dim)[:, :length], _outer_layout(state)


def _chunks(length: int, chunk_size: int) -> tuple[int, int]:
    """Number of chunks and their steps, equal ones: 65 steps are 2 chunks of 33, not of 64."""
    if length <= chunk_size:
        return 1, length  # as it is, perhaps a length that a graph leaves open
    chunks = math.ceil(length / chunk_size)
    return chunks, math.ceil(length / chunks)


def _split(t: Tensor, chunks: int, steps: int) -> Tensor:
    """(b, l, ...) as contiguous (b, c, q, ...), filled up with zeros: steps of length zero change nothing."""
    missing = chunks * steps - t.shape[1]
    if missing:
        t = F.pad(t, (0, 0) * (t.ndim - 2) + (0, missing))
    return t.reshape(t.shape[0], chunks, steps, *t.shape[2:]).contiguous()


def _outer_layout(state: Tensor) -> Tensor:
    """(b, g, n, r, p) as (b, h, p, n)."""
    return state.permute(0, 1, 3, 4, 2).flatten(1, 2).contiguous()


def _decays(dt: Tensor, A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How much a state fades, from the logarithms' running sum.

    The sum is taken in float64: one long step would cost a float32 sum the digits of all short ones after it. It only
    falls, so differences from later to earlier are never positive and no exponential overflows.

    Args:
        dt: (b, c, q, h); A: (h,).
    Returns:
        within (b, c, h, q, q): from step j to step i of a chunk, 0 for j > i; since_start (b, c, h, q), its logarithm:
        from the state that the chunk finds to step i; until_end (b, c, q, h): from step j to the end; whole (b, c, h),
        its logarithm: of the chunk.
    """
    wide = torch.float64 if dt.device.type != "mps" else dt.dtype  # which has none
    steps = dt.shape[2]
    log = (dt * A).clamp(min=MIN_LOG_DECAY).transpose(2, 3).cumsum(-1, dtype=wide)  # (b, c, h, q)
    last = log[..., -1:]
    future = torch.full((steps, steps), -torch.inf, dtype=dt.dtype, device=dt.device).triu_(1)
    within = (log.unsqueeze(-1) - log.unsqueeze(-2)).to(dt.dtype)
    # In place: neither the difference, nor its cast, nor a sum keeps its result for the gradient.
    within = within.add_(future).exp_()
    until_end = (last - log).to(dt.dtype).exp().transpose(2, 3)
    log = log.to(dt.dtype)
    return within, log, until_end, log[..., -1]


def _check(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None,
    dt_bias: Tensor | None,
    initial_states: Tensor | None,
) -> None:
    if chunk_size < 1:
        raise ConfigError(f"ssd: chunk_size is {chunk_size}, expected at least 1")
    for name, tensor, letters in (("x", x, "(b, l, h, p)"), ("B", B, "(b, l, g, n)")):
        if tensor.ndim != 4:
            raise ValueError(f"ssd: {name} is {tuple(tensor.shape)}, expected {letters}")
    batch, length, heads, dim = x.shape
    groups, size = B.shape[2:]
    if groups < 1 or heads % groups:
        raise ValueError(f"ssd: B has {groups} groups, which do not divide the {heads} heads of x")
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "dt (b, l, h)": (dt, (batch, length, heads)),
        "A (h,)": (A, (heads,)),
        "B (b, l, g, n)": (B, (batch, length, groups, size)),
        "C (b, l, g, n)": (C, (batch, length, groups, size)),
        "D (h,) or (h, p)": (D, (heads, dim) if D is not None and D.ndim == 2 else (heads,)),
        "dt_bias (h,)": (dt_bias, (heads,)),
        "initial_states (b, h, p, n)": (initial_states, (batch, heads, dim, size)),
    }
    for name, (given, shape) in expected.items():
        if given is not None and given.shape != shape:
            raise ValueError(
                f"ssd: {name} is {tuple(given.shape)}, expected {shape} beside x {tuple(x.shape)} and "
                f"B {tuple(B.shape)}"
            )
