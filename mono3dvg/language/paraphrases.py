"""Choice among paraphrases: drawn when a sentence is realized, repeated when it is realized again, some held out.

A paraphrase that begins with "~" is held out: sentences for training never use it, so that sentences with it test
whether a model understands what it was not trained on. One that begins with "+" is for training alone: more ways to say
the same, which neither the sentences of a data set nor its test use.
"""

from collections.abc import Sequence

import numpy as np

from d2road.utils.errors import DataError

MODES = ("seen", "held_out", "varied")
_MARKS = "~+"


class ParaphraseChooser:
    """Picks a paraphrase at each place of a sentence and remembers it.

    Args:
        rng: draws the paraphrases; None repeats `choices`.
        mode: "seen" takes paraphrases without a mark, "held_out" takes held-out ones wherever there are some, "varied"
            takes all but these.
        choices: of an earlier sentence of a form of the same structure.
    Raises:
        ValueError: unknown mode.
    """

    def __init__(self, rng: np.random.Generator | None, mode: str = "seen", choices: Sequence[int] = ()):
        if mode not in MODES:
            raise ValueError(f"paraphrases {mode!r}: choose one of {', '.join(MODES)}")
        self.rng, self.mode = rng, mode
        self._repeated = list(choices)
        self.choices: list[int] = []
        self.num_held_out = 0

    def pick(self, paraphrases: Sequence[str]) -> str:
        """One of the paraphrases, without its mark.

        Raises:
            DataError: the choices to be repeated do not fit the sentence.
        """
        index = self._draw(paraphrases)
        self.choices.append(index)
        text = paraphrases[index]
        self.num_held_out += text.startswith("~")
        return text.lstrip(_MARKS)

    def _draw(self, paraphrases: Sequence[str]) -> int:
        if self.rng is None:
            place = len(self.choices)
            if place >= len(self._repeated) or not 0 <= self._repeated[place] < len(paraphrases):
                raise DataError(
                    f"choices {self._repeated} do not fit this sentence at place {place}: they belong to another form"
                )
            return self._repeated[place]
        marks = [text[:1] if text[:1] in _MARKS else "" for text in paraphrases]
        plain = [i for i, mark in enumerate(marks) if not mark]
        held_out = [i for i, mark in enumerate(marks) if mark == "~"]
        varied = [i for i, mark in enumerate(marks) if mark != "~"]
        pool = varied if self.mode == "varied" else held_out if self.mode == "held_out" and held_out else plain
        return int(pool[self.rng.integers(len(pool))])
