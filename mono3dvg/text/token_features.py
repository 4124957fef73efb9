"""The words of sentences as the network passes them on.

Letters: N sentences, T words of the longest (tokens of the tokenizer without its special ones), D channels.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_FIGURES = re.compile(r"\d+(?:\.\d+)?")


@dataclass
class Words:
    """Words of N sentences, each filled up to T.

    Attributes:
        features: (N, T, D), zero where `mask` is False.
        mask: (N, T) bool, True for words; each sentence has at least one, and they come first.
        tokens: per sentence its words as they stand in the text.
        spans: per sentence and word the half-open range of characters in the text, for drawing.
        numbers: (N, T) logarithm of the number in figures that a word is a part of, NaN for other words.
        relevance: (N, T) in [0, 1], 0 where `mask` is False; None before the text filter.
    """

    features: Tensor
    mask: Tensor
    tokens: list[list[str]]
    spans: list[list[tuple[int, int]]]
    numbers: Tensor
    relevance: Tensor | None = None

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.tokens)

    def relevances(self) -> list[list[float]] | None:
        """Per sentence the relevance of each of its words, for drawing."""
        if self.relevance is None:
            return None
        rows = self.relevance.detach().float().cpu().tolist()
        return [row[: len(tokens)] for row, tokens in zip(rows, self.tokens, strict=True)]


def log_numbers(text: str, spans: Sequence[tuple[int, int]]) -> list[float]:
    """Of each word, a half-open range of characters, the logarithm of the number in figures that it touches, else NaN.

    Figures may be any decimal digits of Unicode; 0 has no logarithm and counts as none.
    """
    found = [(m.start(), m.end(), float(m.group())) for m in _FIGURES.finditer(text)]
    logs = [(start, end, math.log(value)) for start, end, value in found if 0 < value < math.inf]
    return [next((log for a, b, log in logs if a < end and start < b), math.nan) for start, end in spans]
