"""results.json"""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch

from d2road.evaluation import write_results


def test_round_trip_with_null_for_what_cannot_be_computed(tmp_path):
    path = tmp_path / "new" / "results.json"
    results = OrderedDict(
        bbox={"AP": np.float64(12.5), "APs": float("nan"), "n": np.int64(3), "t": torch.tensor(0.5)}, empty={}
    )
    write_results(path, results)
    assert json.loads(path.read_text()) == {"bbox": {"AP": 12.5, "APs": None, "n": 3, "t": 0.5}, "empty": {}}


def test_what_is_no_result_is_refused_and_costs_nothing(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, {"a": {"b": 1}})
    with pytest.raises(ValueError, match=r"results\.a\.b is not a single number"):
        write_results(path, {"a": {"b": np.zeros(2)}})
    with pytest.raises(ValueError, match=r"results\.a is a object"):
        write_results(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": {"b": 1}}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
