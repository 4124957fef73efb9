"""Grammar for surface realization, the part that languages share: phrases about lanes, distances, other objects."""

from collections.abc import Mapping, Sequence

from mono3dvg.language.logical_forms import RELATIONS
from mono3dvg.language.paraphrases import ParaphraseChooser


class Grammar:
    """Realizes one form; a new one for each sentence.

    A language gives its tables of paraphrases and the two methods below.
    """

    ordinals: Sequence[str]
    lane: Sequence[str]  # {o} ordinal, {n} number
    distances: Mapping[str, Sequence[str]]  # {d}
    units: Mapping[str, Sequence[str]]  # {v}
    related: Mapping[str, Sequence[str]]  # {a} anchor
    between: Sequence[str]  # {a} {b}

    def __init__(self, chooser: ParaphraseChooser):
        self.pick = chooser.pick

    def sentence(self, form: tuple, many: int) -> str:
        """The whole sentence; see `realization.realize`."""
        raise NotImplementedError

    def phrase(self, form: tuple, many: int) -> str:
        """A noun phrase."""
        raise NotImplementedError

    def circumstance(self, form: tuple, be: str = "") -> str | None:
        """A predicate that takes a number or other objects in words; None for other predicates.

        Args:
            be: the verb of a relative clause, where the language has it.
        """
        op, *parts = form
        if op == "lane":
            return self.pick(self.lane).format(o=self.ordinals[parts[0] - 1], n=parts[0], be=be)
        if op == "distance":
            amount = self.pick(self.units[parts[2]]).format(v=f"{parts[1]:g}")
            return self.pick(self.distances[parts[0]]).format(d=amount, be=be)
        if op == "between":
            paraphrase = self.pick(self.between)
            return paraphrase.format(a=self.phrase(parts[0], 0), b=self.phrase(parts[1], 0), be=be)
        if op in RELATIONS:
            return self.pick(self.related[op]).format(a=self.phrase(parts[0], 0), be=be)
        return None
