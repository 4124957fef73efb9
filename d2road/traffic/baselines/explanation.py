"""Why a window is unusual, in words of traffic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """Rule under which a window is rarest, and the vehicle that is under it.

    rule: its name; words: what the vehicle does; value: of the rule's feature; t, s: where (s, m) the vehicle is in the
    middle of what is seen of it while the window lasts, which may be beyond the window's stretch of road.
    """

    rule: str
    words: str
    vehicle: str
    value: float
    t: float
    s: float

    def __str__(self) -> str:
        return f"vehicle {self.vehicle} {self.words} ({self.rule} {self.value:.3g})"
