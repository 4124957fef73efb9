"""Sets of candidates of the same images and sentences, such as labelled objects and detected peaks, side by side.

A set more costs no launches more: the sets are filled up to one number of candidates, which changes nothing of what the
relation layer says of the others, and stand one after the other as if they were of more images and sentences.

Letters: B images, N sentences, K candidates, Z sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mono3dvg.detection.candidates import Candidates
from mono3dvg.text.text_features import TextFeatures


@dataclass
class CandidateSets:
    """Z sets of candidates of B images: candidates (Z * B, K), set by set; image_of (Z * B,), the image of each row."""

    candidates: Candidates
    image_of: Tensor
    number: int

    @staticmethod
    def of(sets: Sequence[Candidates]) -> "CandidateSets":
        """Sets (B, K_z) each, filled up with what is not valid."""
        most = max(one.cells.shape[1] for one in sets)
        batch, device = len(sets[0].cells), sets[0].cells.device
        joined = sets[0] if len(sets) == 1 else Candidates.cat([_filled_up(one, most) for one in sets])
        return CandidateSets(joined, torch.arange(batch, device=device).repeat(len(sets)), len(sets))

    def rows_of(self, image_of: Tensor) -> Tensor:
        """(Z * N,) the row of candidates of each sentence of each set, from the images (N,) of the sentences."""
        start = torch.arange(self.number, device=image_of.device) * (len(self.image_of) // self.number)
        return (start[:, None] + image_of).flatten()


def _filled_up(candidates: Candidates, count: int) -> Candidates:
    missing = count - candidates.cells.shape[1]
    return candidates.map(lambda value: F.pad(value, (0, 0) * (value.ndim - 2) + (0, missing)) if missing else value)


def repeat_sentences(text: TextFeatures, times: int) -> TextFeatures:
    """The features of N sentences so many times one after the other, (times * N, T, ...)."""
    if times == 1:
        return text
    words, mask, numbers = (torch.cat(times * [part]) for part in (text.features, text.mask, text.numbers))
    return replace(text, features=words, mask=mask, numbers=numbers, relevance=None)
