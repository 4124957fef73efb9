"""AUROC against scikit-learn and against its definition by pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from d2road.evaluation.metrics.roc import auroc

FEW_VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=30)  # so that there are ties


@given(FEW_VALUES, FEW_VALUES)
@settings(max_examples=60, deadline=None)
def test_auroc_with_ties_is_that_of_sklearn(negatives, positives):
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    expected = roc_auc_score(labels, negatives + positives)
    assert auroc(np.array(negatives, float), np.array(positives, float)) == pytest.approx(expected, abs=1e-12)


def test_it_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    negatives, positives = rng.normal(size=300), rng.normal(0.5, size=200)
    negatives[:9], positives[:4] = -np.inf, -np.inf  # sentences without any box
    pairs = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    assert auroc(negatives, positives) == pytest.approx(pairs.mean(), abs=1e-12)
    assert auroc(positives, negatives) == pytest.approx(1 - pairs.mean(), abs=1e-12)


def test_nothing_to_measure_is_nan():
    some, none = np.ones(3), np.zeros(0)
    assert np.isnan(auroc(some, none)) and np.isnan(auroc(none, some))
    assert np.isnan(auroc(some, np.array([1.0, np.nan])))
