"""Checks of sentences: that they are some, and that the tokenizer knows their words."""

import logging

from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

# No sentence is longer; a text that is was put in by mistake. Scripts without spaces count by characters.
MAX_WORDS, MAX_CHARACTERS = 1000, 10_000
# Shares of unknown tokens that are reported and refused, from so many tokens on.
WARNED_SHARE, LARGEST_SHARE, ENOUGH_TOKENS = 0.1, 0.5, 50


class UnknownWords:
    """Counts the tokens of sentences that a tokenizer does not know: it was made for others, or another language.

    Args:
        source: of the encoder, for messages.
    """

    def __init__(self, source: str):
        self.source = source
        self.token: int | None = None
        self.tokens = self.found = 0
        self.is_told = False

    def check(self, ids: list[int], text: str, place: str) -> None:
        """Count a sentence.

        Raises:
            DataError: no word of it is known, or too few of all so far.
        """
        unknown = 0 if self.token is None else ids.count(self.token)
        self.tokens, self.found = self.tokens + len(ids), self.found + unknown
        cure = f"the tokenizer of {self.source!r} is of another language or model: take the encoder that fits"
        if unknown == len(ids):
            raise DataError(f"{place}: no word of {text[:80]!r} is known; {cure}")
        if self.tokens < ENOUGH_TOKENS or self.found <= WARNED_SHARE * self.tokens:
            return
        counts = f"{self.found} of {self.tokens} tokens are unknown"
        if self.found > LARGEST_SHARE * self.tokens:
            raise DataError(f"{place}: {counts} up to {text[:80]!r}; {cure}")
        if not self.is_told:
            self.is_told = True
            logger.warning("%s: %s, as in %r; perhaps %s", place, counts, text[:80], cure)


def check_sentence(text: str, place: str) -> None:
    """Raise ValueError, with its place, for what is no sentence: not text, empty, or beyond any length."""
    if not isinstance(text, str):
        raise DataError(f"{place}: expected text, got {type(text).__name__}")
    if not text.strip():
        raise DataError(f"{place} is empty: expected words that say what to find")
    words = len(text.split())
    if words > MAX_WORDS or len(text) > MAX_CHARACTERS:
        raise DataError(
            f"{place} has {words} words and {len(text)} characters, expected {MAX_WORDS} and {MAX_CHARACTERS} at most: "
            f"shorten it; it begins {text[:40]!r}"
        )
