"""Sentences about scenes: logical forms, what they mean, how they are said. Pure NumPy.

forms       what can be said           predicates, meaning   what it refers to, in three truth values
scene       what it is said of         english, chinese      how it is said; wording: which words, which held out
sampler     forms that fit a scene     generator             sentences with exact targets for a data set
parts       what the parts of a form say of each object; looks: what can be seen of an object by itself
unknown     words that nobody knows, for training
"""

from mono3dvg.language.attributes import LOOKS, looks_of
from mono3dvg.language.form_parts import explain
from mono3dvg.language.labelled_scene import Scene, scene_of
from mono3dvg.language.logical_forms import mirror, to_form, to_json
from mono3dvg.language.realization import LANGUAGES, Sentence, say, say_again, say_mirrored
from mono3dvg.language.semantics import Meaning, evaluate
from mono3dvg.language.sentence_generator import Recipe, generate_sentences
from mono3dvg.language.unknown_words import with_unknown_words

__all__ = [
    "LANGUAGES",
    "LOOKS",
    "Meaning",
    "Recipe",
    "Scene",
    "Sentence",
    "evaluate",
    "explain",
    "generate_sentences",
    "looks_of",
    "mirror",
    "say",
    "say_again",
    "say_mirrored",
    "scene_of",
    "to_form",
    "to_json",
    "with_unknown_words",
]
