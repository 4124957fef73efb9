"""Mamba-2 layers over sequences of different lengths, in one direction and in both.

Letters: b sequences, l steps, d channels, h heads, p channels of a head, g groups, n size of the state, k taps.

    z, x, B, C, dt  = in_proj(tokens)                   h * p, h * p, g * n, g * n, h channels
    x, B, C         = SiLU(causal depthwise convolution of x, B, C)
    y, state        = ssd(x, softplus(dt + dt_bias) * step_gate, A = -exp(A_log), B, C, D)
    tokens          = out_proj(RMSNorm(y * SiLU(z)))

Padding is exactly neutral: the convolution sees zeros there, as it does before the first step, and the step has length
zero, so that the state passes unchanged. Masking the tokens alone would not do: `dt_bias` makes a state fade on zeros.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.state_space import ssd
from d2road.layers.state_space_kernels import use_kernels
from d2road.layers.two_way_scan import convolve_two_ways, scan_two_ways
from d2road.utils.errors import ConfigError

_JOINED = ("in_proj.weight", "conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "D", "norm.weight")


class Mamba2(nn.Module):
    """One Mamba-2 layer, without residual; parameters are named and initialised as in mamba_ssm and transformers.

    Args:
        dim: channels of the tokens.
        heads, head_dim: their product is the width inside, in the publication twice `dim`.
        state_dim: n; `groups` (divides `heads`) sets of B and C.
        kernel: taps of the convolution.
        a_range: interval of the initial rates -A. (1, 16) is published; near zero a state forgets little over a long
            sequence.
        dt_range: interval of the initial step lengths.
        chunk_size, backend: see `ssd`.
    Raises:
        ConfigError: a size below 1, `groups` that do not divide `heads`, an empty or non-positive interval.
    Source: Dao and Gu, Transformers are SSMs, ICML 2024, section 7. Differs: `valid` and `step_gate`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        head_dim: int = 32,
        state_dim: int = 64,
        groups: int = 1,
        kernel: int = 4,
        a_range: tuple[float, float] = (1.0, 16.0),
        dt_range: tuple[float, float] = (1e-3, 0.1),
        chunk_size: int = 64,
        backend: str = "auto",
        eps: float = 1e-5,
    ):
        super().__init__()
        sizes = {"dim": dim, "heads": heads, "head_dim": head_dim, "state_dim": state_dim, "groups": groups}
        for name, value in (sizes | {"kernel": kernel}).items():
            if value < 1:
                raise ConfigError(f"Mamba2: {name} is {value}, expected at least 1")
        if heads % groups:
            raise ConfigError(f"Mamba2: {groups} groups do not divide {heads} heads")
        for name, (low, high) in (("a_range", a_range), ("dt_range", dt_range)):
            if not 0 < low <= high < math.inf:
                raise ConfigError(f"Mamba2: {name} is ({low}, {high}), expected 0 < low <= high")
        self.heads, self.head_dim, self.state_dim, self.groups = heads, head_dim, state_dim, groups
        self.chunk_size, self.backend = chunk_size, backend
        self.inner = heads * head_dim
        mixed = self.inner + 2 * groups * state_dim
        self.in_proj = nn.Linear(dim, self.inner + mixed + heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, kernel, groups=mixed)
        # Draws are uniform in the rates and in the logarithm of the steps.
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(*a_range).log())
        step = torch.empty(heads).uniform_(math.log(dt_range[0]), math.log(dt_range[1])).exp()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(dt_bias) = step
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = GatedRMSNorm(self.inner, groups, eps)
        self.out_proj = nn.Linear(self.inner, dim, bias=False)

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        step_gate: Tensor | None = None,
        initial_states: Tensor | None = None,
        return_final_states: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Mix tokens along their sequence, each with those before it.

        Args:
            x: (b, l, dim) tokens; those that are not valid may hold anything.
            valid: (b, l) bool, one stretch of True a sequence; None is all.
            step_gate: (b, l) or (b, l, h) factor of the step length; at 0 a token writes nothing and fades nothing.
            initial_states: (b, h, p, n); None is 0.
            return_final_states: return the state after the last valid token, too.
        Returns:
            (b, l, dim), zero where not valid; or that and the state (b, h, p, n).
        Raises:
            ValueError: shapes do not fit.
        """
        batch, length = x.shape[:2]
        _check_mask("valid", valid, (batch, length))
        padding = None if valid is None else ~valid.bool().unsqueeze(-1)
        if padding is not None:
            x = x.masked_fill(padding, 0)  # not a product: padding may hold infinities
        z, mixed, dt = self.in_proj(x).split([self.inner, self.conv1d.weight.shape[0], self.heads], dim=-1)
        gate = None if step_gate is None else _of_heads(step_gate, (batch, length, self.heads))
        mixed = _convolve(mixed, self.conv1d.weight, self.conv1d.bias)
        values, B, C = mixed.split([self.inner, *2 * [self.groups * self.state_dim]], dim=-1)
        y, state = ssd(
            values.unflatten(-1, (self.heads, self.head_dim)),
            _step_lengths(dt, self.dt_bias, padding, gate),
            -self.A_log.exp(),
            B.unflatten(-1, (self.groups, self.state_dim)),
            C.unflatten(-1, (self.groups, self.state_dim)),
            chunk_size=self.chunk_size,
            D=self.D,
            initial_states=initial_states,
            return_final_states=True,
            backend=self.backend,
        )
        y = self.out_proj(self.norm(y.flatten(2), z))
        if padding is not None:
            y = y.masked_fill(padding, 0)
        return (y, state) if return_final_states else y


class BidirectionalMamba2(nn.Module):
    """Two Mamba-2 layers, one over the sequence and one over its reverse; results and final states are summed.

    Every token so takes from all others, and the summed state holds early tokens as well as late ones. Both are
    computed as one layer of twice the heads, the second half of which are given the tokens from the last on.

    Args:
        dim, options: as `Mamba2`.
    """

    def __init__(self, dim: int, **options: Any):
        super().__init__()
        self.ahead, self.back = Mamba2(dim, **options), Mamba2(dim, **options)

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        step_gate: Tensor | None = None,
        initial_states: Tensor | None = None,
        return_final_states: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As `Mamba2.forward`; both directions start from `initial_states`."""
        one, (batch, length) = self.ahead, x.shape[:2]
        _check_mask("valid", valid, (batch, length))
        padding = None if valid is None else ~valid.bool().unsqueeze(-1)
        if padding is not None:
            x = x.masked_fill(padding, 0)
        both = self._both()
        projected = F.linear(x, both["in_proj.weight"]).unflatten(-1, (2, -1))  # (b, l, 2, ...)
        z, mixed, dt = projected.split([one.inner, one.conv1d.weight.shape[0], one.heads], dim=-1)
        gate = None if step_gate is None else _of_heads(step_gate, (batch, length, one.heads)).unsqueeze(2)
        wide = None if padding is None else padding.unsqueeze(2)
        dt = _step_lengths(dt, both["dt_bias"].view(2, -1), wide, gate)
        if initial_states is None and 0 < length <= one.chunk_size and not use_kernels(one.backend, mixed, dt):
            y, state = self._scan_once(mixed, dt, both)
        else:
            y, state = self._scan_turned(mixed, dt, both, initial_states)
        y = gated_rms_norm(y, z.flatten(2), both["norm.weight"], 2 * one.groups, one.norm.eps)
        out = torch.cat([layer.out_proj.weight for layer in (self.ahead, self.back)], dim=1)
        y = F.linear(y, out)  # the sum of both
        if padding is not None:
            y = y.masked_fill(padding, 0)
        return (y, state.unflatten(1, (2, one.heads)).sum(1)) if return_final_states else y

    def _scan_once(self, mixed: Tensor, dt: Tensor, both: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of (b, l, 2, ...) what both ways give (b, l, 2 * inner) and their states (b, 2 * h, p, n), in one product."""
        one, kind = self.ahead, torch.promote_types(mixed.dtype, torch.float32)
        mixed = convolve_two_ways(mixed.flatten(2).transpose(1, 2), both["conv1d.weight"], both["conv1d.bias"])
        narrow, mixed = mixed.dtype, F.silu(mixed).to(kind).unflatten(1, (2, -1))  # (b, 2, ..., l)
        values, B, C = mixed.split([one.inner, *2 * [one.groups * one.state_dim]], dim=2)
        with torch.autocast(mixed.device.type, enabled=False):
            y, state = scan_two_ways(
                values.unflatten(2, (one.heads, one.head_dim)), dt.to(kind),
                both["A_log"].to(kind).exp().view(2, -1), B.unflatten(2, (one.groups, one.state_dim)),
                C.unflatten(2, (one.groups, one.state_dim)), both["D"].to(kind).view(2, -1),
            )  # fmt: skip
        return y.flatten(1, 3).transpose(1, 2).to(narrow), state.flatten(1, 2)

    def _scan_turned(
        self, mixed: Tensor, dt: Tensor, both: dict[str, Tensor], initial_states: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same for sequences of any length; the second half of the heads is given the tokens from the last on."""
        one, (batch, length) = self.ahead, mixed.shape[:2]
        mixed = _convolve(_turn(mixed), both["conv1d.weight"], both["conv1d.bias"]).unflatten(-1, (2, -1))
        values, B, C = mixed.split([one.inner, *2 * [one.groups * one.state_dim]], dim=-1)
        y, state = ssd(
            values.reshape(batch, length, 2 * one.heads, one.head_dim),
            _turn(dt).flatten(2),
            -both["A_log"].exp(),
            B.reshape(batch, length, 2 * one.groups, one.state_dim),
            C.reshape(batch, length, 2 * one.groups, one.state_dim),
            chunk_size=one.chunk_size,
            D=both["D"],
            initial_states=None if initial_states is None else initial_states.repeat(1, 2, 1, 1),
            return_final_states=True,
            backend=one.backend,
        )
        return _turn(y.reshape(batch, length, 2, one.inner)).flatten(2), state

    def _both(self) -> dict[str, Tensor]:
        """Parameters of both layers, side by side, by name: those of one type are joined at once."""
        pairs = {name: (self.ahead.get_parameter(name), self.back.get_parameter(name)) for name in _JOINED}
        found: dict[str, Tensor] = {}
        for dtype in {one.dtype for one, _ in pairs.values()}:
            names = [name for name, (one, _) in pairs.items() if one.dtype == dtype]
            flat = torch.cat([part.flatten() for name in names for part in pairs[name]])
            parts = flat.split([2 * pairs[name][0].numel() for name in names])
            found |= {name: part.view(-1, *pairs[name][0].shape[1:]) for name, part in zip(names, parts)}
        return found


def _turn(x: Tensor) -> Tensor:
    """(b, l, 2, ...) with the second half of what is at each step from the last step on."""
    ahead, back = x.unbind(2)
    return torch.stack([ahead, back.flip(1)], dim=2)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Causal depthwise convolution and SiLU of (b, l, ...), each channel (...) by its own of the taps (channels, 1, k):
    (b, l, channels)."""
    if not x.shape[1]:
        return x.flatten(2)
    padded = F.pad(x, (0, 0) * (x.ndim - 2) + (weight.shape[-1] - 1, 0)).flatten(2)
    return F.silu(F.conv1d(padded.transpose(1, 2), weight, bias, groups=len(weight))).transpose(1, 2)


def _step_lengths(dt: Tensor, bias: Tensor, padding: Tensor | None, gate: Tensor | None) -> Tensor:
    """(b, l, ..., h) in float32 or more; padding and gate (b, l, ..., 1) or (b, l, ..., h)."""
    dt = F.softplus(dt.to(torch.promote_types(dt.dtype, torch.float32)) + bias)
    dt = dt if gate is None else dt * gate
    return dt if padding is None else dt.masked_fill(padding, 0)


def _of_heads(gate: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """A gate (b, l) or (b, l, h) as (b, l, 1) or (b, l, h) of steps of this shape (b, l, h)."""
    gate = gate.unsqueeze(-1) if gate.ndim == 2 else gate
    _check_mask("step_gate", gate, shape[:2] + (1 if gate.shape[-1] == 1 else shape[2],))
    return gate


class GatedRMSNorm(nn.Module):
    """y * SiLU(gate), over its root mean square within each group of channels, times a weight; in float32 or more."""

    def __init__(self, dim: int, groups: int = 1, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.groups, self.eps = groups, eps

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:
        """Both (..., dim); the result is of the type of `y`."""
        return gated_rms_norm(y, gate, self.weight, self.groups, self.eps)


def gated_rms_norm(y: Tensor, gate: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
    """`GatedRMSNorm` of a weight that is given, (dim,)."""
    wide = torch.promote_types(y.dtype, torch.float32)
    gated = (y.to(wide) * F.silu(gate.to(wide))).unflatten(-1, (groups, -1))
    normal = (gated * gated.square().mean(-1, keepdim=True).add(eps).rsqrt()).flatten(-2)
    return (normal * weight.to(wide)).to(y.dtype)


def _check_mask(name: str, mask: Tensor | None, shape: tuple[int, ...]) -> None:
    if mask is not None and mask.shape != shape:
        raise ValueError(f"Mamba2: {name} is {tuple(mask.shape)}, expected {shape}")
