"""Principal component analysis (PCA) of time-space images: what the components cannot describe is unusual.

Letters: N images, D numbers of an image or patch, K components.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError

LEAST_SPREAD = 1e-4  # of errors, relative to the images' range of 1


class Components:
    """A mean and K orthonormal directions of the rows of a matrix (N, D)."""

    def __init__(self, rows: np.ndarray, count: int, seed: int):
        from sklearn.decomposition import PCA

        count = min(count, len(rows) - 1, rows.shape[1])
        found = PCA(count, svd_solver="randomized", random_state=seed).fit(rows)
        self.mean, self.axes = found.mean_.astype(np.float32), found.components_.astype(np.float32)

    def residual(self, rows: np.ndarray) -> np.ndarray:
        """What remains of rows (N, D) beside the components."""
        centred = rows - self.mean
        return centred - (centred @ self.axes.T) @ self.axes


class ImagePca:
    """Principal components of whole images, shrunk; a window scores as the highest of its blurred errors.

    Errors are divided by those of good images at the same place.

    Args:
        seed: of the randomised decomposition.
        side: pixels that images are shrunk to.
        components: K at most.
        blur: standard deviation of the blur of errors, pixels.
    Raises:
        ImportError: scikit-learn is not installed; the extra `traffic` has it.
    """

    def __init__(self, seed: int = 0, side: int = 64, components: int = 64, blur: float = 1.5):
        self.seed, self.side, self.components, self.blur = seed, side, components, blur
        self.model: Components | None = None
        self.usual: np.ndarray | None = None

    def fit(self, windows: Sequence[TrafficWindow]) -> "ImagePca":
        """Fit on good images: half of them give the components, the other half what errors are usual.

        Raises:
            ValueError: fewer than 20 windows, or one without an image.
        """
        if len(windows) < 20:
            raise DataError(f"principal components of {len(windows)} images; expected at least 20 good windows")
        order = np.random.default_rng(self.seed).permutation(len(windows))
        half = len(windows) // 2
        self.model = Components(self._rows([windows[i] for i in order[:half]]), self.components, self.seed)
        self.usual = self._errors([windows[i] for i in order[half:]]).mean(axis=0) + LEAST_SPREAD
        return self

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,)"""
        return self.maps(windows).max(axis=(1, 2), initial=0.0)

    def maps(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """Anomaly maps (N, side, side), 1 where errors are as usual."""
        usual = require_fit(self, self.usual)
        return self._errors(windows) / usual

    def anomaly_map(self, window: TrafficWindow) -> np.ndarray:
        """The map of one window at the size of its image, (H, W)."""
        return enlarged_map(self.maps([window])[0], image_size(window))

    def _rows(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        return np.stack([shrunk(window, self.side).ravel() for window in windows])

    def _errors(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        if not len(windows):
            return np.zeros((0, self.side, self.side), dtype=np.float32)
        left = (
            require_fit(self, self.model).residual(self._rows(windows)).reshape(len(windows), self.side, self.side, 3)
        )
        return np.stack([cv2.GaussianBlur(error, (0, 0), self.blur) for error in np.square(left).mean(axis=-1)])


class PatchPca:
    """Principal components of patches, so that where a line lies in the image does not matter.

    A window scores as its highest error; a patch's error is the sum of squares that its components leave.

    Args:
        seed: of the choice of patches and of the decomposition.
        side: pixels that images are shrunk to. patch, stride: of the patches, pixels.
        components: K at most.
        most: patches to fit on.
    Raises:
        ImportError: scikit-learn is not installed; the extra `traffic` has it.
    """

    def __init__(
        self, seed: int = 0, side: int = 128, patch: int = 16, stride: int = 4, components: int = 48, most: int = 20_000
    ):
        self.seed, self.side, self.patch, self.stride = seed, side, patch, stride
        self.components, self.most = components, most
        self.model: Components | None = None

    def fit(self, windows: Sequence[TrafficWindow]) -> "PatchPca":
        """Fit on patches drawn from good images.

        Raises:
            ValueError: no window, or one without an image.
        """
        if not len(windows):
            raise DataError("principal components of patches need good windows, got none")
        rng = np.random.default_rng(self.seed)
        share = -(-self.most // len(windows))
        rows = []
        for window in windows:
            patches = self._patches(window)
            rows.append(patches[rng.choice(len(patches), min(share, len(patches)), replace=False)])
        self.model = Components(np.concatenate(rows), self.components, self.seed)
        return self

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,)"""
        return self.maps(windows).max(axis=(1, 2), initial=0.0)

    def maps(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """Errors of the patches (N, P, P), those of an image in rows."""
        model = require_fit(self, self.model)
        cells = (self.side - self.patch) // self.stride + 1
        maps = [np.square(model.residual(self._patches(w))).sum(axis=1).reshape(cells, cells) for w in windows]
        return np.stack(maps) if maps else np.zeros((0, cells, cells), dtype=np.float32)

    def anomaly_map(self, window: TrafficWindow) -> np.ndarray:
        """The map of one window at the size of its image, (H, W)."""
        margin = (self.patch - self.stride) / 2 / self.side
        return enlarged_map(self.maps([window])[0], image_size(window), margin)

    def _patches(self, window: TrafficWindow) -> np.ndarray:
        """(P * P, D)"""
        view = np.lib.stride_tricks.sliding_window_view(shrunk(window, self.side), (self.patch, self.patch), (0, 1))
        view = view[:: self.stride, :: self.stride]  # (P, P, 3, patch, patch)
        return view.reshape(view.shape[0] * view.shape[1], -1)


def shrunk(window: TrafficWindow, side: int) -> np.ndarray:
    """The image of a window as (side, side, 3) float32, 0 to 1.

    Raises:
        ValueError: it has none.
    """
    small = cv2.resize(window.require_image(), (side, side), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def image_size(window: TrafficWindow) -> tuple[int, int]:
    """Height and width of a window's image in pixels."""
    height, width = window.require_image().shape[:2]
    return height, width


def enlarged_map(errors: np.ndarray, size: tuple[int, int], margin: float = 0.0) -> np.ndarray:
    """An anomaly map (H, W) of `size` from a coarse one (h, w).

    Args:
        margin: share of the image's side by which the centres of the outer cells lie inside it, beyond half a cell;
            what is outside takes the nearest cell's value.
    """
    height, width = size
    inner = [max(round(side * (1 - 2 * margin)), 1) for side in size]
    middle = cv2.resize(errors.astype(np.float32), inner[::-1], interpolation=cv2.INTER_LINEAR)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return cv2.copyMakeBorder(middle, top, height - inner[0] - top, left, width - inner[1] - left, cv2.BORDER_REPLICATE)
