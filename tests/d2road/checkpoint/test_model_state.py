"""Texts of a model in its state dict: read, replaced, checked before they are loaded, in the words of today."""

import pytest
import torch
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.model_state import ModelState
from d2road.utils.errors import CheckpointError
from d2road.utils.text_tensors import encode


class Labelled(ModelState):
    def __init__(self, label: str):
        super().__init__()
        self.register_text("label", label, length=20)
        self.register_text("note", "")

    def check_stored(self, stored):
        if stored.get("label", self.text("label")) != self.text("label"):
            raise CheckpointError(f"of {stored['label']}")


def test_texts_travel_with_the_weights():
    model, other = (nn.ModuleDict({"state": Labelled("a")}) for _ in range(2))
    assert other["state"].text("note") == ""  # read before: not to be remembered
    model["state"].set_text("note", "trained")
    other.load_state_dict(model.state_dict())
    assert other["state"].text("note") == "trained"
    assert {name: value.dtype for name, value in model.state_dict().items()} == {
        "state.label": torch.uint8,
        "state.note": torch.uint8,
    }


def test_what_does_not_fit_is_refused_before_it_is_loaded():
    model = nn.ModuleDict({"state": Labelled("a")})
    with pytest.raises(CheckpointError, match="of b"):
        model.load_state_dict(nn.ModuleDict({"state": Labelled("b")}).state_dict())
    assert model["state"].text("label") == "a"
    model.load_state_dict({}, strict=False)  # older checkpoints have none


class Growing(ModelState):
    def __init__(self, rows: int):
        super().__init__()
        self.register_sized_by_data("rows", torch.arange(2.0 * rows).view(rows, 2))


def test_buffers_that_are_sized_by_data_take_the_size_of_what_is_loaded(tmp_path):
    model, other = (nn.ModuleDict({"net": nn.Linear(1, 1), "state": Growing(rows)}) for rows in (5, 0))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other["state"].rows, model["state"].rows)
    torch.save({"model": model.state_dict()}, tmp_path / "five.pth")
    for rows in (0, 3, 9):
        other = nn.ModuleDict({"net": nn.Linear(1, 1), "state": Growing(rows)})
        Checkpointer(other).load(str(tmp_path / "five.pth"), require="all")
        assert torch.equal(other["state"].rows, model["state"].rows)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict({**model.state_dict(), "state.rows": torch.zeros(4)})


def test_buffers_that_were_written_to_are_read_again():
    state = Labelled("a")
    assert state.text("note") == ""
    state.note.copy_(encode("COMPAT paper, whole pictures, bfloat16"))
    state.forget_decoded()
    assert state.text("note") == "COMPAT paper, whole images, bf16"
