"""AU-PRO by its definition: one threshold after the other, on whole arrays."""

import numpy as np
from scipy import ndimage


def threshold_by_threshold_aupro(test_set: list[tuple], limit: float) -> float:
    """One threshold after the other, on whole arrays."""
    maps = np.stack([m for _, _, m, _ in test_set])
    masks = np.stack([np.zeros(m.shape, bool) if mask is None else mask for _, _, m, mask in test_set])
    regions = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(i, labels == label) for label in range(1, count + 1)]
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        x.append((found & ~masks).sum() / (~masks).sum())
        y.append(np.mean([found[i][region].mean() for i, region in regions]))
    x, y = np.array(x), np.array(y)
    inside = x <= limit
    end = np.interp(limit, x, y) if limit not in x else y[inside][-1]
    return np.trapezoid(np.append(y[inside], end), np.append(x[inside], limit)) / limit
