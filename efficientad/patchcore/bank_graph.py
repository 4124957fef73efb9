"""Export graph of PatchCore: the memory bank inside, distances as exact as float32 allows.

The nearest vector of a bank v_1..v_M to a feature x is that of the largest x . v - |v|^2 / 2, a product of matrices. As
a distance |x|^2 + |v|^2 - 2 x . v would lose its digits where x is near v, as good features are; so the product only
names candidates, the best of each CHUNK vectors, and the length of the difference to each of them is taken in full. A
distance is too large by e / 2 d at most, with e the rounding of the products of centred vectors, where the candidate is
not the nearest; else it has no other error than the model's.

Letters: N features of all images, M vectors of the bank, C channels, k neighbours.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from d2road.export.graph import ExportGraph, ExportOptions
from efficientad.calibration_statistics import resize_maps
from efficientad.inference.gaussian_blur import gaussian_blur
from efficientad.inference.graph_parts import Detect, enlarged, export_anomaly_graph, network_size
from efficientad.modeling.feature_extractors import FeatureExtractor
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.patch_embedding import embed_patches, pad_to_stride
from efficientad.patchcore.bank_state import BankState

CHUNK = 2048


class BankGraph(nn.Module):
    """Features (N, C) to distances (N,) and positions (N,) of the nearest vectors of a bank.

    Args:
        bank: any; an int8 one is taken decoded.
        neighbours: of each vector in the bank that weigh a score; 1 for none.
    """

    vectors: Tensor
    centre: Tensor
    around: Tensor

    def __init__(self, bank: MemoryBank, neighbours: int):
        super().__init__()
        vectors = bank.vectors.detach().float()
        self.register_buffer("vectors", vectors.cpu().clone())
        self.register_buffer("centre", vectors.double().mean(0).float().cpu())
        # Which vectors are near which does not depend on an image: found once, exactly.
        near = bank.nearest(vectors, min(neighbours, len(vectors)))[1] if neighbours > 1 else torch.zeros(0, 0)
        self.register_buffer("around", near.cpu().long())
        centred = self.vectors - self.centre
        for number, part in enumerate(centred.split(CHUNK)):
            self.register_buffer(f"part{number}", part.T.contiguous())
            self.register_buffer(f"half_squares{number}", (part.double().square().sum(1) / 2).float())
        self.num_parts = number + 1

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See above."""
        centred = features - self.centre
        found = []
        for number in range(self.num_parts):
            part, half = self.get_buffer(f"part{number}"), self.get_buffer(f"half_squares{number}")
            found.append((centred @ part - half).argmax(1) + number * CHUNK)
        distances, positions = self.lengths(features, found[0]), found[0]
        for others in found[1:]:
            lengths = self.lengths(features, others)
            nearer = lengths < distances
            distances = torch.where(nearer, lengths, distances)
            positions = torch.where(nearer, others, positions)
        return distances, positions

    def lengths(self, features: Tensor, positions: Tensor) -> Tensor:
        """Distances (N,) of features (N, C) to the vectors at positions (N,)."""
        return (features - self.vectors.index_select(0, positions)).square().sum(1).sqrt()

    def scores(self, features: Tensor, distances: Tensor, positions: Tensor) -> Tensor:
        """Scores (B,) of features (B, n, C), distances and positions (B, n), see `MemoryBank.image_score`."""
        largest, farthest = distances.max(1, keepdim=True)  # (B, 1)
        if self.around.numel() == 0:
            return largest[:, 0]
        place = farthest.unsqueeze(2).expand(-1, -1, features.shape[2])
        x = features.gather(1, place)  # (B, 1, C)
        around = self.around.index_select(0, positions.gather(1, farthest)[:, 0])  # (B, k)
        near = self.vectors.index_select(0, around.flatten()).view(-1, self.around.shape[1], self.vectors.shape[1])
        to_x = (near - x).square().sum(2).sqrt()  # (B, k)
        return largest[:, 0] * (1 - to_x.softmax(1)[:, 0])


class PatchCoreGraph(nn.Module):
    """Normalised images to smoothed maps of distances, and scores.

    Args:
        extractor: of features.
        neighbourhood: see `embed_patches`.
        bank: see `BankGraph`.
        blur: deviation in pixels of the network input.
        size: (h, w) of the network input.
    """

    def __init__(
        self, extractor: FeatureExtractor, neighbourhood: int, bank: BankGraph, blur: float, size: tuple[int, int]
    ):
        super().__init__()
        self.extractor, self.neighbourhood, self.bank, self.blur, self.size = extractor, neighbourhood, bank, blur, size

    def embed(self, images: Tensor) -> Tensor:
        """Patch embeddings (B, C, h, w) of normalised images."""
        return embed_patches(self.extractor.maps(pad_to_stride(images, self.extractor.stride)), self.neighbourhood)

    def forward(self, images: Tensor, output: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, h, w) to maps (B, 1, *output) and scores (B,)."""
        embedding = self.embed(images)
        height, width = embedding.shape[-2:]
        features = embedding.flatten(2).transpose(1, 2)  # (B, n, C)
        distances, positions = self.bank(features.reshape(-1, embedding.shape[1]))
        distances, positions = distances.view(-1, height * width), positions.view(-1, height * width)
        scores = self.bank.scores(features, distances, positions)
        return self.smooth(distances.view(-1, 1, height, width), output), scores

    def smooth(self, distances: Tensor, output: tuple[int, int]) -> Tensor:
        """Distances (B, 1, h, w) of cells enlarged to the network input, smoothed, and enlarged to `output`."""
        (height, width), stride = self.size, self.extractor.stride
        padded = (height + -height % stride, width + -width % stride)
        whole = resize_maps(distances, padded)[..., :height, :width]
        return enlarged(gaussian_blur(whole, self.blur), output)


def graph_of(
    state: BankState, parts: tuple[FeatureExtractor, int, int, float], size: tuple[int, int]
) -> PatchCoreGraph:
    """Maps and scores of normalised images of a size (h, w); `parts` as for `export_bank_graph`."""
    extractor, neighbourhood, neighbours, blur = parts
    bank = BankGraph(state.bank, neighbours)
    return PatchCoreGraph(copy.deepcopy(extractor).cpu(), neighbourhood, bank, blur, size)


def export_bank_graph(
    detect: Detect,
    state: BankState,
    parts: tuple[FeatureExtractor, int, int, float],
    resizes_to: tuple[int, int],
    images: Sequence[np.ndarray],
    options: ExportOptions,
) -> ExportGraph:
    """The graph of a PatchCore, see `graph_parts.export_anomaly_graph`.

    Args:
        detect: the model.
        parts: its extractor, neighbourhood, neighbours and blur.
    Raises:
        ConfigError: see `graph_parts.network_size`.
    """
    extractor, size = parts[0], network_size(resizes_to, options)
    map_start, map_threshold = float(state.map_start), float(state.map_threshold)
    return export_anomaly_graph(
        graph_of(state, parts, size),
        detect,
        images,
        resizes_to=resizes_to,
        options=options,
        pixel_mean=extractor.mean,
        pixel_std=extractor.std,
        threshold=float(state.threshold) if state.has_threshold else None,
        spread=map_threshold - map_start if map_threshold > map_start else map_threshold,
        good_scores=state.good_scores,
        metadata={
            "meta_architecture": "PatchCore",
            "teacher": state.text("features"),
            "map_start": map_start,
            "map_threshold": map_threshold,
            "guarantee": state.guarantee.text if state.guarantee is not None else "",
        },
    )
