"""Augmentation with out-of-vocabulary words: who has to read them learns to go by the others.

Trained on a few paraphrases alone, an encoder from scratch takes every new word for something it has learned to heed.
"""

from typing import Any

import numpy as np

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwyz", "aeiou"


def with_unknown_words(text: str, share: float, random: Any = np.random) -> str:
    """A sentence whose words, each by itself, are at random preceded by a made-up one (`share`) or become one (half of
    `share`; words with figures stay).

    Args:
        text: words with blanks between them.
        random: draws; numpy's global state, or a RandomState.
    """
    said = []
    for word in text.split(" "):
        if random.rand() < share:
            said.append(made_up_word(random))
        known = random.rand() >= share / 2 or any(c.isdigit() for c in word)
        said.append(word if known else made_up_word(random))
    return " ".join(said)


def made_up_word(random: Any) -> str:
    """One to three syllables."""
    syllables = [
        random.choice(list(_CONSONANTS)) + random.choice(list(_VOWELS)) + random.choice(["", *_CONSONANTS])
        for _ in range(random.randint(1, 4))
    ]
    return "".join(syllables)
