"""Boosted trees as numbers: scikit-learn itself is the oracle; files that hold anything else are refused."""

import copy
import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from d2road.traffic.baselines.boosted_trees import MOST_TREES, BoostedTrees
from d2road.utils.errors import DataError

FEATURES = 4


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, FEATURES)).astype(np.float32)
    rows[:, 3] = np.round(rows[:, 3])  # many that are equal
    return rows, np.sin(3 * rows[:, 0]) * rows[:, 1] + rows[:, 2] ** 2 * rows[:, 3] + rng.normal(0, 0.1, 3000)


@pytest.fixture(scope="module")
def regressor(data):
    return HistGradientBoostingRegressor(max_iter=40, min_samples_leaf=150, random_state=0).fit(*data)


def beyond(trees: BoostedTrees) -> np.ndarray:
    """Rows at thresholds, next to them, and far outside of what was fitted."""
    rng = np.random.default_rng(1)
    rows = np.stack([rng.choice(one, 2000) for one in trees.thresholds], axis=1)
    return np.concatenate([rows, np.nextafter(rows, np.inf), np.nextafter(rows, -np.inf), 100 * rows])


def test_they_predict_what_scikit_learn_predicts(data, regressor):
    trees = BoostedTrees.of(regressor)
    for rows in (data[0], beyond(trees), data[0][:1], data[0][:0]):
        expected = regressor.predict(rows) if len(rows) else np.zeros(0)
        np.testing.assert_allclose(trees.predict(rows), expected, rtol=0, atol=1e-12)
    assert len({len(tree) for tree in trees.trees}) > 1  # trees of several sizes were among them
    together, alone = trees.predict(data[0][:50]), [trees.predict(row[None]).item() for row in data[0][:50]]
    assert np.array_equal(together, alone)


def test_probabilities_are_those_of_scikit_learn(data):
    rows, values = data
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, random_state=0).fit(rows, values > 1)
    trees = BoostedTrees.of(model)
    for some in (rows, beyond(trees)):
        expected = model.predict_proba(some)[:, 1]
        np.testing.assert_allclose(expit(trees.predict(some)), expected, rtol=0, atol=1e-12)


def test_trees_without_any_split_are_a_number():
    constant = HistGradientBoostingRegressor(max_iter=2).fit(np.zeros((50, 2)), np.arange(50.0))
    trees = BoostedTrees.of(constant)
    assert [len(tree) for tree in trees.trees] == [1, 1]
    np.testing.assert_allclose(trees.predict(np.ones((3, 2))), 24.5)


def test_json_keeps_every_bit(data, regressor):
    trees = BoostedTrees.of(regressor)
    again = BoostedTrees.from_json(json.loads(json.dumps(trees.to_json())), FEATURES, "file")
    assert np.array_equal(again.predict(data[0]), trees.predict(data[0])) and again.to_json() == trees.to_json()


def small() -> dict:
    """x0 <= 0: 1, else x1 <= 2: 2, else 3; and a leaf of 10."""
    return {"baseline": 0.5, "sizes": [5, 1], "nodes": [[0, 0.0], [-1, 1], [1, 2.0], [-1, 2], [-1, 3], [-1, 10]]}


def test_nodes_are_in_pre_order():
    rows = np.array([[0.0, 9], [1, 2], [1, 2.1]])
    assert BoostedTrees.from_json(small(), 2, "file").predict(rows).tolist() == [11.5, 12.5, 13.5]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("baseline", None, "'baseline' is null, expected a finite number"),
        ("sizes", [5], "file has 6 nodes, expected 5, the sum of 'sizes'"),
        ("sizes", [5, 0, 1], "expected 1 or more"),
        ("sizes", [3, 3], "file: tree 1 of 3 nodes is none of up to 32 leaves in pre-order"),
        ("sizes", [4, 2], "tree 1 of 4 nodes"),
        ("nodes", [[0, 0.0], [-1, 1], [1, 2.0], [-1, 2], [2, 3], [-1, 10]], "a feature that is none of 2"),
        ("nodes", [[0.5, 0.0], [-1, 1], [1, 2.0], [-1, 2], [-1, 3], [-1, 10]], "a feature that is none of 2"),
        ("nodes", [[0, float("inf")], [-1, 1], [1, 2.0], [-1, 2], [-1, 3], [-1, 10]], "expected a finite number"),
        ("nodes", [[0, 0.0, 1]] * 6, "row 1 of 'nodes' has 3 values, expected 2"),
        ("nodes", "AAAA", "expected a list"),
    ],
)
def test_damaged_trees_are_refused(key, value, text):
    with pytest.raises(DataError, match=text):
        BoostedTrees.from_json({**copy.deepcopy(small()), key: value}, 2, "file")


def test_sizes_that_nobody_fits_are_refused():
    leaf, split = np.array([[-1, 1.0]]), np.array([[0, 0.0]])
    with pytest.raises(DataError, match="1001 trees, expected at most 1000"):
        BoostedTrees(0, 1, [leaf] * (MOST_TREES + 1))
    chain = np.concatenate([split, leaf] * 32 + [leaf])
    with pytest.raises(DataError, match="tree 1 of 65 nodes"):
        BoostedTrees(0, 1, [chain])
    assert BoostedTrees(0, 1, [np.concatenate([split, leaf] * 31 + [leaf])]).predict(np.ones((1, 1))) == 1
    many = [np.concatenate([split + [0, number], leaf, leaf]) for number in range(256)]
    with pytest.raises(DataError, match="256 thresholds of a feature, expected at most 255"):
        BoostedTrees(0, 1, many)
