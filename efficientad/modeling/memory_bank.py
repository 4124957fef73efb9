"""Memory bank (PatchCore): anomaly maps by distances to the nearest features that good images have shown.

What a student and an autoencoder learn has to be worth more than this, which learns nothing. Letters: M vectors of the
bank, N of an image, C channels, h x w cells.

Source: Roth et al., PatchCore, CVPR 2022; which vectors are kept is `efficientad.modeling.coreset`.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError, ConfigError, DataError
from efficientad.modeling.nearest_neighbours import NeighbourSearch

PRECISIONS = ("fp32", "int8")
NEIGHBOURS = 9  # of the published reweighting
LEVELS = 127  # largest code of int8


class MemoryBank:
    """Features of good images, a bounded number of them.

    Its state is in plain tensors (`state`, `from_state`), so that a module can keep it in buffers.

    Args:
        vectors: (M, C).
        precision: "fp32", or "int8" for vectors in a quarter of the memory: codes times a scale for each channel. A
            distance then is that to the nearest decoded vector, and differs from fp32's by at most `rounding`.
        images: (M,) number of the image that a vector is of, where single images are to be left out.
        search: how neighbours are found, see `NeighbourSearch`; the results are the same.
    Raises:
        DataError: no vector. CheckpointError: some are not finite. ConfigError: an unknown precision or search.
        ImportError: "integer" without onnx and onnxruntime.
        ValueError: `images` of another length.
    """

    def __init__(self, vectors: Tensor, precision: str = "fp32", images: Tensor | None = None, search: str = "auto"):
        if vectors.ndim != 2 or not len(vectors):
            raise DataError(f"a memory bank needs vectors (M, C), got {tuple(vectors.shape)}: are there images?")
        if not bool(torch.isfinite(vectors).all()):
            raise CheckpointError(
                "a memory bank cannot hold features that are NaN or infinite; check the teacher's weights"
            )
        if precision not in PRECISIONS:
            raise ConfigError(f"a memory bank of precision {precision!r}: choose {' or '.join(PRECISIONS)}")
        if precision == "int8":
            state = quantize(vectors.float())
        else:
            state = {"vectors": vectors.float()}
        self._set(state | ({} if images is None else {"images": images}), search)

    def _set(self, state: Mapping[str, Tensor], search: str) -> None:
        self._state = dict(state)
        self.precision = "int8" if "codes" in state else "fp32"
        self.images = self._state.get("images")
        if self.images is not None and self.images.shape != (len(self),):
            raise ValueError(f"{len(self)} vectors are of {tuple(self.images.shape)} images: expected one for each")
        self._search = NeighbourSearch(self.vectors, self._lookup, search)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], search: str = "auto") -> "MemoryBank":
        """The bank whose `state` this is, without a rounding of its own."""
        bank = cls.__new__(cls)
        bank._set(state, search)
        return bank

    def state(self) -> dict[str, Tensor]:
        """All that makes the bank: "vectors" (M, C), or those of `quantize`; "images" (M,) if they are known."""
        return dict(self._state)

    @classmethod
    def from_maps(cls, maps: Iterable[Tensor], count: int, size: int, seed: int = 0) -> "MemoryBank":
        """Draw `size` places at random, as many of each image, without keeping the maps.

        Args:
            maps: (C, h, w) of each image.
            count: number of images, which decides how many places each gives.
            size: M; all places are taken where there are fewer.
            seed: of the drawing.
        Raises:
            ValueError: there are more or fewer maps than `count`, or none.
        """
        if size < 1:
            raise ValueError(f"a memory bank of {size} vectors: choose at least 1, better 20000")
        generator, parts = torch.Generator().manual_seed(seed), []
        for number, features in enumerate(maps):
            if number >= count:
                raise ValueError(f"there are more than {count} maps for the memory bank")
            cells = features.flatten(1).T  # (h * w, C)
            share = size * (number + 1) // count - size * number // count
            chosen = torch.randperm(len(cells), generator=generator)[:share]
            parts.append(cells[chosen.to(cells.device)].clone())
        if len(parts) < count:
            raise ValueError(f"there are {len(parts)} maps for the memory bank, {count} were announced")
        return cls(torch.cat(parts) if parts else torch.zeros(0, 1))

    def __len__(self) -> int:
        return len(self._state["vectors" if "vectors" in self._state else "codes"])

    @property
    def vectors(self) -> Tensor:
        """(M, C) float32; of an int8 bank the decoded ones."""
        if "vectors" in self._state:
            return self._state["vectors"]
        return self._state["codes"] * self._state["scales"] + self._state["offsets"]

    def _lookup(self, positions: Tensor) -> Tensor:
        if "vectors" in self._state:
            return self._state["vectors"].index_select(0, positions)
        return self._state["codes"].index_select(0, positions) * self._state["scales"] + self._state["offsets"]

    @property
    def rounding(self) -> float:
        """Largest difference of a distance to that of the vectors before they were rounded to int8; 0 for fp32."""
        return 0.0 if "vectors" in self._state else float(self._state["scales"].norm() / 2)

    @torch.no_grad()
    def nearest(self, features: Tensor, k: int = 1, without_image: int | None = None) -> tuple[Tensor, Tensor]:
        """Distances (N, k), smallest first, and positions (N, k) of the nearest vectors of features (N, C).

        Distances are lengths of float32 differences, exactly 0 for a vector of the bank; equal ones are in order of
        positions.

        Args:
            without_image: vectors of this image do not count, as if the bank had been made without it.
        Raises:
            ValueError: another number of channels, or fewer than k vectors.
        """
        channels = self._search.channels
        if features.ndim != 2 or features.shape[1] != channels:
            raise ValueError(
                f"features are {tuple(features.shape)}, the bank's vectors have {channels} channels: both "
                "must come from the same teacher"
            )
        excluded, left = None, len(self)
        if without_image is not None:
            if self.images is None:
                raise ValueError("this memory bank does not know which images its vectors are of: give `images`")
            excluded = self.images == without_image
            left -= int(excluded.sum())
        if not 1 <= k <= left:
            raise ValueError(f"{k} nearest neighbours among {left} vectors: choose 1 to {left}")
        return self._search.nearest(features.float(), k, excluded)

    def distances(self, features: Tensor, without_image: int | None = None) -> Tensor:
        """Euclidean distance (N,) of vectors (N, C) to their nearest neighbour in the bank; see `nearest`."""
        return self.nearest(features, 1, without_image)[0][:, 0]

    def distance_map(self, features: Tensor) -> Tensor:
        """Distances (h, w) of a feature map (C, h, w)."""
        return self.distances(features.flatten(1).T).view(features.shape[-2:])

    @torch.no_grad()
    def image_score(
        self, features: Tensor, distances: Tensor, neighbours: int = NEIGHBOURS, without_image: int | None = None
    ) -> Tensor:
        """Anomaly score of an image, a scalar: its largest distance, less where the bank's next vectors are as far.

        With x the vector of the largest distance s, m its nearest in the bank and m_1 = m, ..., m_b the b vectors of
        the bank nearest to m, the score is s (1 - exp |x - m| / sum_i exp |x - m_i|).

        Args:
            features: (N, C) of one image; distances: (N,) of them.
            neighbours: b; 1 for the largest distance itself. All vectors are taken where there are fewer.
            without_image: as for `nearest`.
        Source: Roth et al., PatchCore, CVPR 2022, Eq. 7. Differs: none.
        """
        farthest = int(distances.argmax())
        score = distances[farthest]
        if neighbours == 1:
            return score
        x = features[farthest : farthest + 1].float()
        nearest = self._lookup(self.nearest(x, 1, without_image)[1][0])
        left = len(self) if without_image is None or self.images is None else int((self.images != without_image).sum())
        around = self.nearest(nearest, min(neighbours, left), without_image)[1][0]
        to_x = (self._lookup(around) - x).norm(dim=1)  # (b,)
        return score * (1 - to_x.softmax(0)[0])


def quantize(vectors: Tensor) -> dict[str, Tensor]:
    """Vectors (M, C) in 8 bits, codes * scales + offsets: "codes" int8 (M, C), "scales" (C,), "offsets" (C,).

    The largest and smallest number of each channel are codes 127 and -127; the error is half a scale at most.
    """
    low, high = vectors.aminmax(dim=0)
    offsets, scales = (low + high) / 2, (high - low) / (2 * LEVELS)
    codes = ((vectors - offsets) / scales.clamp(min=torch.finfo(torch.float32).tiny)).round().clamp(-LEVELS, LEVELS)
    return {"codes": codes.to(torch.int8), "scales": scales, "offsets": offsets}
