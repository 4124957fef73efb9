"""Linear attention by its definition: loops over queries and keys."""

import torch


def looped_linear_attention(q, k, v, eps):
    """Loops over queries and keys in float64, with torch's own elu."""
    q, k, v = (x.double() for x in (q, k, v))
    out = torch.zeros_like(v)
    for i in range(q.shape[2]):
        weights = ((torch.nn.functional.elu(q[:, :, i : i + 1]) + 1) * (torch.nn.functional.elu(k) + 1)).sum(-1)
        total = weights.mean(-1, keepdim=True) + eps
        out[:, :, i] = (weights.unsqueeze(-1) * v).mean(2) / total
    return out
