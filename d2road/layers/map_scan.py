"""Selective scan of a feature map in several directions, from a state that a sentence may have written before.

Letters: N sentences, L = H * W pixels in rows, h heads, p channels of a head, g groups, n size of the state.

Reading alone (`read_state`) is one state space model over [words; pixels] whose pixels have steps of length zero: they
leave the state of the last word as it is. With steps of their own (`scan_map`) they write into it as they are passed.
"""

import torch
from torch import Tensor, nn

from d2road.layers.state_space import ssd
from d2road.utils.errors import ConfigError

DIRECTIONS = (0, 1, 2, 4)


def read_state(C: Tensor, state: Tensor) -> Tensor:
    """What each pixel reads: y = S C.

    Args:
        C: (N, L, g, n); g divides h, head i belongs to group i * g // h.
        state: (N, h, p, n).
    Returns:
        (N, L, h, p).
    """
    count, heads, dim, size = state.shape
    length, groups = C.shape[1:3]
    grouped = state.reshape(count, groups, heads // groups * dim, size)  # (N, g, r * p, n)
    y = C.transpose(1, 2) @ grouped.transpose(-1, -2)  # (N, g, L, r * p)
    return y.transpose(1, 2).reshape(count, length, heads, dim)


def write_state(x: Tensor, dt: Tensor, B: Tensor) -> Tensor:
    """Sum of dt x B^T over all pixels, in which nothing fades.

    Args:
        x: (N, L, h, p); dt: (N, L, h); B: (N, L, g, n).
    Returns:
        (N, h, p, n).
    """
    heads, dim = x.shape[2:]
    grouped = (x * dt.unsqueeze(-1)).unflatten(2, (B.shape[2], -1)).flatten(3)  # (N, L, g, r * p)
    state = grouped.permute(0, 2, 3, 1) @ B.transpose(1, 2)  # (N, g, r * p, n)
    return state.reshape(x.shape[0], heads, dim, B.shape[-1])


def scan_orders(height: int, width: int, directions: int, device: torch.device | None = None) -> list[Tensor]:
    """Orders in which the pixels are passed: by rows, back, by columns, back; the first `directions` of them.

    Returns:
        permutations (L,) of the pixels in rows.
    Raises:
        ValueError: `directions` is not 0, 1, 2 or 4.
    """
    check_directions(directions)
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).t().flatten()
    return [rows, rows.flip(0), columns, columns.flip(0)][:directions]


def check_directions(directions: int) -> None:
    """Raise ValueError for a number of directions that there is not."""
    if directions not in DIRECTIONS:
        raise ConfigError(f"directions is {directions}, expected one of {list(DIRECTIONS)}")


def fading_rates(heads: int, a_range: tuple[float, float], directions: int) -> nn.Parameter | None:
    """A_log (h,), drawn in `a_range`; None where nothing fades."""
    return nn.Parameter(torch.empty(heads).uniform_(*a_range).log()) if directions else None


def scan_map(
    x: Tensor,
    dt: Tensor,
    A_log: Tensor | None,
    B: Tensor,
    C: Tensor,
    size: tuple[int, int],
    directions: int = 2,
    prefix: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    initial_states: Tensor | None = None,
    chunk_size: int = 32,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Pass a map in several directions; every one starts from the same state, and their means are returned.

    Args:
        x: (N, L, h, p) what the pixels write; dt: (N, L, h) steps, non-negative.
        A_log: (h,) logarithms of the rates of fading; None, and without effect, with directions 0.
        B, C: (N, L, g, n) where it is written and read.
        size: H, W of the map, L = H * W.
        directions: 1 | 2 | 4, see `scan_orders`; 0 knows no order: all pixels write without that anything fades, then
            all read. It costs little more than reading alone.
        prefix: x, dt, B, C of tokens that every direction passes first; what they read is dropped.
        initial_states: (N, h, p, n), None is 0.
        chunk_size, backend: see `d2road.layers.ssd`.
    Returns:
        y (N, L, h, p) and the final states (N, h, p, n).
    """
    if directions == 0:
        state = write_state(x, dt, B) if initial_states is None else initial_states + write_state(x, dt, B)
        state = state if prefix is None else state + write_state(*prefix[:3])
        return read_state(C, state), state
    assert A_log is not None, "only directions 0 have no rates of fading"
    A = -A_log.exp()
    totals: tuple[Tensor, Tensor] | None = None
    for index, order in enumerate(scan_orders(*size, directions, x.device)):
        pixels = [x, dt, B, C] if index == 0 else [t[:, order] for t in (x, dt, B, C)]
        if prefix is not None:
            pixels = [torch.cat(pair, dim=1) for pair in zip(prefix, pixels)]
        y, state = ssd(
            pixels[0], pixels[1], A, pixels[2], pixels[3], chunk_size=chunk_size,
            initial_states=initial_states, return_final_states=True, backend=backend,
        )  # fmt: skip
        y = y if prefix is None else y[:, prefix[0].shape[1] :]
        y = y if index == 0 else y[:, order.argsort()]
        totals = (y, state) if totals is None else (totals[0] + y, totals[1] + state)
    assert totals is not None
    return totals[0] / directions, totals[1] / directions
