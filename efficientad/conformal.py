"""Conformal thresholds and p-values of anomaly scores: what scores of good images promise of the next good image.

A promise is of the false-positive rate: P(score of a good image > threshold) <= rate, over the draw of the good images
and of the next one together, whatever the distribution, if all of them are exchangeable (drawn at random from the same
production). Of three kinds of scores (Z image, B bank or model):

    split          s(Z; B), B learned from other images       rate, for any score
    leave-one-out  s(Z_i; all others), next image against all rate, for scores that no further image raises (distances
                                                              to the nearest neighbour of all features); else none
    jackknife+     s(Z; all but Z_i) for each i               twice the rate, for any symmetric learning

n images never promise less than 1 / (n + 1). Letters: n calibration images, T tested ones, k rank of the threshold.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (split); Barber, Candes, Ramdas and
Tibshirani, Predictive inference with the jackknife+, 2021 (Theorem 1: twice the rate; section 4: plain leave-one-out
promises nothing in general); Vovk, Conditional validity of inductive conformal predictors, 2012 (the rate given the
calibration images is Beta(n + 1 - k, k)). Leave-one-out by monotony: see `leave_one_out_threshold`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from d2road.utils.errors import CheckpointError, ConfigError, DataError
from d2road.utils.values import as_flag, as_integer, as_number, as_object, as_text, field

SPLIT = "split"
LEAVE_ONE_OUT = "leave-one-out"
JACKKNIFE_PLUS = "jackknife+"
METHODS = (SPLIT, LEAVE_ONE_OUT, JACKKNIFE_PLUS)
NO_GUARANTEE = "without guarantee"  # how `Guarantee.text` begins where nothing is promised
NOT_RANDOM = "the good images to calibrate with are not said to be drawn at random"
NOT_MONOTONE = "leave-one-out scores promise nothing where a further image may raise a score"

Scores = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Guarantee:
    """What a threshold promises.

    Attributes:
        method: one of `METHODS`.
        n: good images that it was calibrated with.
        wanted_rate: false-positive rate that was asked for.
        guaranteed_rate: the least bound that holds, at most `wanted_rate` where n suffices; None for none.
        randomly_drawn: whether the images were drawn at random from what the threshold will meet.
        reason: why there is no guarantee; "" where there is one.
    """

    method: str
    n: int
    wanted_rate: float
    guaranteed_rate: float | None
    randomly_drawn: bool
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether anything is promised."""
        return self.guaranteed_rate is not None

    @property
    def text(self) -> str:
        """In words for those who use the threshold."""
        if self.guaranteed_rate is None:
            return f"{NO_GUARANTEE}: {self.reason}"
        text = (
            f"a good image exceeds it with a probability of at most {self.guaranteed_rate:.3g} "
            f"({self.method}, {self.n} good images drawn at random)"
        )
        if self.guaranteed_rate > self.wanted_rate and self.method != JACKKNIFE_PLUS:
            text += f"; {self.wanted_rate:.3g} takes {images_needed(self.wanted_rate)}"
        return text

    def void(self, reason: str) -> "Guarantee":
        """The same threshold after something that the promise does not survive."""
        return Guarantee(self.method, self.n, self.wanted_rate, None, self.randomly_drawn, reason)

    def to_json(self) -> str:
        """One line of JSON, to be stored; `guarantee_from_json` reads it."""
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True)
class Threshold:
    """A score above which, not at which, an image is anomalous, and what it promises."""

    value: float
    guarantee: Guarantee


def guarantee_from_json(text: str, source: str) -> Guarantee:
    """A guarantee as `Guarantee.to_json` wrote it; `source` is named in messages.

    Raises:
        CheckpointError: it is none.
    """
    try:
        record = as_object(json.loads(text), source)
        rate = record.get("guaranteed_rate")
        return Guarantee(
            method=field(record, "method", as_text, source),
            n=field(record, "n", as_integer, source, 1),
            wanted_rate=field(record, "wanted_rate", as_number, source, 0, 1),
            guaranteed_rate=None if rate is None else as_number(rate, source, 0, 1),
            randomly_drawn=field(record, "randomly_drawn", as_flag, source),
            reason=field(record, "reason", as_text, source),
        )
    except (json.JSONDecodeError, DataError) as error:
        raise CheckpointError(f"{source} is no guarantee of a threshold ({error}): calibrate the model anew") from error


