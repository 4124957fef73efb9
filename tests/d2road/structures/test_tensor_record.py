"""Records of tensors: what is done to one field is done to all, in records within records too."""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.tensor_record import TensorRecord


@dataclass
class Inner(TensorRecord):
    values: Tensor


@dataclass
class Outer(TensorRecord):
    rows: Tensor
    inner: Inner
    extra: Tensor | None = None


def record() -> Outer:
    return Outer(torch.arange(6.0).view(3, 2).requires_grad_(), Inner(torch.tensor([5, 6, 7])))


def test_rows_are_chosen_in_every_field():
    chosen = record()[torch.tensor([True, False, True])]
    assert isinstance(chosen, Outer) and isinstance(chosen.inner, Inner) and chosen.extra is None
    assert chosen.rows.tolist() == [[0, 1], [4, 5]] and chosen.inner.values.tolist() == [5, 7]
    repeated = record()[torch.tensor([2, 2])]
    assert repeated.rows.tolist() == [[4, 5], [4, 5]] and repeated.inner.values.tolist() == [7, 7]


def test_detaching_cuts_the_history_and_keeps_the_numbers():
    whole = record()
    cut = whole.detach()
    assert whole.rows.requires_grad and not cut.rows.requires_grad and torch.equal(whole.rows, cut.rows)


def test_each_row_takes_entries_of_its_own():
    taken = Outer(torch.arange(6).view(2, 3), Inner(torch.arange(12).view(2, 3, 2))).take(
        torch.tensor([[2, 0], [1, 1]])
    )
    assert taken.rows.tolist() == [[2, 0], [4, 4]]
    assert taken.inner.values.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_all_fields_move():
    moved = record().to("meta")
    assert moved.rows.device.type == moved.inner.values.device.type == "meta"


def test_rows_are_joined_in_every_field():
    joined = Outer.cat([record(), record()[1:]])
    assert joined.extra is None
    assert joined.rows.tolist() == [[0, 1], [2, 3], [4, 5], [2, 3], [4, 5]]
    assert joined.inner.values.tolist() == [5, 6, 7, 6, 7]


def test_one_row_stands_for_each_without_a_copy():
    index = torch.tensor([2, 0, 2])
    assert record().for_each(index).rows.tolist() == record()[index].rows.tolist()
    single = record()[1:2]
    many = single.for_each(torch.zeros(4, dtype=torch.long))
    assert many.rows.tolist() == 4 * [[2, 3]] and many.inner.values.tolist() == 4 * [6]
    assert many.rows.data_ptr() == single.rows.data_ptr()
