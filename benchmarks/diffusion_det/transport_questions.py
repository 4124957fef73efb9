"""The questions of the benchmark of transports as paired comparisons of rows, and their answers in words.

A comparison is fixed here before any result; which word it gets depends on whether its interval excludes 0.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.diffusion_det.transport_evaluation import BOXES, COMPARED_STEPS, SOLVER_BOXES
from benchmarks.diffusion_det.transport_variants import QUERIES, TRAININGS, solvers_of

STEPS = COMPARED_STEPS  # of the comparisons that need several


class Arm(NamedTuple):
    """A row of a trained model: training, row, and "last" or "union" of its steps."""

    variant: str
    row: str
    kind: str = "union"


@dataclass(frozen=True)
class Comparison:
    """b - a in AP, or the same at `few` boxes less that at many.

    Args:
        question: key of QUESTIONS; claim: what is compared, the same for all numbers of boxes.
        boxes: of the row, as text.
        terms: arms with their signs.
    """

    question: str
    claim: str
    boxes: str
    terms: tuple[tuple[int, Arm], ...]

    @property
    def key(self) -> str:
        """Name in the record of differences."""
        return f"{self.question}: {self.claim}, {self.boxes}"


QUESTIONS = {
    "steps": "Do denoising steps help beyond an ensemble?",
    "flow": "Does flow beat diffusion, and most where boxes are few?",
    "queries": "Does either beat learned queries at equal compute?",
    "grid": "Does either beat fixed boxes at equal compute?",
    "choices": "Which choice of the flow matters?",
    "solvers": "Which solver is best on the same weights?",
}
OWN = {"diffusion": "ddim", "flow": "euler"}


def comparisons() -> list[Comparison]:
    """All of them, question by question."""
    return [*_of_steps(), *_of_flow(), *_of_queries(), *_of_grids(), *_of_choices(), *_of_solvers()]


def _pair(question: str, claim: str, boxes: int, a: Arm, b: Arm) -> Comparison:
    return Comparison(question, claim, f"{boxes} boxes", ((1, b), (-1, a)))


def _of_steps() -> Iterator[Comparison]:
    for variant, solver in OWN.items():
        name = f"{STEPS} steps of {variant} ({solver})"
        for n in BOXES:
            row, one = f"{solver}_{STEPS}x{n}", Arm(variant, f"noise_1x{n}")
            restart = Arm(variant, f"restart_{STEPS}x{n}")
            more = Arm(variant, f"noise_1x{STEPS * n}")
            yield _pair("steps", f"{name}, union, against {STEPS} restarts", n, restart, Arm(variant, row))
            yield _pair("steps", f"{name}, union, against one step of {STEPS}N boxes", n, more, Arm(variant, row))
            kept = Arm(variant, f"{solver}_kept_{STEPS}x{n}")
            yield _pair("steps", f"{name}, union, no box drawn anew, against {STEPS} restarts", n, restart, kept)
            yield _pair("steps", f"{name}, last step alone, against one step", n, one, Arm(variant, row, "last"))
            last = kept._replace(kind="last")
            yield _pair("steps", f"{name}, last step alone, no box drawn anew, against one step", n, one, last)


def _of_flow() -> Iterator[Comparison]:
    ways = {
        "one step": ("noise_1x{n}", "noise_1x{n}", "union"),
        f"union of {STEPS} steps": (f"ddim_{STEPS}x{{n}}", f"euler_{STEPS}x{{n}}", "union"),
        f"last of {STEPS} steps": (f"ddim_{STEPS}x{{n}}", f"euler_{STEPS}x{{n}}", "last"),
    }
    for way, (diffusion, flow, kind) in ways.items():
        every = []
        for n in BOXES:
            a, b = Arm("diffusion", diffusion.format(n=n), kind), Arm("flow", flow.format(n=n), kind)
            every.append(_pair("flow", f"flow against diffusion, {way}", n, a, b))
            yield every[-1]
        few, many = every[1], every[-2]
        terms = (*few.terms, *((-sign, arm) for sign, arm in many.terms))
        yield Comparison("flow", f"the gain of flow, {way}, at few boxes less that at many",
                         f"{BOXES[1]} and {BOXES[-2]} boxes", terms)  # fmt: skip


def equal_compute(boxes: int, solver: str) -> Iterator[tuple[str, str]]:
    """(words, row) of every setting that runs `boxes` boxes through the decoder in all."""
    yield "one step", f"noise_1x{boxes}"
    for steps in (2, 4):
        if boxes % steps == 0 and boxes // steps in BOXES:
            yield f"{steps} steps of 1/{steps} the boxes, union", f"{solver}_{steps}x{boxes // steps}"


def _of_queries() -> Iterator[Comparison]:
    for queries, count in QUERIES.items():
        for variant, solver in OWN.items():
            for words, row in equal_compute(count, solver):
                a = Arm(queries, f"queries_1x{count}")
                yield _pair("queries", f"{variant}, {words}, against learned queries", count, a, Arm(variant, row))


def _of_grids() -> Iterator[Comparison]:
    for start in ("grid", "sobol"):
        for variant, solver in OWN.items():
            for n in BOXES:
                for words, row in equal_compute(n, solver):
                    claim = f"{variant}, {words}, against {start} boxes on the same weights"
                    yield _pair("grid", claim, n, Arm(variant, f"{start}_1x{n}"), Arm(variant, row))


def _of_choices() -> Iterator[Comparison]:
    for variant in TRAININGS:
        if variant.startswith("flow_"):
            for words, row in (("one step", "noise_1x"), (f"union of {STEPS} steps", f"euler_{STEPS}x")):
                for n in BOXES:
                    a, b = (Arm(name, f"{row}{n}") for name in ("flow", variant))
                    yield _pair("choices", f"{variant} against flow, {words}", n, a, b)


def _of_solvers() -> Iterator[Comparison]:
    for variant in OWN:
        own, *others = solvers_of(variant)
        for solver in others:
            for n in SOLVER_BOXES:
                a, b = (Arm(variant, f"{name}_{STEPS}x{n}") for name in (own, solver))
                yield _pair("solvers", f"{variant}: {solver} against {own}, union of {STEPS} steps", n, a, b)


WORDS = ("better", "worse", "no difference shown")


def word(interval: Mapping[str, Any]) -> str:
    """What an interval says."""
    return WORDS[0] if interval["low"] > 0 else WORDS[1] if interval["high"] < 0 else WORDS[2]


def verdicts(question: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What all intervals of a question say together, then a sentence for each claim; nothing without intervals.

    Args:
        found: intervals by key of the comparison.
    """
    by_claim: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for one in comparisons():
        if one.question == question and one.key in found:
            by_claim.setdefault(one.claim, []).append((one.boxes, found[one.key]))
    if not by_claim:
        return []
    words = Counter(word(interval) for rows in by_claim.values() for _, interval in rows)
    said = ", ".join(f"{words[name]} {name}" for name in WORDS)
    total = f"{words.total()} comparison{'s' * (words.total() != 1)}"
    return [f"Of {total}: {said}.", *(_sentence(claim, rows) for claim, rows in by_claim.items())]


def _sentence(claim: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    at: dict[str, list[str]] = {}
    for boxes, interval in rows:
        at.setdefault(word(interval), []).append(boxes.removesuffix(" boxes"))
    seeds = {interval["seeds"] for _, interval in rows}
    parts = [f"{name} at {', '.join(numbers)} boxes" for name, numbers in at.items()]
    low, high = min(r["difference"] for _, r in rows), max(r["difference"] for _, r in rows)
    span = f"{low:+.1f}" if len(rows) == 1 else f"{low:+.1f} to {high:+.1f}"
    number = "/".join(map(str, sorted(seeds)))
    return f"{claim[0].upper()}{claim[1:]} ({span} AP, {number} seed{'s' * (seeds != {1})}): {'; '.join(parts)}."
