"""Overlaps of 3D boxes against shapely: recorded, hand-made and random boxes."""

import json
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2road.structures import (
    aligned_giou_3d,
    aligned_giou_bev,
    aligned_iou_3d,
    aligned_iou_bev,
    iou3d,
    pairwise_iou_3d,
    pairwise_iou_bev,
)
from tests.oracles.overlaps import shapely_overlaps

BASE = [1.0, 2.0, 30.0, 1.5, 2.0, 4.0, 0.3]


def _moved(along=0.0, across=0.0, **changes):
    """BASE shifted along its length and width, with other values replaced."""
    x, y, z, h, w, l, ry = BASE  # noqa: E741
    values = {"y": y, "h": h, "w": w, "l": l, "ry": ry, **changes}
    x += math.cos(ry) * along + math.sin(ry) * across
    z += -math.sin(ry) * along + math.cos(ry) * across
    return [x, values["y"], z, values["h"], values["w"], values["l"], values["ry"]]


def _ours(a, b):
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    return [float(f(a, b)) for f in (aligned_iou_bev, aligned_iou_3d, aligned_giou_bev, aligned_giou_3d)]


def test_recorded_pairs(golden_dir):
    golden = json.loads((golden_dir / "iou3d.json").read_text())
    a, b = (torch.tensor(golden[k], dtype=torch.float64) for k in "ab")
    for key, aligned, pairwise in (
        ("bev_iou", aligned_iou_bev, pairwise_iou_bev),
        ("iou_3d", aligned_iou_3d, pairwise_iou_3d),
    ):
        np.testing.assert_allclose(aligned(a, b), golden[key], atol=1e-12)
        np.testing.assert_allclose(pairwise(a, b).diagonal(), golden[key], atol=1e-12)
        np.testing.assert_allclose(aligned(b, a), golden[key], atol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_moved(), id="identical"),
        pytest.param(_moved(ry=0.3 + math.pi), id="turned round"),
        pytest.param(_moved(ry=0.3 + math.pi / 2), id="quarter turn"),
        pytest.param(_moved(ry=0.3 + math.pi / 2, w=4.0, l=2.0), id="quarter turn, same footprint"),
        pytest.param(_moved(along=4.0), id="shared edge from outside"),
        pytest.param(_moved(along=1.0, l=2.0), id="shared edge from inside"),
        pytest.param(_moved(along=1.0), id="shifted along: two edges on common lines"),
        pytest.param(_moved(along=4.0, across=2.0), id="common corner"),
        pytest.param(_moved(w=1.0, l=1.0), id="nested"),
        pytest.param(_moved(w=1.0, l=1.0, h=0.5), id="nested in height too"),
        pytest.param(_moved(along=40.0), id="disjoint"),
        pytest.param(_moved(y=0.5), id="on top"),
        pytest.param(_moved(y=-3.0), id="above"),
        pytest.param(_moved(ry=0.3 + 1e-9), id="hardly turned"),
        pytest.param(_moved(along=1e-9, across=-1e-9), id="hardly shifted"),
        pytest.param(_moved(w=1e-6, l=1e-6, h=1e-6), id="tiny"),
        pytest.param(_moved(w=1e6, l=2e6, h=1e5), id="huge"),
        pytest.param(_moved(w=1e-6, l=1e3, ry=1.0), id="blade"),
        pytest.param(_moved(ry=0.3 + math.pi / 4, w=2.0, l=2.0), id="diamond"),
    ],
)
def test_hand_made_pairs(other):
    np.testing.assert_allclose(_ours(BASE, other), shapely_overlaps(BASE, other), atol=1e-9)
    np.testing.assert_allclose(_ours(other, BASE), shapely_overlaps(BASE, other), atol=1e-9)
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (BASE, other))
    for measure in (aligned_iou_bev, aligned_iou_3d, aligned_giou_bev, aligned_giou_3d):
        for gradient in torch.autograd.grad(measure(a, b), (a, b)):
            assert gradient.isfinite().all()


def test_known_values():
    assert _ours(BASE, BASE) == pytest.approx([1, 1, 1, 1])
    assert _ours(BASE, _moved(along=2.0)) == pytest.approx([1 / 3] * 4)
    # Half as high on the same footprint: the same from above.
    assert _ours(BASE, _moved(h=0.75)) == pytest.approx([1, 0.5, 1, 0.5])
    # Behind it at a gap of a length: a third of the enclosure is empty.
    assert _ours(BASE, _moved(along=8.0)) == pytest.approx([0, 0, -1 / 3, -1 / 3])


_SIZE = st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.05, 20)
_PLACE = st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(-10, 10)
_ANGLE = st.sampled_from([0.0, math.pi / 4, math.pi / 2, math.pi, -math.pi / 2]) | st.floats(-7, 7)
_BOX = st.tuples(_PLACE, _PLACE, _PLACE, _SIZE, _SIZE, _SIZE, _ANGLE)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(_BOX, _BOX)
def test_random_pairs(a, b):
    np.testing.assert_allclose(_ours(a, b), shapely_overlaps(a, b), atol=1e-9)


def _random(n, spread, seed=0):
    low, high = [0, 0, 0, 1, 1, 2, -4], [spread, 1, spread, 3, 3, 6, 4]
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, (n, 7)))