def conformal_rank(n: int, rate: float) -> int:
    """Rank k of the threshold among n scores in rising order: ceil((n + 1) (1 - rate)), n where that is more.

    Raises:
        DataError: no score.
        ConfigError: a rate out of range.
    """
    if n < 1:
        raise DataError("decision threshold: there is no score of a good image")
    if not 0 < rate < 1:
        raise ConfigError(f"false-positive rate is {rate}, expected between 0 and 1")
    # Rounded before the ceiling: 0.95 * 20 is 19.000000000000004 in some orders of multiplication.
    return min(math.ceil(round((1 - rate) * (n + 1), 9)), n)


def achievable_rate(n: int, rate: float) -> float:
    """The least bound that holds for the threshold of n good images: (n + 1 - k) / (n + 1).

    That is `rate` or less if n is at least `images_needed(rate)`, else 1 / (n + 1), of the largest score.
    """
    return (n + 1 - conformal_rank(n, rate)) / (n + 1)


def images_needed(rate: float) -> int:
    """How many good images a threshold for this rate takes: 99 for 0.01."""
    return max(1, math.ceil(round(1 / rate - 1, 9)))


def split_threshold(scores: Scores, rate: float, randomly_drawn: bool) -> Threshold:
    """Split-conformal threshold: the k-th smallest score of good images that the model has not learned from.

    Equal scores only lower the rate, as an image at the threshold is good.

    Args:
        scores: (n,) of held-out good images.
        rate: wanted false-positive rate, between 0 and 1.
        randomly_drawn: whether the images were drawn at random from what the threshold will meet; else nothing is
            promised.
    Raises:
        DataError: no score, or one that is not finite.
        ConfigError: a rate out of range.
    """
    ordered = _ordered(scores)
    rank, n = conformal_rank(len(ordered), rate), len(ordered)
    promised = (n + 1 - rank) / (n + 1) if randomly_drawn else None
    guarantee = Guarantee(SPLIT, n, rate, promised, randomly_drawn, "" if randomly_drawn else NOT_RANDOM)
    return Threshold(float(ordered[rank - 1]), guarantee)


def decision_threshold(scores: Sequence[float], false_positive_rate: float) -> float:
    """A score that good images exceed with at most the given probability, see `split_threshold`.

    That is no longer exact of a detector whose maps these very images normalise: docs/anomaly_thresholds.md.

    Raises:
        ValueError: no score, one that is not finite, or a rate out of range.
    """
    return split_threshold(scores, false_positive_rate, randomly_drawn=True).value


