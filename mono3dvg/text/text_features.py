"""Text features: the tokens of sentences as vectors, with where they stand and how much each matters.

Letters: N sentences, T words of the longest (tokens of the tokenizer without its special ones), D channels.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class TextFeatures:
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

    def token_relevance(self) -> list[list[float]] | None:
        """Per sentence the relevance of each of its words, for drawing."""
        if self.relevance is None:
            return None
        rows = self.relevance.detach().float().cpu().tolist()
        return [row[: len(tokens)] for row, tokens in zip(rows, self.tokens, strict=True)]
