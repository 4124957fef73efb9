"""Further paraphrases of a language, for training alone: read from a file beside this one, marked with "+"."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files

_OPPOSITE = {"left": "right", "right": "left"}


class Variety:
    """Paraphrases for training by the key of `<language>_variety.json`.

    Their author knew what each is to mean and the wordings of the generator that are not held out, and not those that
    are; what held a held-out wording all the same was taken out.
    """

    def __init__(self, language: str):
        text = files("mono3dvg.language").joinpath(f"{language}_variety.json").read_text(encoding="utf-8")
        self.by_key: dict[str, list[str]] = json.loads(text)

    def add(self, key: str, paraphrases: Sequence[str]) -> list[str]:
        """The given paraphrases and, marked, those of the key if it has any; in the mirror those of `left` for `right`.

        A flip exchanges left and right and keeps the place in the list, so that these lists must be alike.
        """
        if "right" in key:
            return [*paraphrases, *(f"+{mirror_words(text)}" for text in self.by_key[key.replace("right", "left")])]
        return [*paraphrases, *(f"+{text}" for text in self.by_key.get(key, ()))]


def mirror_words(text: str) -> str:
    """Left for right and right for left, also within words."""
    return re.sub("left|right", lambda match: _OPPOSITE[match.group()], text)
