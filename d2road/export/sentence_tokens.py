"""Sentences as the arrays that a grounder takes: tokens, masks, and the numbers in figures.

Letters: N sentences, S tokens of the longest with special ones.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_FIGURES = re.compile(r"\d+(?:\.\d+)?")


def log_numbers(text: str, spans: Sequence[tuple[int, int]]) -> list[float]:
    """Of each word, a half-open range of characters, the logarithm of the number in figures that it touches, else NaN.

    Figures may be any decimal digits of Unicode; 0 has no logarithm and counts as none.
    """
    found = [(m.start(), m.end(), float(m.group())) for m in _FIGURES.finditer(text)]
    logs = [(start, end, math.log(value)) for start, end, value in found if 0 < value < math.inf]
    return [next((log for a, b, log in logs if a < end and start < b), math.nan) for start, end in spans]


def token_arrays(tokenizer: Any, texts: Sequence[str], pad_id: int) -> dict[str, np.ndarray]:
    """Inputs (N, S) of the sentence part, see `mono3dvg.export.parts`.

    Args:
        tokenizer: tokenizers.Tokenizer, which cuts sentences off where they are too long.
        pad_id: token that fills sentences up, to which no attention is paid.
    """
    encodings = tokenizer.encode_batch(list(texts))
    shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
    ids = np.full(shape, pad_id, np.int64)
    attended, special = np.zeros(shape, np.int64), np.ones(shape, np.int64)
    numbers = np.full(shape, np.nan, np.float32)
    for row, (encoding, text) in enumerate(zip(encodings, texts, strict=True)):
        count = len(encoding.ids)
        ids[row, :count], attended[row, :count] = encoding.ids, 1
        special[row, :count] = encoding.special_tokens_mask
        numbers[row, :count] = log_numbers(text, encoding.offsets)
    return {"token_ids": ids, "attention_mask": attended, "special_tokens_mask": special, "log_numbers": numbers}
