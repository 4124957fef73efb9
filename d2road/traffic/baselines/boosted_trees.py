"""Gradient boosted regression trees as plain numbers: kept in JSON, and predicted by numpy alone.

What scikit-learn fitted is pickled by most, and reading a pickle runs what it holds. Here a tree is a list of pairs of
numbers, checked before they are used. Predictions are those of scikit-learn, bit by bit.

Letters: M rows, F features, T trees, L leaves of a tree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_list, as_number, field, number_rows

MOST_TREES = 1000
MOST_LEAVES = 32  # bits of a mask
MOST_THRESHOLDS = 255  # of a feature: scikit-learn puts its values into so many bins and one more
LEAF = -1  # in the place of a feature
ALL = np.uint32(2**MOST_LEAVES - 1)


class BoostedTrees:
    """Gradient boosted trees, their sum found by bit vectors instead of from node to node.

    Each node whose condition fails takes the leaves of its left subtree out of a tree's bits; the first leaf that stays
    is the one that is reached. What a feature's nodes leave of a tree depends on the place of its value among all
    thresholds alone, so it is looked up.

    Args:
        baseline: what is predicted without any tree.
        features: F.
        trees: of each the nodes in pre-order, (2 * L - 1, 2): feature and threshold, where values up to the threshold
            go left; or LEAF and the leaf's value.
    Raises:
        DataError: these are no such trees, or larger ones than are known.
    Source: Lucchese et al., QuickScorer, SIGIR 2015, Algorithm 1. Differs: masks are joined for each feature and place
        beforehand.
    """

    def __init__(self, baseline: float, features: int, trees: Sequence[np.ndarray]):
        self.baseline, self.features, self.trees = float(baseline), features, tuple(trees)
        if len(trees) > MOST_TREES:
            raise DataError(f"there are {len(trees)} trees, expected at most {MOST_TREES}")
        nodes = np.concatenate([np.zeros((0, 2)), *trees])
        if not np.isin(nodes[:, 0], np.arange(LEAF, features)).all():
            raise DataError(f"a tree asks for a feature that is none of {features}")
        self.thresholds = [np.unique(nodes[nodes[:, 0] == one, 1]) for one in range(features)]
        most = max((len(one) for one in self.thresholds), default=0)
        if most > MOST_THRESHOLDS:
            raise DataError(f"trees have {most} thresholds of a feature, expected at most {MOST_THRESHOLDS}")
        self.values = np.zeros((len(trees), MOST_LEAVES))
        self.masks = [np.full((len(trees), len(one) + 1), ALL, dtype=np.uint32) for one in self.thresholds]
        for number, tree in enumerate(self.trees):
            self._add(number, tree)

    def _add(self, number: int, tree: np.ndarray) -> None:
        leaves, ended = 0, False
        # Nodes whose left subtree is not over, with the number of its first leaf.
        begun: list[tuple[int, float, int]] = []
        for feature, value in tree.tolist():
            if ended or (feature == LEAF and leaves == MOST_LEAVES):
                break
            if feature != LEAF:
                begun.append((int(feature), value, leaves))
                continue
            self.values[number, leaves] = value
            leaves += 1
            ended = not begun
            if begun:
                split, threshold, first = begun.pop()
                left = np.uint32(2**leaves - 2**first)
                self.masks[split][number, np.searchsorted(self.thresholds[split], threshold) + 1 :] &= ~left
        if not ended or 2 * leaves - 1 != len(tree):
            raise DataError(
                f"tree {number + 1} of {len(tree)} nodes is none of up to {MOST_LEAVES} leaves in pre-order"
            )

    @classmethod
    def of(cls, model: Any) -> "BoostedTrees":
        """What a fitted HistGradientBoostingRegressor, or a classifier of two classes, of scikit-learn adds up.

        The model was fitted on numbers without gaps.
        """
        trees = [_in_preorder(predictor.nodes) for (predictor,) in model._predictors]
        return cls(model._baseline_prediction.item(), model.n_features_in_, trees)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The sum of all trees, of a classifier the logit: (M,).

        Args:
            rows: (M, F), finite.
        """
        columns = np.asarray(rows, dtype=float).T
        places = [np.searchsorted(one, column) for one, column in zip(self.thresholds, columns, strict=True)]
        total = np.full(len(rows), self.baseline)
        for number, values in enumerate(self.values):
            stay = np.full(len(rows), ALL)
            for masks, place in zip(self.masks, places):
                stay &= masks[number].take(place)
            lowest = stay & (~stay + np.uint32(1))
            total += values.take(np.frexp(lowest.astype(float))[1] - 1)
        return total

    def to_json(self) -> dict[str, Any]:
        """The trees, for `from_json`."""
        nodes = [[int(feature), value] for tree in self.trees for feature, value in tree.tolist()]
        return {"baseline": self.baseline, "sizes": [len(tree) for tree in self.trees], "nodes": nodes}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], features: int, source: str) -> "BoostedTrees":
        """Trees that `to_json` wrote.

        Args:
            source: where they stand, for messages.
        Raises:
            DataError: they are no such trees.
        """
        nodes = np.array(number_rows(values, "nodes", 2, source), dtype=float).reshape(-1, 2)
        sizes = [as_integer(one, f"{source}: 'sizes'", 1) for one in field(values, "sizes", as_list, source)]
        if sum(sizes) != len(nodes):
            raise DataError(f"{source} has {len(nodes)} nodes, expected {sum(sizes)}, the sum of 'sizes'")
        trees = np.split(nodes, np.cumsum(sizes)[:-1]) if sizes else []
        try:
            return cls(field(values, "baseline", as_number, source), features, trees)
        except DataError as error:
            raise DataError(error if str(error).startswith(source) else f"{source}: {error}") from error


def _in_preorder(nodes: np.ndarray) -> np.ndarray:
    """(nodes, 2), see BoostedTrees, from scikit-learn's records."""
    rows, todo = [], [0]
    while todo:
        node = nodes[todo.pop()]
        if node["is_leaf"]:
            rows.append((LEAF, node["value"]))
            continue
        assert not node["is_categorical"], "fitted on numbers"
        rows.append((node["feature_idx"], node["num_threshold"]))
        todo += [int(node["right"]), int(node["left"])]
    return np.array(rows, dtype=float)