def test_all_pairs_equal_pair_by_pair(monkeypatch):
    a, b = _random(60, 20), _random(50, 20, seed=1)
    for pairwise, aligned in ((pairwise_iou_3d, aligned_iou_3d), (pairwise_iou_bev, aligned_iou_bev)):
        whole = pairwise(a, b)
        assert whole.shape == (60, 50) and (whole > 0).float().mean() > 0.02
        assert torch.equal(whole, aligned(a[:, None], b))
        with monkeypatch.context() as patch:
            patch.setattr(iou3d, "_PIECE_CPU", 7)  # pieces that do not divide the rest
            assert torch.equal(pairwise(a, b), whole) and torch.equal(aligned(a[:, None], b), whole)
    torch.testing.assert_close(iou3d.pairwise_iou_bev_dense(a, b), pairwise_iou_bev(a, b), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "measure", [aligned_iou_bev, aligned_iou_3d, aligned_giou_bev, aligned_giou_3d, pairwise_iou_bev, pairwise_iou_3d]
)
def test_arrays_have_the_values_of_tensors(measure):
    a, b = _random(200, 6.0, seed=1), _random(200, 6.0, seed=2)
    a[:3, 4] = 0
    found = measure(a.numpy(), b.numpy())
    assert isinstance(found, np.ndarray) and found.dtype == a.numpy().dtype and (found != 0).any()
    np.testing.assert_allclose(found, measure(a, b).numpy(), atol=1e-12)
    assert measure(a[:0].numpy(), b[:0].numpy()).size == 0
    with pytest.raises(ValueError, match="not finite"):
        measure(np.full((2, 7), np.nan), b[:2].numpy())


def test_gradients_agree_with_differences():
    a, b = _random(12, 3).requires_grad_(), _random(12, 3, seed=1).requires_grad_()
    assert (aligned_iou_3d(a, b) > 0).sum() > 6
    for measure in (aligned_iou_3d, aligned_iou_bev, aligned_giou_3d, aligned_giou_bev):
        assert torch.autograd.gradcheck(measure, (a, b))
    assert torch.autograd.gradcheck(pairwise_iou_3d, (a[:4], b[:4]))


def test_giou_pulls_disjoint_boxes_together():
    other = torch.tensor(_moved(along=9.0, ry=0.6), dtype=torch.float64)
    box = torch.tensor(BASE, dtype=torch.float64, requires_grad=True)
    start = aligned_giou_3d(box, other)
    (gradient,) = torch.autograd.grad(start, box)
    assert start < 0 and gradient[:3] @ (other - box)[:3] > 0  # towards it
    assert aligned_giou_3d(box + 0.01 * gradient, other) > start


def test_boxes_without_size_overlap_nothing():
    full, nothing = torch.tensor([BASE, BASE]), torch.tensor([BASE, BASE])
    nothing[0, 3:6], nothing[1, 3:6] = 0, -1
    nothing.requires_grad_()
    for iou in (pairwise_iou_3d, pairwise_iou_bev):
        for a, b in ((full, nothing), (nothing, full), (nothing, nothing)):
            assert iou(a, b).abs().max() == 0
            (gradient,) = torch.autograd.grad(iou(a, b).sum(), nothing)
            assert gradient.isfinite().all()
    assert aligned_giou_3d(nothing, full).isfinite().all() and aligned_giou_3d(nothing, nothing).isfinite().all()


def test_no_boxes_and_result_types():
    boxes = _random(3, 5)
    for iou in (pairwise_iou_3d, pairwise_iou_bev):
        assert iou(boxes, boxes[:0]).shape == (3, 0) and iou(boxes[:0], boxes).shape == (0, 3)
        assert iou(boxes.float(), boxes.float()).dtype == torch.float32
        assert iou(boxes.float(), boxes).dtype == torch.float64
    assert aligned_giou_3d(boxes[:0], boxes[:0]).shape == (0,)


def test_bad_input_is_refused():
    boxes = _random(3, 5)
    broken = boxes.clone()
    broken[1, 4] = torch.nan
    with pytest.raises(ValueError, match=r"b\[1\] are not finite"):
        pairwise_iou_3d(boxes, broken)
    with pytest.raises(ValueError, match="x, y, z, h, w, l, ry"):
        aligned_iou_3d(boxes[:, :6], boxes)
    with pytest.raises(ValueError, match="do not pair up"):
        aligned_iou_bev(boxes, boxes[:2])
    with pytest.raises(ValueError, match=r"\(N, 7\)"):
        pairwise_iou_bev(boxes, boxes[0])


@pytest.mark.parametrize("spread", [100.0, 3.0])
def test_a_thousand_by_a_thousand_pairs_take_under_two_seconds(spread):
    """Of processor time, which other work on the machine does not touch; all pairs overlap if the spread is small."""
    a, b = _random(1000, spread), _random(1000, spread, seed=1)
    start = time.process_time()
    overlaps = pairwise_iou_3d(a, b)
    assert time.process_time() - start < 2
    assert (overlaps > 0).float().mean() > (0.9 if spread == 3 else 0.002)


@pytest.mark.gpu
def test_gpu_agrees():
    a, b = _random(60, 20), _random(50, 20, seed=1)
    assert torch.allclose(pairwise_iou_3d(a.cuda(), b.cuda()).cpu(), pairwise_iou_3d(a, b), atol=1e-12)
