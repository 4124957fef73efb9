"""Generation of referring expressions: logical forms, their denotation in a scene, their realization in words. NumPy.

logical_forms   what can be said                 predicates, semantics   denotation, in three-valued (kleene) logic
labelled_scene  what it is said of               grammar, english, chinese, realization   surface realization
form_sampler    forms that fit a scene           paraphrases             which wording of each phrase; some are held out
attributes      attributes of single objects     sentence_generator      sentences with exact targets for a data set
form_parts      truth of each part of a form     unknown_words           augmentation with out-of-vocabulary words
"""

from mono3dvg.language.attributes import ATTRIBUTES, attributes_of
from mono3dvg.language.form_parts import part_truths
from mono3dvg.language.labelled_scene import LabelledScene, build_labelled_scene
from mono3dvg.language.logical_forms import form_to_json, mirror_form, to_form
from mono3dvg.language.realization import LANGUAGES, Sentence, realize, realize_from, realize_mirrored
from mono3dvg.language.semantics import Denotation, interpret
from mono3dvg.language.sentence_generator import Recipe, draw_sentences, generate_sentences
from mono3dvg.language.unknown_words import with_unknown_words

__all__ = [
    "ATTRIBUTES",
    "LANGUAGES",
    "Denotation",
    "LabelledScene",
    "Recipe",
    "Sentence",
    "attributes_of",
    "build_labelled_scene",
    "draw_sentences",
    "form_to_json",
    "generate_sentences",
    "interpret",
    "mirror_form",
    "part_truths",
    "realize",
    "realize_from",
    "realize_mirrored",
    "to_form",
    "with_unknown_words",
]
