"""Scores of good images beside a threshold: kept through checkpoints of every form, and missed by nobody."""

import pytest
import torch

from d2road.checkpoint import load_weights_file
from d2road.checkpoint.packed_weights import write_packed
from efficientad.calibration_state import CalibrationState
from efficientad.conformal import split_threshold
from efficientad.fusion.fusion_state import FusionState
from efficientad.good_scores import MOST
from efficientad.patchcore.bank_state import BankState

SCORES = [0.3, 0.1, 1 / 3, 12345.678]
GUARANTEE = split_threshold([0.5], 0.5, True).guarantee


def states():
    return {"bank": BankState({}, "s"), "student": CalibrationState({}, "s"), "fusion": FusionState("s")}


def calibrated(kind):
    state = states()[kind]
    if kind == "bank":
        state.set_bank(torch.ones(2, 3), torch.zeros(2, dtype=torch.int64), "f")
        state.set_thresholds(1.0, 1.0, 0.5, GUARANTEE)
    elif kind == "student":
        state.set_map_quantiles(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 1.0)
    else:
        state.set_thresholds(1.0, 1.0, GUARANTEE)
    state.set_good_scores(SCORES)
    return state


@pytest.mark.parametrize("kind", list(states()))
def test_they_come_back_exactly_from_every_file(kind, tmp_path):
    made = calibrated(kind)
    assert made.good_scores == torch.tensor(sorted(SCORES)).tolist()
    torch.save(made.state_dict(), tmp_path / "a.pth")
    write_packed(tmp_path / "half.safetensors", made.state_dict(), int8=False)
    write_packed(tmp_path / "int8.safetensors", made.state_dict(), int8=True)
    for name in ("a.pth", "half.safetensors", "int8.safetensors"):
        state = states()[kind]
        state.load_state_dict(load_weights_file(tmp_path / name))
        assert state.good_scores == made.good_scores


@pytest.mark.parametrize("kind", list(states()))
def test_a_checkpoint_of_before_has_none_and_loads_all_the_same(kind):
    stored = calibrated(kind).state_dict()
    del stored["good_score_bytes"]
    state = calibrated(kind)
    assert state.load_state_dict(stored).missing_keys == []
    assert state.good_scores == [] and "good_score_bytes" not in stored


@pytest.mark.parametrize("kind", list(states()))
def test_new_thresholds_forget_them(kind):
    state = calibrated(kind)
    if kind == "student":
        state.set_map_quantiles(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 2.0)
    else:
        state.set_thresholds(*[2.0] * (3 if kind == "bank" else 2), GUARANTEE)
    assert state.good_scores == []


def test_an_accepted_image_makes_another_bank_of_which_they_are_not():
    state = calibrated("bank")
    state.add_image(torch.ones(1, 3), 1)
    assert state.good_scores == []


def test_of_many_some_are_kept_that_divide_them_evenly():
    state = FusionState("s")
    state.set_good_scores(torch.arange(10 * MOST).flip(0).tolist())
    kept = torch.tensor(state.good_scores)
    assert len(kept) == MOST and kept[0] == 0 and kept[-1] == 10 * MOST - 1
    assert (kept.diff() - 10).abs().max() <= 1.01
