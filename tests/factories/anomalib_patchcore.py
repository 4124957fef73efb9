"""Scores and coresets of the real anomalib's Patchcore for given features."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tests.factories.peers import run_peer

PROGRAM = '''
"""Arguments: files of "bank" (M, C), "features" (B, N, C), "neighbours" and "size"; the results replace them."""
import sys

import torch
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel

for file in sys.argv[1:]:
    given = torch.load(file)
    model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
    model.memory_bank = given["bank"]
    features = given["features"]
    distances, positions = model.nearest_neighbors(features.flatten(0, 1), n_neighbors=1)
    distances, positions = (found.reshape(features.shape[:2]) for found in (distances, positions))
    found = {"distances": distances, "positions": positions}
    for model.num_neighbors in given["neighbours"]:
        scores = model.compute_anomaly_score(distances, positions, features.flatten(0, 1))
        found[model.num_neighbors] = scores.flatten()
    if given["size"]:
        torch.manual_seed(0)
        sampler = KCenterGreedy(given["bank"], (given["size"] + 0.5) / len(given["bank"]))
        found["coreset"] = torch.tensor(sampler.select_coreset_idxs())
    torch.save(found, file)
'''


class Memory(NamedTuple):
    """A bank (M, C), features (B, N, C) of B images, numbers of neighbours, and the size of a coreset, 0 for none."""

    bank: Tensor
    features: Tensor
    neighbours: Sequence[int] = (9,)
    size: int = 0


def anomalib_patchcore(folder: Path, *memories: Memory) -> list[dict[str | int, Tensor]]:
    """What one process of anomalib makes of features of images, and its coreset of the bank, for each memory.

    Returns:
        for each "distances" and "positions" (B, N), for each number of neighbours scores (B,), and "coreset" (size,).
    """
    paths = [folder / f"patchcore_{number}.pt" for number in range(len(memories))]
    for path, memory in zip(paths, memories):
        torch.save(memory._asdict() | {"neighbours": list(memory.neighbours)}, path)
    run_peer("anomalib", PROGRAM, *paths, timeout=300)
    return [torch.load(path) for path in paths]
