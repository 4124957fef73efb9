"""A logical form said in words, and said again for the mirrored picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.utils.errors import DataError
from mono3dvg.language.chinese import Chinese
from mono3dvg.language.english import English
from mono3dvg.language.logical_forms import mirror, to_form
from mono3dvg.language.paraphrases import Chooser

LANGUAGES = {"en": English, "zh": Chinese}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what is needed to say it again: `choices` are `many` of `say`, then its wordings."""

    text: str
    language: str
    choices: tuple[int, ...]
    held_out: bool


def say(form: tuple, language: str, many: int, rng: np.random.Generator, wordings: str = "seen") -> Sentence:
    """Put a form into words.

    Args:
        many: 1 says a plain set in the plural ("all cars"), 0 in the singular ("the car"); in a union bit 0 is for its
            first part, bit 1 for its second. Other phrases tell their number themselves.
        wordings: "seen" (for training and test) or "held_out" (for test only), see `wording`.
    Raises:
        ValueError: unknown language or wordings.
    """
    chooser = Chooser(rng, wordings)
    text = _writer(language)(chooser).sentence(form, many)
    return Sentence(text, language, (many, *chooser.choices), chooser.num_held_out > 0)


def say_again(form: Sequence, language: str, choices: Sequence[int]) -> str:
    """The sentence of a form with the wordings of `choices`.

    Raises:
        ValueError: no form, unknown language, or choices of another form.
    """
    if not choices:
        raise DataError("choices are missing: they are needed to say a form again")
    chooser = Chooser(None, choices=choices[1:])
    return _writer(language)(chooser).sentence(to_form(form), choices[0])


def say_mirrored(form: Sequence, language: str, choices: Sequence[int]) -> str:
    """The sentence that means the same objects in the picture flipped left to right, in the same words otherwise."""
    return say_again(mirror(to_form(form)), language, choices)


def _writer(language: str):
    if language not in LANGUAGES:
        raise DataError(f"language {language!r}: choose one of {', '.join(LANGUAGES)}")
    return LANGUAGES[language]
