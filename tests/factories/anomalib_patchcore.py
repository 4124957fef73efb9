"""Scores and coresets of the real anomalib's Patchcore for given features."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tests.factories.peers import run_peer

PROGRAM = '''
"""Arguments: FILE of "bank" (M, C), "features" (B, N, C), "neighbours" and "size"; what is found is written to it."""
import sys

import torch
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel

given = torch.load(sys.argv[1])
model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
model.memory_bank = given["bank"]
features = given["features"]
distances, positions = model.nearest_neighbors(features.flatten(0, 1), n_neighbors=1)
distances, positions = (found.reshape(features.shape[:2]) for found in (distances, positions))
found = {"distances": distances, "positions": positions}
for model.num_neighbors in given["neighbours"]:
    found[model.num_neighbors] = model.compute_anomaly_score(distances, positions, features.flatten(0, 1)).flatten()
if given["size"]:
    torch.manual_seed(0)
    sampler = KCenterGreedy(given["bank"], (given["size"] + 0.5) / len(given["bank"]))
    found["coreset"] = torch.tensor(sampler.select_coreset_idxs())
torch.save(found, sys.argv[1])
'''


def anomalib_patchcore(
    folder: Path, bank: Tensor, features: Tensor, neighbours: Sequence[int] = (9,), size: int = 0
) -> dict[str | int, Tensor]:
    """What anomalib makes of features of images, and its coreset of the bank.

    Args:
        bank: (M, C); features: (B, N, C) of B images.
        size: of the coreset; none for 0.
    Returns:
        "distances" and "positions" (B, N), for each number of neighbours scores (B,), and "coreset" (size,).
    """
    path = folder / "patchcore.pt"
    torch.save({"bank": bank, "features": features, "neighbours": list(neighbours), "size": size}, path)
    run_peer("anomalib", PROGRAM, path, timeout=300)
    return torch.load(path)
