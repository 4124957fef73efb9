"""Distances that sentences name: numbers are read as numbers, in any unit that is learned."""

import math

import pytest
import torch

from mono3dvg.relation.attribute_modules import DistanceModule

NONE = math.nan
AWAY = torch.tensor([[10.0, 28.0, 30.0, 32.0, 90.0]])


def reader_of(unit: float, *bound: float) -> DistanceModule:
    """One whose words say nothing: its biases do."""
    reader = DistanceModule(4)
    with torch.no_grad():
        for layer, bias in ((reader.unit, [unit]), (reader.bound, [*bound, 0.0])):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(bias))
    return reader


def said(reader: DistanceModule, numbers: list, scores: list | None = None) -> torch.Tensor:
    scores = torch.zeros(1, len(numbers)) if scores is None else torch.tensor([scores])
    return reader(torch.zeros(1, 4), scores, torch.tensor([numbers]), AWAY)[0].detach()


def test_bounds_and_units():
    for value, unit in ((30.0, 0.0), (3000.0, math.log(0.01)), (98.4, math.log(0.3048))):
        number = [NONE, math.log(value)]
        assert (said(reader_of(unit, -1, 0, 0, 0), number) > 1).tolist() == [True, True, False, False, False]
        assert (said(reader_of(unit, 1, 0, 0, 0), number) > 1).tolist() == [False, False, False, True, True]
        about = said(reader_of(unit, 0, 0, 1, 0), number)
        assert about.argmax() == 2 and about[2] == pytest.approx(4, abs=0.01) and about[[0, 4]].max() < 0.01


def test_the_number_that_matters_is_meant():
    far = said(reader_of(0.0, 0, 0, 1, 0), [math.log(30.0), NONE, math.log(90.0)], [-20.0, 50.0, 20.0])
    assert far.argmax() == 4
    assert (said(reader_of(0.0, 1, 1, 1, 1), [NONE, NONE]) == 0).all()


def test_numbers_and_distances_of_any_size_give_finite_gradients():
    reader = DistanceModule(4)
    read = torch.randn(2, 4, requires_grad=True)
    scores = torch.randn(2, 3, requires_grad=True)
    numbers = torch.tensor([[NONE, math.log(1e300), 3.0], [NONE] * 3])
    found = reader(read, scores, numbers, torch.tensor([[0.0, 1e6]]).expand(2, 2))
    found.sum().backward()
    assert found.isfinite().all() and read.grad.isfinite().all() and scores.grad.isfinite().all()
