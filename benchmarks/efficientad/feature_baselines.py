"""Plain baselines on the features of PatchCore: a Gaussian at each place (PaDiM) and a PCA of all places.

Same extractor, layers, averaging, resolution and smoothing as the PatchCore that they are compared with; the threshold
comes from the validation images. Letters: P places, C channels, D dimensions that are kept, N vectors.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from detectron2.config import CfgNode
from torch import Tensor

from benchmarks.efficientad.baseline_detector import BaselineDetector
from efficientad.data.image_iteration import DatasetImages, Entry, images_of
from efficientad.modeling.feature_extractors import build_extractor
from efficientad.modeling.patch_embedding import cells
from efficientad.patchcore.patchcore_detector import PatchCore

DIMENSIONS = 100  # D of PaDiM, published for its smaller network
RIDGE = 0.01  # added to the diagonal of each covariance, as published
VARIANCE = 0.95  # share that the principal components explain


class FeatureModel(Protocol):
    """What good features look like."""

    def distances(self, vectors: Tensor) -> Tensor:
        """How far (P,) vectors (P, C) of an image are from that."""
        ...


class GaussianPerPlace:
    """PaDiM: Mahalanobis distance to the Gaussian of each place.

    Args:
        images: vectors (P, C) of each good image, all of the same P.
        dimensions: D, channels that are drawn at random.
        seed: of the drawing.
    Raises:
        ValueError: fewer than two images.
    Source: Defard et al., PaDiM, ICPR Workshops 2021.
    """

    def __init__(self, images: Iterable[Tensor], dimensions: int = DIMENSIONS, seed: int = 0):
        count, self.chosen = 0, torch.zeros(0, dtype=torch.long)
        first, total, products = torch.zeros(0), torch.zeros(0), torch.zeros(0)
        for vectors in images:
            if not count:
                order = torch.randperm(vectors.shape[1], generator=torch.Generator().manual_seed(seed))
                self.chosen = order[:dimensions].sort().values
                first = vectors[:, self.chosen].double()
                total, products = torch.zeros_like(first), first.new_zeros(*first.shape, first.shape[1])
            # Less the first image, so that little is lost where means are large.
            shifted = vectors[:, self.chosen].double() - first
            total += shifted
            products += shifted[:, :, None] * shifted[:, None, :]
            count += 1
        if count < 2:
            raise ValueError(f"a Gaussian at each place needs 2 images or more, there are {count}")
        self.mean = (first + total / count).float()
        products -= total[:, :, None] * total[:, None, :] / count
        products /= count - 1
        products.diagonal(dim1=1, dim2=2).add_(RIDGE)
        # x^T S^-1 x = |L^-1 x|^2 with S = L L^T
        self.factor = torch.linalg.cholesky(products).float()  # (P, D, D)

    def distances(self, vectors: Tensor) -> Tensor:
        difference = (vectors[:, self.chosen] - self.mean)[..., None]
        return torch.linalg.solve_triangular(self.factor, difference, upper=False)[..., 0].norm(dim=1)


class PrincipalComponents:
    """PCA: what the principal components of good vectors of all places leave of a vector.

    Args:
        images: vectors (P, C) of each good image.
        variance: share that the components explain.
    Raises:
        ValueError: no vector.
    """

    def __init__(self, images: Iterable[Tensor], variance: float = VARIANCE):
        count, first = 0, torch.zeros(0)
        total, products = torch.zeros(0), torch.zeros(0)
        for vectors in images:
            if not count:
                first = vectors.double().mean(0)
                total, products = torch.zeros_like(first), first.new_zeros(len(first), len(first))
            shifted = vectors.double() - first
            total += shifted.sum(0)
            products += shifted.T @ shifted
            count += len(vectors)
        if not count:
            raise ValueError("a PCA needs vectors: are there images?")
        self.mean = (first + total / count).float()
        values, components = torch.linalg.eigh(products / count - torch.outer(total, total) / count**2)
        explained = values.flip(0).clamp(min=0).cumsum(0) / values.clamp(min=0).sum().clamp(min=1e-30)
        kept = int((explained < variance).sum()) + 1
        self.components = components.flip(1)[:, :kept].float()  # (C, D)

    def distances(self, vectors: Tensor) -> Tensor:
        difference = vectors - self.mean
        return (difference - difference @ self.components @ self.components.T).norm(dim=1)


FEATURE_MODELS: dict[str, Callable[[Iterable[Tensor], int], FeatureModel]] = {
    "padim": lambda images, seed: GaussianPerPlace(images, seed=seed),
    "pca": lambda images, seed: PrincipalComponents(images),
}


class FeatureModelDetector(BaselineDetector):
    """Detectron2's contract of a detector around a model of features.

    Args:
        patchcore: whose extractor, averaging and smoothing are used; no bank of it.
        model: of its vectors.
    """

    def __init__(self, patchcore: PatchCore, model: FeatureModel):
        super().__init__()
        self.patchcore, self.model = patchcore, model

    def detect(self, entry: dict) -> tuple[Tensor, Tensor]:
        embedding = self.patchcore.embed(self.patchcore.preprocess([entry]))[0]
        distances = self.model.distances(cells(embedding))
        anomaly_map = self.patchcore.anomaly_map(distances.view(embedding.shape[-2:]), entry)
        return anomaly_map, anomaly_map.max()


@torch.no_grad()
def build_feature_baseline(cfg: CfgNode, patchcore: PatchCore, kind: str) -> FeatureModelDetector:
    """A baseline fitted to the training images, its threshold from the validation images.

    Args:
        cfg: of PatchCore.
        patchcore: of that config, without a bank.
        kind: of `FEATURE_MODELS`.
    """
    node = cfg.MODEL.PATCHCORE
    patchcore.extractor = build_extractor(node.FEATURES, node.FEATURE_WEIGHTS, tuple(node.LAYERS))

    def vectors() -> Iterator[Tensor]:
        entry: Entry
        for entry in images_of(DatasetImages(cfg, cfg.DATASETS.TRAIN), kind):
            yield patchcore.vectors_of(entry)

    detector = FeatureModelDetector(patchcore, FEATURE_MODELS[kind](vectors(), cfg.SEED)).eval()
    detector.take_threshold(cfg, node.CALIBRATION.FALSE_POSITIVE_RATE)
    return detector
