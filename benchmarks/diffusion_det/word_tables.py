"""The table of the words benchmark out of its records."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import harmonic_mean, mean
from typing import Any

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.common.trainings import Schedule
from benchmarks.diffusion_det.word_pairs import FOLDS
from benchmarks.diffusion_det.word_scores import GROUPS, SYNONYMS

SCHEDULES = {
    "short": Schedule("words_as_classes", "configs/diffusion_det/toy_roadside/words.yaml"),
    "long": Schedule("words_as_classes_long", "configs/diffusion_det/toy_roadside/words_long.yaml"),
}
PAIRS = (
    "AP50, mean over pairs, in percent: of the pairs that a fold sees and of those that it does not, by their own "
    "words. Beside them the unseen ones by a training on all pairs; by a detector of types alone, whose detections "
    "stand for every colour; by the shipped detector of types in groups, from which all start; "
    "and by the seen name whose text embedding is nearest."
)
PAIR_COLUMNS = (
    "seen",
    "unseen",
    "harmonic mean",
    "trained on all",
    "types alone",
    "types in groups",
    "nearest seen name",
)
OTHER_WORDS = (
    f"AP50 of the pairs of {' and '.join(SYNONYMS)}, found by their names, and by {' and '.join(SYNONYMS.values())} in "
    "their place."
)
ABSENT = (
    "Share of test views without a detection, mean over words, at the score that keeps 80 % of the seen pairs' objects "
    "that are found at all on validation views; and the recall of seen pairs at that score."
)
ABSENT_COLUMNS = ("recall of seen pairs", "things of no road", "vehicles that are never rendered")


def write_table(seed: int, schedule: str = "short") -> Path:
    """table.md of a schedule, from its records of a seed."""
    bench = SCHEDULES[schedule].bench
    arms = (*(f"fold{fold}" for fold in range(1, FOLDS + 1)), "all", "types", GROUPS)
    records = {arm: read_record(bench, f"seed{seed}/{arm}") for arm in arms}
    found = {arm: record["metrics"] for arm, record in records.items() if record}
    folds = {arm: metrics for arm, metrics in found.items() if arm.startswith("fold")}
    others = [found.get(arm) for arm in ("all", "types", GROUPS)]
    pairs = [pair_row(arm, metrics, others) for arm, metrics in folds.items()]
    renamed = [other_row(arm, metrics) for arm, metrics in found.items() if "ap50_other_words" in metrics]
    absent = [absent_row(arm, metrics) for arm, metrics in found.items() if "threshold" in metrics]
    sections = [
        table("Pairs", PAIRS, ["fold", "unseen pairs", *PAIR_COLUMNS], pairs),
        table("Words of no training", OTHER_WORDS, ["arm", "by name", "by the other word"], renamed),
        table("Words for what is absent", ABSENT, ["arm", "score", *ABSENT_COLUMNS], absent),
    ]
    return write_page(RESULTS / bench / "table.md", sections)


def pair_row(arm: str, metrics: Mapping[str, Any], others: Iterable[Mapping[str, Any] | None]) -> list[str]:
    """A fold: means over its seen and unseen pairs, beside those of others on the unseen ones."""
    unseen = metrics["nearest_seen"]
    own = mean_of(metrics["ap50"], unseen)
    seen = mean_of(metrics["ap50"], [name for name in metrics["ap50"] if name not in unseen])
    theirs = [mean_of(other["ap50"], unseen) if other else None for other in others]
    figures = [seen, own, harmonic_mean([seen, own]), *theirs, mean_of(metrics["ap50_nearest_seen"], unseen)]
    return [arm, str(len(unseen)), *("" if figure is None else f"{figure:.1f}" for figure in figures)]


def other_row(arm: str, metrics: Mapping[str, Any]) -> list[str]:
    """Pairs whose type has another word, by both."""
    names = [name for name in metrics["ap50"] if name.rpartition(" ")[2] in SYNONYMS]
    return [arm, *(f"{mean_of(metrics[key], names):.1f}" for key in ("ap50", "ap50_other_words"))]


def absent_row(arm: str, metrics: Mapping[str, Any]) -> list[str]:
    """Views without a detection of what is not there."""
    shares = [metrics[key] for key in ("no_detection_things", "no_detection_vehicles")]
    figures = [metrics["recall_at_threshold"], *(mean(share.values()) for share in shares)]
    return [arm, f"{metrics['threshold']:.3f}", *(f"{100 * figure:.1f} %" for figure in figures)]


def mean_of(values: Mapping[str, float], names: Iterable[str]) -> float:
    """Mean over names."""
    return mean(values[name] for name in names)
