"""Settings that share features and runs give what the plain model gives, and their arithmetic is counted right."""

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from benchmarks.diffusion_det.transport_costs import decoder_multiply_adds
from benchmarks.diffusion_det.transport_decoding import FeatureCache, Pass, batches_of_one_size, decode
from d2road.engine.meta_arch import SamplingSetting
from tests.factories.small_detectors import detector_input, small_detector

INPUTS = [detector_input(1), detector_input(2), detector_input(3, height=64), detector_input(4)]


THRESHOLD = ("MODEL.DiffusionDet.RENEWAL_THRESH", 0.8)  # some boxes score more, some less


@pytest.fixture(scope="module")
def model():
    return small_detector(*THRESHOLD).eval()


def plain(model, solver: str, steps: int, boxes: int) -> list[dict]:
    model.set_sampling(SamplingSetting(solver, steps, boxes, model.sampling.seed))
    with torch.no_grad():
        return model([{**entry, "with_steps": True} for entry in INPUTS])


def assert_same(ours, theirs) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs):
        assert a.image_size == b.image_size
        torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=1e-4)
        assert torch.equal(a.pred_classes, b.pred_classes)


def decoded(model, passes, capacity=9, batch=2):
    cache = FeatureCache(capacity)
    found = {}
    for one in passes:  # each by itself, so that the later ones meet kept features
        found |= decode({"noise": model}, batches_of_one_size(INPUTS, batch), [one], cache)
    return found, cache


@pytest.mark.parametrize("solver", ["ddim", "dpmsolver++"])
def test_shared_features_give_what_the_model_gives(model, solver):
    found, cache = decoded(model, [Pass(solver, 3, 12, (3,)), Pass(solver, 2, 7, (2,))])
    assert cache.images == len(INPUTS) and cache.seconds > 0
    for steps, boxes in ((3, 12), (2, 7)):
        theirs, row = plain(model, solver, steps, boxes), found[f"{solver}_{steps}x{boxes}"]
        assert_same(row.instances["union"], [one["instances"] for one in theirs])
        assert_same(row.instances["last"], [one["steps"][-1] for one in theirs])
        assert row.seconds > 0


def test_first_restarts_are_a_run_of_their_own(model):
    """A run of few restarts is the beginning of one of many, and one step is that of every solver."""
    found, _ = decoded(model, [Pass("restart", 4, 9, (1, 2, 4))])
    assert set(found) == {"noise_1x9", "restart_2x9", "restart_4x9"}
    for name, solver, steps in (("noise_1x9", "ddim", 1), ("restart_2x9", "restart", 2), ("restart_4x9", "restart", 4)):
        theirs = plain(model, solver, steps, 9)
        assert_same(found[name].instances["union"], [one["instances"] for one in theirs])
        assert_same(found[name].instances["last"], [one["steps"][-1] for one in theirs])


def test_kept_boxes_are_those_of_a_model_without_renewal(model):
    found, _ = decoded(model, [Pass("ddim", 3, 9, (3,), renewal=False), Pass("ddim", 3, 9, (3,))])
    assert 0 < found["ddim_kept_3x9"].low_scores < 9 * len(INPUTS)  # of the boxes of a step
    without = small_detector("MODEL.DiffusionDet.BOX_RENEWAL", False).eval()
    without.load_state_dict(model.state_dict())
    assert_same(found["ddim_kept_3x9"].instances["last"], [one["steps"][-1] for one in plain(without, "ddim", 3, 9)])
    assert_same(found["ddim_3x9"].instances["last"], [one["steps"][-1] for one in plain(model, "ddim", 3, 9)])


def test_first_steps_of_a_solver_are_refused():
    with pytest.raises(ValueError, match="ddim"):
        Pass("ddim", 4, 9, (2, 4))


def test_what_is_not_kept_is_computed_again(model):
    passes = [Pass("ddim", 2, 7, (2,)), Pass("ddim", 2, 6, (2,))]
    kept, none = (decoded(model, passes, capacity)[1] for capacity in (9, 0))
    assert (kept.images, none.images) == (4, 8)


def test_batches_hold_neighbours_of_one_size():
    batches = list(batches_of_one_size(INPUTS, 2))
    assert [[entry["image_id"] for entry in batch] for batch in batches] == [[1, 2], [3], [4]]


class Decoder(nn.Module):
    """One step with tensors alone, as the counter traces it."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, boxes, t, *maps):
        return self.head(list(maps), boxes, t)


@pytest.mark.parametrize("boxes", [6, 40])
def test_multiply_adds_are_those_that_fvcore_counts(model, boxes, monkeypatch):
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)  # one operator, which has no rule
    maps = [torch.rand(1, 32, 96 // stride, 128 // stride) for stride in model.head.strides]
    inputs = torch.rand(1, boxes, 4).cumsum(-1) * 20, torch.full((1,), 999), *maps
    with torch.no_grad():
        counted = FlopCountAnalysis(Decoder(model.head), inputs)
        counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        products = {"linear", "bmm", "matmul", "addmm", "mm", "conv", "einsum"}
        by_operator = counted.by_operator()
    expected = sum(count for name, count in by_operator.items() if name in products)
    assert "scaled_dot_product_attention" not in by_operator  # fvcore has no rule for its two products
    expected += len(model.head.head_series) * 2 * boxes**2 * 32
    assert decoder_multiply_adds(model.head, boxes, 1) == expected
    assert decoder_multiply_adds(model.head, boxes, 4) == 4 * expected
