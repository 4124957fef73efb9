"""Surface realization: a logical form in words, and in the same words for the mirrored image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.utils.errors import DataError
from mono3dvg.language.chinese import Chinese
from mono3dvg.language.english import English
from mono3dvg.language.grammar import Grammar
from mono3dvg.language.logical_forms import mirror_form, to_form
from mono3dvg.language.paraphrases import ParaphraseChooser

LANGUAGES: dict[str, type[Grammar]] = {"en": English, "zh": Chinese}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what is needed to realize it again: `choices` are `many` of `realize`, then its paraphrases."""

    text: str
    language: str
    choices: tuple[int, ...]
    held_out: bool


def realize(form: tuple, language: str, many: int, rng: np.random.Generator, paraphrases: str = "seen") -> Sentence:
    """Put a form into words.

    Args:
        many: 1 says a plain set in the plural ("all cars"), 0 in the singular ("the car"); in a union bit 0 is for its
            first part, bit 1 for its second. Other phrases tell their number themselves.
        paraphrases: "seen" (for training and test) or "held_out" (for test only), see `paraphrases`.
    Raises:
        DataError: unknown language.
    """
    chooser = ParaphraseChooser(rng, paraphrases)
    text = _grammar_of(language)(chooser).sentence(form, many)
    return Sentence(text, language, (many, *chooser.choices), chooser.num_held_out > 0)


def realize_from(form: Sequence, language: str, choices: Sequence[int]) -> str:
    """The sentence of a form in the paraphrases of `choices`.

    Raises:
        DataError: no form, unknown language, or choices of another form.
    """
    if not choices:
        raise DataError("choices are missing: they are needed to realize a form again")
    chooser = ParaphraseChooser(None, choices=choices[1:])
    return _grammar_of(language)(chooser).sentence(to_form(form), choices[0])


def realize_mirrored(form: Sequence, language: str, choices: Sequence[int]) -> str:
    """The sentence that means the same objects in the image flipped left to right, in the same words otherwise."""
    return realize_from(mirror_form(to_form(form)), language, choices)


def _grammar_of(language: str) -> type[Grammar]:
    if language not in LANGUAGES:
        raise DataError(f"language {language!r}: choose one of {', '.join(LANGUAGES)}")
    return LANGUAGES[language]
