"""Baselines on made-up traffic: features by hand, good traffic stays usual, each misbehaviour is rare."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import expon
from sklearn.decomposition import PCA

from d2road.traffic.baselines import BASELINES, ImagePca, KinematicRules, PatchPca, VehicleForest
from d2road.traffic.baselines.pca import enlarged_map
from d2road.traffic.baselines.rules import Tail
from d2road.traffic.baselines.vehicle_features import FEATURES, compute_vehicle_features
from d2road.traffic.time_space.render import TimeSpaceRenderer
from tests.factories.traffic_windows import drive, good_windows, traffic, vehicle, window_of


def misbehaviour(kind: str) -> pd.DataFrame:
    """A vehicle in lane 1 that does one thing."""
    t, s, speed = drive([10, 40], [27, 27], start=-50)
    lane = np.ones(len(t), dtype=int)
    if kind == "stopped":
        t, s, speed = drive([10, 18, 22, 40], [27, 27, 0, 0])
    elif kind == "braking":
        t, s, speed = drive([10, 20, 22, 28, 40], [27, 27, 12, 27, 27])
    elif kind == "wrong_way":
        t, s, speed = drive([12, 30], [-20, -20], start=480)
    elif kind == "faster":
        t, s, speed = drive([12, 20], [55, 55])
    elif kind == "lane_changes":
        lane = np.where(t > 14, 1 + (np.floor(t) % 2).astype(int), 1)
    elif kind == "missing":
        keep = (t < 16) | (t > 23)
        t, s, speed, lane = t[keep], s[keep], speed[keep], lane[keep]
    return vehicle("x", t, s, speed, lane if len(lane) == len(t) else 1)


def with_one(kind: str, seed: int = 99):
    """A window of traffic in which one vehicle misbehaves, the one that is nearest to it left out."""
    frame = traffic(seed)
    frame = frame[~((frame["lane"] == "1") & frame["vehicle"].str.endswith(("4", "5", "6", "7", "8")))]
    return window_of(pd.concat([frame, misbehaviour(kind)], ignore_index=True))


@pytest.fixture(scope="module")
def good():
    return good_windows(45)


@pytest.fixture(scope="module")
def others():
    """Good windows that nothing is fitted on."""
    return good_windows(12, seed=1)


def test_features_counted_by_hand():
    # a: 20 m/s, from 14 s on 10 m/s. b: 60 m behind it at 20 m/s, from 12 s on in the same lane.
    t = np.arange(100, 180) / 10
    speed = np.where(t < 14, 20.0, 10.0)
    a = vehicle("a", t, 100 + np.cumsum(speed) / 10, speed, 0)
    b = vehicle("b", t, 42 + 2.0 * np.arange(len(t)), 20.0, np.where(t < 12, 1, 0))
    found = compute_vehicle_features(window_of(pd.concat([a, b])))
    assert found.loc["a", ["speed", "slower", "faster", "wrong_way"]].tolist() == pytest.approx([20, 10, 0, 0])
    assert found["braking"].to_dict() == pytest.approx({"a": 10, "b": 0})
    assert found["lane_changes"].to_dict() == {"a": 0, "b": 1}
    # The gap is 55.5 m until 14 s and then shrinks by 1 m a sample, by 31 to 40 m in the last second.
    assert 1 / found.loc["b", "close"] == pytest.approx((55.5 - np.arange(31, 41).mean()) / 20)
    assert found.loc["a", "close"] == pytest.approx(0.1)
    # Both should stay in the window until it ends at 35.6 s, or leave it at 512 m.
    gone_a = min(35.6, 17.9 + (512 - a["s"].iloc[-1]) / 10) - 17.9
    gone_b = min(35.6, 17.9 + (512 - b["s"].iloc[-1]) / 20) - 17.9
    assert found["missing"].to_dict() == pytest.approx({"a": gone_a, "b": gone_b}, abs=1e-6)


def test_noise_and_single_missing_samples_change_features_little():
    frame = traffic(5)
    rng = np.random.default_rng(0)
    noisy = frame[rng.uniform(size=len(frame)) > 0.01].assign(s=lambda f: f["s"] + rng.normal(0, 0.3, len(f)))
    before, after = (compute_vehicle_features(window_of(f)) for f in (frame, noisy))
    names = ["speed", "slower", "faster", "braking", "accelerating"]
    np.testing.assert_allclose(before[names], after.loc[before.index, names], atol=0.15)


@pytest.mark.parametrize("kind", ["stopped", "braking", "wrong_way", "faster", "lane_changes", "missing"])
def test_rules_name_what_is_wrong(good, others, kind):
    rules, window = KinematicRules().fit(good), with_one(kind)
    assert rules.scores([window])[0] > rules.scores(others).max()
    own = rules.by_rule([window])[0, FEATURES.index(kind)]
    assert own > max(2, rules.by_rule(others)[:, FEATURES.index(kind)].max())
    lonely = replace(window, table=window.table.select(vehicles=["x"]))
    if kind != "stopped":  # without others it does not stand while they move
        assert rules.reasons([lonely]) == [{"faster": "speed"}.get(kind, kind)]


def test_rarity_is_the_share_of_good_windows():
    values = expon.rvs(scale=2, size=20_000, random_state=0)
    tail = Tail.fit(values, 0.1)
    for x in (0.5, 3.0, 8.0, 15.0):
        assert tail.rarity(np.array([x]))[0] == pytest.approx(-expon.logsf(x, scale=2) / np.log(10), rel=0.05)
    assert (np.diff(tail.rarity(np.linspace(0, 40, 400))) >= 0).all()
    constant = Tail.fit(np.zeros(100), 0.5).rarity(np.array([0.0, 0.5]))
    assert constant[0] == 0 and 1 < constant[1] < 4


def test_forest_is_deterministic_and_finds_the_stopped_vehicle(good, others):
    first, second = (VehicleForest(seed=3, trees=50).fit(good[:20]) for _ in range(2))
    window = with_one("stopped")
    np.testing.assert_array_equal(first.scores([window, *others]), second.scores([window, *others]))
    scores = first.scores([window, *others])
    assert scores[0] > scores[1:].max() and ((scores > 0) & (scores <= 1)).all()


def rendered(window):
    return replace(window, image=TimeSpaceRenderer().render(window.table, window.t0, 0.0, direction=1))


def test_principal_components_of_patches_find_the_stopped_vehicle(good, others):
    pca = PatchPca(most=2000).fit([rendered(window) for window in good[:10]])
    odd = rendered(with_one("stopped"))
    scores = pca.scores([odd, *(rendered(window) for window in others[:4])])
    assert scores[0] > scores[1:].max()
    heat = pca.anomaly_map(odd)
    assert heat.shape == (256, 256)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    # It stands from t = 22 s on at about 320 m: column 120 and more, row 255 - 160.
    assert x > 90 and abs((255 - y) * 2 - 320) < 60


def test_principal_components_of_images_leave_what_sklearn_leaves():
    rng = np.random.default_rng(0)
    windows = [window_of(traffic(0), image=rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)) for _ in range(40)]
    pca = ImagePca(components=5, seed=1).fit(windows)
    order = np.random.default_rng(1).permutation(40)[:20]
    rows = np.stack([windows[i].image.reshape(-1) / 255 for i in order]).astype(np.float32)
    oracle = PCA(5, svd_solver="randomized", random_state=1).fit(rows)
    row = windows[order[0]].image.reshape(1, -1).astype(np.float32) / 255
    expected = row - oracle.inverse_transform(oracle.transform(row))
    np.testing.assert_allclose(pca.model.residual(row), expected, atol=2e-4)
    assert pca.maps(windows[:2]).shape == (2, 64, 64)


def test_coarse_maps_are_enlarged_where_their_cells_are():
    errors = np.zeros((29, 29))
    errors[14, 3] = 1  # centre of its patch: x = 3 * 4 + 8 = 20 of 128, y = 64
    heat = enlarged_map(errors, (256, 256), (16 - 4) / 2 / 128)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(y - 128) <= 3 and abs(x - 40) <= 3


@pytest.mark.parametrize("name", list(BASELINES))
def test_unfitted_or_starved_baselines_say_so(name):
    window = window_of(traffic(0), image=np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(ValueError, match="has not been fitted"):
        BASELINES[name](seed=0).scores([window])
    with pytest.raises(ValueError, match=r"good"):
        BASELINES[name](seed=0).fit([])


def test_empty_road_is_usual(good):
    empty = window_of(traffic(0)[:0])
    for name in ("rules", "isolation_forest"):
        baseline = BASELINES[name](seed=0).fit(good)
        assert baseline.scores([empty])[0] <= baseline.scores(good).max()
