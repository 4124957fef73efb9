"""Statistics of good images: of the teacher's features, of the maps' values, of the scores.

Everything is taken in one pass over any number of images in constant memory, and parts of several processes merge.
Letters: B images, C channels, h x w cells.

COMPAT names the order of border, enlargement and quantiles:

    nelson1425   quantiles of the maps as they are; then zeros around the normalised map, then enlargement
    anomalib     4 cells of zeros around the maps, be the layers padded or not, enlargement to the input's size;
                 quantiles of that
    paper        enlargement to the input's size without a border; quantiles of that
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.utils.errors import ConfigError, DataError
from efficientad.modeling.pdn import BORDER

COMPATS = ("nelson1425", "anomalib", "paper")
METHODS = ("auto", "exact", "histogram")
EXACT_LIMIT = 2**24  # values that "auto" keeps: 64 MB
HISTOGRAM_SHIFT = 10  # bits of a float32 that a bin disregards
MIN_STD = 1e-6  # relative to the mean deviation of the channels: less is a channel without content
MIN_SPREAD = 1e-6  # relative to the higher quantile: less is a map without content
MAP_END = 0.1  # value of a normalised map at the higher quantile


class Moments:
    """Mean and standard deviation per channel, by merging parts (Chan et al. 1979); exact where E[x^2] - E[x]^2 is not.

    Attributes:
        count: values per channel so far.
        mean: (C,) float64, empty before the first part.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._squares = self.mean

    def update(self, features: Tensor) -> None:
        """Take in features (B, C, h, w)."""
        values = features.detach().transpose(0, 1).flatten(1).float()  # (C, B * h * w)
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        part = Moments()
        part.count, part.mean = values.shape[1], mean.cpu().double()
        part._squares = variance.cpu().double() * part.count
        self.merge(part)

    def merge(self, other: "Moments") -> None:
        """Take in what another has seen."""
        if other.count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self._squares = other.count, other.mean.clone(), other._squares.clone()
            return
        total, delta = self.count + other.count, other.mean - self.mean
        self._squares = self._squares + other._squares + delta**2 * (self.count * other.count / total)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    def std(self) -> Tensor:
        """(C,) float64, of the population."""
        return (self._squares / self.count).sqrt()

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C,), float32.

        Raises:
            ValueError: no image, values that are not finite, or channels that are constant.
        """
        if self.count == 0:
            raise DataError("teacher statistics: there is no image; name good ones in DATASETS.TRAIN")
        std = self.std()
        if not torch.isfinite(self.mean).all() or not torch.isfinite(std).all():
            raise DataError(
                "teacher statistics: features are NaN or infinite; the teacher's weights are damaged, fetch or train "
                "them again"
            )
        dead = torch.nonzero(std <= MIN_STD * std.mean()).flatten().tolist()
        if dead:
            some = ", ".join(map(str, dead[:8])) + (", ..." if len(dead) > 8 else "")
            raise DataError(
                f"teacher statistics: {len(dead)} of {len(std)} channels are constant over all training images "
                f"({some}), dividing by their deviation is impossible. Either the images are all of one colour, or "
                "the teacher is untrained or damaged: take another in MODEL.EFFICIENT_AD.TEACHER"
            )
        return self.mean.float(), std.float()


class Quantiles:
    """Quantiles of non-negative values.

    The histogram's bins follow the floating-point numbers: equal width between powers of two, 8192 bins each. So no
    range need be known, and a quantile is off by less than 1.3e-4 of its value.

    Args:
        method: "exact" keeps all values; "histogram" counts; "auto" is exact until there are 2 ** 24 values.
    Raises:
        ValueError: unknown method.
    """

    def __init__(self, method: str = "auto"):
        if method not in METHODS:
            raise ConfigError(f"quantile method is {method!r}, expected one of {', '.join(METHODS)}")
        self.method, self.count = method, 0
        self._values: list[Tensor] | None = [] if method != "histogram" else None
        self._bins: Tensor | None = None

    def update(self, values: Tensor) -> None:
        """Take in values of any shape.

        Raises:
            ValueError: some are negative, NaN or infinite.
        """
        values = values.detach().flatten().float()
        if not bool(((values >= 0) & torch.isfinite(values)).all()):
            raise DataError(
                "map quantiles: a map has values that are NaN, infinite or negative; the weights are damaged"
            )
        self.count += values.numel()
        if self._values is None:
            self._add_to_bins(values)
            return
        self._values.append(values.cpu())
        self._limit()

    def merge(self, other: "Quantiles") -> None:
        """Take in what another of the same method has seen."""
        self.count += other.count
        if self._values is None or other._values is None:
            self._to_bins()
            for part in other._values or ():
                self._add_to_bins(part)
            if other._bins is not None:
                self._bins = other._bins.clone() if self._bins is None else self._bins + other._bins
            return
        self._values += other._values
        self._limit()

    def _limit(self) -> None:
        if self.method == "auto" and self.count > EXACT_LIMIT:
            self._to_bins()

    def _to_bins(self) -> None:
        kept, self._values = self._values or (), None
        for part in kept:
            self._add_to_bins(part)

    def _add_to_bins(self, values: Tensor) -> None:
        # In the total order of IEEE 754, positive floats sort as the integers of the same bit pattern.
        index = values.contiguous().view(torch.int32) >> HISTOGRAM_SHIFT
        counts = torch.bincount(index, minlength=2 ** (31 - HISTOGRAM_SHIFT)).cpu()
        self._bins = counts if self._bins is None else self._bins + counts

    def result(self, quantiles: Sequence[float]) -> list[float]:
        """Quantiles by linear interpolation between neighbours, as torch.quantile.

        Raises:
            ValueError: no value.
        """
        if self.count == 0:
            raise DataError("map quantiles: there is no good validation image; name some in DATASETS.CALIBRATION")
        if self._values is None:
            return [self._from_bins(q) for q in quantiles]
        ordered = torch.cat(self._values).sort().values.double()
        found = []
        for q in quantiles:
            below = min(math.floor(q * (self.count - 1)), self.count - 1)
            above = min(below + 1, self.count - 1)
            found.append(float(torch.lerp(ordered[below], ordered[above], q * (self.count - 1) - below)))
        return found

    def _from_bins(self, q: float) -> float:
        rank = q * (self.count - 1)
        low, high = self._nth(math.floor(rank)), self._nth(min(math.floor(rank) + 1, self.count - 1))
        return low + (high - low) * (rank - math.floor(rank))

    def _nth(self, number: int) -> float:
        """About the value that `number` others precede: those of a bin are taken to be evenly spread in it."""
        assert self._bins is not None
        upto = self._bins.cumsum(0)
        index = int(torch.searchsorted(upto, number, right=True))
        inside = int(self._bins[index])
        edges = torch.tensor([index, index + 1], dtype=torch.int64) << HISTOGRAM_SHIFT
        low, high = edges.to(torch.int32).view(torch.float32).double().tolist()
        return low + (high - low) * (number - (int(upto[index]) - inside) + 0.5) / inside


def check_quantiles(start: float, end: float, name: str) -> None:
    """Refuse a pair of quantiles that a map cannot be divided by.

    Args:
        start, end: lower and higher quantile of the map `name`.
    Raises:
        ValueError: they are equal.
    """
    if not end - start > MIN_SPREAD * abs(end):
        raise DataError(
            f"map quantiles: those of the {name} map on the good validation images are equal ({start:.6g} and "
            f"{end:.6g}), so the map cannot be normalised. The validation images are of one colour or too few, or "
            "the model is untrained: check DATASETS.CALIBRATION and the training"
        )


def maps_for_quantiles(maps: Tensor, compat: str, input_size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) in the form whose values the quantiles are taken of, see the table above.

    Args:
        input_size: height and width of the network input in pixels.
    """
    if compat == "nelson1425":
        return maps
    if compat == "anomalib":
        maps = F.pad(maps, (BORDER,) * 4)
    return resize_maps(maps, input_size)


def finish_map(normalised: Tensor, compat: str, border: int) -> Tensor:
    """From a normalised map as `maps_for_quantiles` returns it to one that covers the image."""
    return F.pad(normalised, (border,) * 4) if compat == "nelson1425" else normalised


def normalise_map(maps: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """0 at the lower quantile `start`, 0.1 at the higher one `end`."""
    return MAP_END * (maps - start) / (end - start)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, h, w) bilinearly to `size` (height, width)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
