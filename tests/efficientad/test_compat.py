"""The three orders of border, enlargement and quantiles, against the same done by hand with numpy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from efficientad.calibration_statistics import COMPATS
from tests.factories.anomaly_models import SIDE, calibrated, entries, narrow_networks

BORDER = 4
GOOD = 3


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def models():
    batches = [[entry] for entry in entries(GOOD, seed=1)]
    return {compat: calibrated("MODEL.EFFICIENT_AD.COMPAT", compat, batches=batches) for compat in COMPATS}


def raw_maps(model, entry: dict) -> np.ndarray:
    """(2, h, w) squared differences as the networks give them."""
    with torch.no_grad():
        return next(model.raw_maps(model.preprocess([entry]))).tiles[0].numpy()


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(2, height, width)."""
    return np.stack([cv2.resize(one, size[::-1], interpolation=cv2.INTER_LINEAR) for one in maps])


def with_zeros(maps: np.ndarray) -> np.ndarray:
    return np.pad(maps, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))


def quantiles(maps: list[np.ndarray]) -> np.ndarray:
    """(2, 2): of each of both maps the lower and the higher one, over all images."""
    values = np.stack(maps, axis=1).reshape(2, -1).astype(np.float64)
    return np.quantile(values, (0.9, 0.995), axis=1).T


def normalised(maps: np.ndarray, found: np.ndarray) -> np.ndarray:
    start, end = found.T.reshape(2, 2, 1, 1)
    return 0.1 * (maps - start) / (end - start)


def by_hand(compat: str, good: list[np.ndarray], test: np.ndarray, output: tuple[int, int]):
    """Quantiles and anomaly map (height, width) of `output`."""
    before = {
        "nelson1425": lambda maps: maps,
        "anomalib": lambda maps: enlarged(with_zeros(maps), (SIDE, SIDE)),
        "paper": lambda maps: enlarged(maps, (SIDE, SIDE)),
    }[compat]
    found = quantiles([before(maps) for maps in good])
    parts = normalised(before(test), found)
    if compat == "nelson1425":
        parts = with_zeros(parts)
    return found, enlarged(parts.mean(0, keepdims=True), output)[0]


@pytest.mark.parametrize("output", [(SIDE, SIDE), (90, 333)])
@pytest.mark.parametrize("compat", COMPATS)
def test_maps_scores_and_quantiles_are_those_made_by_hand(models, compat, output):
    model = models[compat]
    good = [raw_maps(model, entry) for entry in entries(GOOD, seed=1)]
    image = {**entries(1, seed=5)[0], "height": output[0], "width": output[1]}
    found, expected = by_hand(compat, good, raw_maps(model, image), output)
    np.testing.assert_allclose(model.state.map_quantiles.numpy(), found, rtol=1e-5)
    result = model([image])[0]
    np.testing.assert_allclose(result["anomaly_map"].numpy(), expected, atol=1e-4)
    assert result["anomaly_score"].item() == pytest.approx(expected.max(), abs=1e-4)


def test_zeros_before_the_quantiles_move_them(models):
    """Zero cells take 1 - 24^2 / 32^2 of anomalib's values: its 0.9 is the 0.82 of those without a border."""
    raw = np.stack([raw_maps(models["anomalib"], entry) for entry in entries(GOOD, seed=1)], axis=1)
    share = (raw.shape[-1] / (raw.shape[-1] + 2 * BORDER)) ** 2
    padded = np.pad(raw, ((0, 0), (0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    inside = np.quantile(raw.reshape(2, -1), 1 - 0.1 / share, axis=1)
    np.testing.assert_allclose(np.quantile(padded.reshape(2, -1), 0.9, axis=1), inside, rtol=1e-3)
    start = {compat: model.state.map_quantiles[:, 0] for compat, model in models.items()}
    assert (start["anomalib"] < start["paper"]).all() and (start["paper"] < start["nelson1425"]).all()


def test_only_the_borders_differ_in_kind(models):
    maps = {compat: model(entries(1, seed=5))[0]["anomaly_map"] for compat, model in models.items()}
    edge = {compat: one[0, 0].item() for compat, one in maps.items()}
    assert edge["nelson1425"] == 0 and edge["anomalib"] < 0
    assert maps["nelson1425"].max() >= 0
    inside = [one[40:-40, 40:-40].flatten() for one in maps.values()]
    for other in inside[1:]:  # other quantiles, and without the border another enlargement, of one map
        assert torch.corrcoef(torch.stack([inside[0], other]))[0, 1] > 0.5
