"""Augmentation with out-of-vocabulary words: who has to read them learns to go by the others.

Trained on a few paraphrases alone, an encoder from scratch takes every new word for something it has learned to heed.
"""

from typing import Any

import numpy as np

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwyz", "aeiou"


def with_unknown_words(text: str, share: float, random: Any = np.random) -> str:
    """A sentence with made-up words: before each word at random (`share`), or in its place (half of `share`).

    Words with figures stay.

    Args:
        text: words with blanks between them.
        random: draws; numpy's global state, or a RandomState.
    """
    words = []
    for word in text.split(" "):
        if random.rand() < share:
            words.append(made_up_word(random))
        known = random.rand() >= share / 2 or any(c.isdigit() for c in word)
        words.append(word if known else made_up_word(random))
    return " ".join(words)


def made_up_word(random: Any) -> str:
    """One to three syllables."""
    syllables = [
        random.choice(list(_CONSONANTS)) + random.choice(list(_VOWELS)) + random.choice(["", *_CONSONANTS])
        for _ in range(random.randint(1, 4))
    ]
    return "".join(syllables)
