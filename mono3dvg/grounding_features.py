"""What the grounder has made of the images and of the sentences of a batch.

Letters: B images, N sentences of all of them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from d2road.structures.camera_batch import SceneGeometry
from mono3dvg.detection.dense_head import RawMaps
from mono3dvg.fusion.fusion_neck import Fused
from mono3dvg.text.token_features import Words


@dataclass
class Seen:
    """B images after everything that does not depend on sentences: maps of the backbone, fine to coarse, detections as
    maps, camera and ground, sizes (height, width) without padding, and their colours (B, 3, H, W)
    from 0 to 1."""

    maps: list[Tensor]
    raw: RawMaps
    scene: SceneGeometry
    sizes: list[tuple[int, int]]
    colors: Tensor

    @property
    def map_hw(self) -> tuple[int, int]:
        return tuple(self.maps[0].shape[-2:])

    @property
    def device(self) -> torch.device:
        return self.maps[0].device

    def sizes_hw(self) -> Tensor:
        """(B, 2) of `sizes`."""
        return torch.tensor(self.sizes, dtype=torch.float32, device=self.device)


@dataclass
class Heard:
    """N sentences over their images: fused maps, words, referral logits (N, Hf, Wf) (None with queries)."""

    fused: Fused
    words: Words
    refer: Tensor | None
    image_of: Tensor


def words_of(words: Words, n: int) -> dict[str, Any]:
    """Of sentence `n` words, spans and relevance, as lists."""
    relevance = words.relevances()
    return {
        "words": words.tokens[n],
        "spans": words.spans[n],
        "relevance": relevance[n] if relevance is not None else [1.0] * len(words.tokens[n]),
    }
