"""The recurrence of `state_space` over a short sequence and over its reverse, as one product with no sequence turned.

Letters: b sequences, l steps, h heads, p channels of a head, g groups of heads, n size of the state; an axis of 2 holds
both ways. With the sum of log decays up to and with each step, s, and without it, s', step i reads what step j wrote

    ahead, j <= i, faded by exp(s_i - s_j)        back, j >= i, faded by exp(s'_j - s'_i)

so that both are one product with a mask of differences, of -s and of s'. This costs l^2; see `ssd` for long sequences.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.layers.state_space import MIN_LOG_DECAY
from d2road.utils.uploads import upload


def scan_two_ways(x: Tensor, dt: Tensor, rates: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """What `ssd` makes of a sequence with the first half of its parameters and of its reverse with the second.

    Args:
        x: (b, 2, h, p, l); dt: (b, l, 2, h); rates: (2, h) of fading, -A; B, C: (b, 2, g, n, l); D: (2, h). Tokens are
            in the order of the sequence in both halves.
    Returns:
        y (b, 2, h, p, l), in that order too, and the final states (b, 2, h, p, n).
    """
    length, heads, groups = x.shape[-1], x.shape[2], B.shape[2]
    log = (dt * rates).clamp(max=-MIN_LOG_DECAY).permute(0, 2, 3, 1)  # (b, 2, h, l)
    total = log.cumsum(-1, dtype=torch.float64 if dt.device.type != "mps" else dt.dtype)  # see `ssd`
    total = torch.cat([total[:, :1], log[:, 1:] - total[:, 1:]], dim=1)
    fading = (total.unsqueeze(-2) - total.unsqueeze(-1)).to(dt.dtype)
    later = torch.full((length, length), -torch.inf, dtype=dt.dtype).triu_(1)
    fading = (fading + upload(torch.stack([later, later.T]), dt.device)[:, None]).exp()  # (b, 2, h, l, l)
    x_dt = x * dt.permute(0, 2, 3, 1).unsqueeze(3)
    pairs = (C.transpose(-1, -2) @ B).unsqueeze(3)  # (b, 2, g, 1, l, l)
    weights = (fading.unflatten(2, (groups, -1)) * pairs).flatten(2, 3)
    y = torch.addcmul(x_dt @ weights.transpose(-1, -2), D[..., None, None], x)
    # The last step of each way: what it is given of every other one is what remains in the state.
    remaining = torch.stack([fading[:, 0, :, -1], fading[:, 1, :, 0]], dim=1).unsqueeze(3)  # (b, 2, h, 1, l)
    written = (x_dt * remaining).unflatten(2, (groups, -1)).flatten(3, 4)  # (b, 2, g, r * p, l)
    state = written @ B.transpose(-1, -2)  # (b, 2, g, r * p, n)
    return y, state.unflatten(3, (heads // groups, -1)).flatten(2, 3)


def convolve_two_ways(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution of (b, 2 * channels, l): the first half of the channels with the steps before each, the
    second with those after it.

    Args:
        weight: (2 * channels, 1, k), the last tap of each for the step itself.
    """
    taps = weight.shape[-1]
    # Taps before and after the step in one kernel, of which each half uses one side.
    place = torch.zeros(2, taps, 2 * taps - 1, dtype=weight.dtype)
    place[0, range(taps), range(taps)] = 1
    place[1, range(taps), range(2 * taps - 2, taps - 2, -1)] = 1
    kernel = weight.view(2, -1, taps) @ upload(place, weight.device)
    return F.conv1d(x, kernel.flatten(0, 1).unsqueeze(1), bias, padding=taps - 1, groups=len(weight))
