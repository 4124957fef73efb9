"""Frozen parts that a file leaves out: what it holds instead, what fills them in, what is refused."""

import pytest
import torch
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.packaged_part import fills_in, leave_out, weights_digest
from d2road.utils.errors import CheckpointError


class Reader(nn.Module):
    """A linear map behind a frozen part that comes from a package, made of `seed`."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.frozen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).requires_grad_(False)
        self.learns = nn.Linear(4, 2)
        fills_in(self, "frozen", self.frozen.state_dict, "the package")


class Model(nn.Module):
    def __init__(self, seed: int = 0):
        super().__init__()
        self.reader = Reader(seed)


@pytest.fixture
def file(tmp_path):
    model = Model()
    nn.init.constant_(model.reader.learns.weight, 7.0)
    torch.save({"model": leave_out(model.state_dict(), "reader.frozen")}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


@pytest.mark.parametrize("require", ["", "parameters", "all"])
def test_a_file_without_the_part_is_loaded_whole(file, require):
    stored = torch.load(file)["model"]
    assert set(stored) == {"reader.frozen_sha256", "reader.learns.weight", "reader.learns.bias"}
    model, own = Model(), Model().state_dict()
    checkpointer = Checkpointer(model)
    checkpointer.load(str(file), require=require)
    assert not checkpointer.report.missing and not checkpointer.report.unexpected
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, own[name] if "frozen" in name else stored[name])


def test_a_file_with_the_part_has_its_own(tmp_path):
    other = Model(seed=1)
    torch.save({"model": other.state_dict()}, tmp_path / "whole.pth")
    model = Model()
    Checkpointer(model).load(str(tmp_path / "whole.pth"), require="all")
    assert torch.equal(model.reader.frozen[0].weight, other.reader.frozen[0].weight)


def test_other_weights_than_those_of_the_training_are_refused(file):
    with pytest.raises(CheckpointError, match=r"a frozen reader\.frozen .*that of the package has"):
        Checkpointer(Model(seed=1)).load(str(file))


def test_a_digest_is_of_values_alone():
    first, second = torch.randn(3, 4), torch.arange(5)
    digest = weights_digest([first, second])
    assert digest.shape == (32,) and digest.dtype == torch.uint8
    assert torch.equal(digest, weights_digest([second, first.clone()]))
    halves = first.half()
    assert torch.equal(weights_digest([halves]), weights_digest([halves.float()]))
    for changed in ([first, second + 1], [first.T, second], [first], [first, second, second]):
        assert not torch.equal(digest, weights_digest(changed))


def test_what_is_not_there_cannot_be_left_out():
    with pytest.raises(CheckpointError, match=r"there is no 'reader\.froze'"):
        leave_out(Model().state_dict(), "reader.froze")