def leave_one_out_threshold(
    scores: Scores, rate: float, randomly_drawn: bool, *, monotone: bool, covering_radius: float = 0.0
) -> Threshold:
    """Threshold from the scores of the bank's own images, each against the features of all the others.

    In general such scores promise nothing. They do for a score that no further image in the bank raises, such as the
    largest distance of an image's features to their nearest neighbours among all features of the bank's images: the
    next image Z_0 is scored against Z_1 ... Z_n. Had every Z_i been scored against all others of Z_0 ... Z_n, the n + 1
    scores would be exchangeable, and those of i > 0 can only be lower than the given ones, which lack Z_0. So the k-th
    smallest of the given ones is exceeded with a probability of at most (n + 1 - k) / (n + 1), without a factor of 2.

    A bank that keeps a part of the features within a distance r of all others adds at most r to any such score, by the
    triangle inequality. The threshold raised by r so keeps the promise, if each given score is that against the vectors
    of the bank that are not the image's own. Features chosen from every image by itself need no r.

    A score that is never above such a one keeps the promise of that one's threshold: PatchCore's reweighted score is
    the largest distance times a factor below 1.

    Args:
        scores: (n,) of the images of the bank.
        rate, randomly_drawn: as of `split_threshold`.
        monotone: whether the score is such a one. A reweighted score is none.
        covering_radius: r, the largest distance of a feature of the images to its nearest vector of the bank.
    Raises:
        DataError, ConfigError: as `split_threshold`; a radius that is negative or not finite.
    """
    if not 0 <= covering_radius < math.inf:
        raise DataError(f"covering radius is {covering_radius}, expected 0 or more")
    plain = split_threshold(scores, rate, randomly_drawn)
    reason = plain.guarantee.reason or ("" if monotone else NOT_MONOTONE)
    promised = None if reason else plain.guarantee.guaranteed_rate
    guarantee = Guarantee(LEAVE_ONE_OUT, plain.guarantee.n, rate, promised, randomly_drawn, reason)
    return Threshold(plain.value + covering_radius, guarantee)


def jackknife_plus_guarantee(n: int, rate: float, randomly_drawn: bool) -> Guarantee:
    """What `jackknife_plus_p_values` at most `rate` promise: twice the rate, and never less than 2 / (n + 1)."""
    promised = min(1.0, 2 * achievable_rate(n, rate)) if randomly_drawn else None
    return Guarantee(JACKKNIFE_PLUS, n, rate, promised, randomly_drawn, "" if randomly_drawn else NOT_RANDOM)


def conformal_p_values(scores: Scores, calibration: Scores) -> np.ndarray:
    """Conformal p-values (T,): share of good images that score as high, the tested one among them.

    P(p <= rate) <= rate for a good image, and p <= rate says the same as score > `split_threshold`, wherever n is at
    least `images_needed(rate)`.

    Args:
        scores: (T,) of tested images.
        calibration: (n,) of held-out good images.
    Raises:
        DataError: no calibration score, or one that is not finite.
    """
    ordered = _ordered(calibration)
    tested = np.asarray(scores, dtype=np.float64)
    at_least = len(ordered) - np.searchsorted(ordered, tested, side="left")
    return (1 + at_least) / (len(ordered) + 1)


def jackknife_plus_p_values(scores: np.ndarray, own: Scores) -> np.ndarray:
    """Jackknife+ p-values (T,): P(p <= rate) <= 2 rate for a good image, whatever is learned from the others.

    Args:
        scores: (T, n) of tested images, column i by what was learned without image i.
        own: (n,) of image i by the same.
    Raises:
        DataError: as `conformal_p_values`, or another number of columns.
    """
    _ordered(own)
    calibration, tested = np.asarray(own, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if tested.ndim != 2 or tested.shape[1] != len(calibration):
        raise DataError(f"scores are {tested.shape}, expected (T, {len(calibration)}), a column for each image")
    return (1 + (tested <= calibration).sum(1)) / (len(calibration) + 1)


def realised_rate_interval(n: int, rate: float, confidence: float = 0.95) -> tuple[float, float]:
    """Central interval of the false-positive rate that the split threshold of n given images turns out to have.

    Given the calibration images, the rate is no longer random; over all draws of them it is Beta(n + 1 - k, k), whose
    mean is the promised one (with equal scores it is lower).

    Raises:
        DataError, ConfigError: as `conformal_rank`; a confidence out of range.
    """
    from scipy import stats  # takes half a second

    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}, expected between 0 and 1")
    rank, tail = conformal_rank(n, rate), (1 - confidence) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], n + 1 - rank, rank)
    return float(low), float(high)


def _ordered(scores: Scores) -> np.ndarray:
    """Scores (n,) in rising order, float64."""
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not len(values):
        raise DataError("decision threshold: there is no score of a good image")
    if not np.isfinite(values).all():
        raise DataError("decision threshold: a score of a good image is NaN or infinite; check the weights")
    return np.sort(values)
