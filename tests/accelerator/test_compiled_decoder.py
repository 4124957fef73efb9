"""The decoder by torch.compile and as a graph: whole, and with the results of the plain one."""

import copy
import shutil

import pytest
import torch

from d2road.config import validate
from d2road.layers.graph_replay import GraphReplay
from d2road.utils.errors import ConfigError
from tests.accelerator.conftest import on_device
from tests.factories.pose_models import NODE, ON


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def decoder_inputs(model, count=20):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 32, 96 // s, 128 // s, generator=generator) for s in model.head.strides]
    corner = torch.rand(2, count, 2, generator=generator) * 80
    return maps, torch.cat([corner, corner + 40], dim=2), torch.tensor([300, 700])


def test_compiles_whole_and_predicts_the_same(small_model, make_input):
    plain, compiled = small_model(), small_model(NODE + "COMPILE", "eager")
    for mode in (False, True):
        inputs = decoder_inputs(plain)
        expected, found = plain.train(mode).head(*inputs), compiled.train(mode).head(*inputs)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    sum(compiled([make_input(0), make_input(1)]).values()).backward()
    assert all(p.grad is not None for p in compiled.head.parameters())
    assert list(compiled.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        assert len(copy.deepcopy(compiled).eval()([make_input(0)])) == 1  # as exports and averages take it


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_makes_code_of_it(small_model):
    opts = (NODE + "NUM_HEADS", 1)
    plain, compiled = small_model(*opts).eval(), small_model(*opts, NODE + "COMPILE", "inductor").eval()
    inputs = decoder_inputs(plain)
    with torch.no_grad():
        for ours, theirs in zip(compiled.head(*inputs), plain.head(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_keys_that_exclude_each_other(small_cfg):
    with pytest.raises(ConfigError, match="CUDA_GRAPH is True: what COMPILE has made"):
        validate(small_cfg(NODE + "COMPILE", "inductor", NODE + "CUDA_GRAPH", True))
    with pytest.raises(ConfigError, match="COMPILE is 'eager': is for 2D boxes alone"):
        validate(small_cfg(NODE + "COMPILE", "eager", *ON))


class Recorder:
    """Records as a CUDA graph would: what may not be in one raises; a replay writes where the first run wrote."""

    def __init__(self, accelerator):
        self.accelerator, self.recorded, self.replayed = accelerator, 0, 0

    def __call__(self, function):
        self.recorded += 1
        with self.accelerator.captured():
            outputs = function()

        def replay():
            self.replayed += 1
            for place, value in zip(outputs, function(), strict=True):
                place.copy_(value)

        return replay, outputs


def test_the_decoder_replays_as_a_graph(small_model, accelerator):
    model = small_model().eval()
    plain = copy.deepcopy(model.head)
    maps, boxes, t = decoder_inputs(model)
    recorder = Recorder(accelerator)
    graphs = GraphReplay(limit=2, record=recorder)
    with torch.no_grad(), on_device(model, accelerator):
        there = [m.to(accelerator.device) for m in maps]

        def run(boxes, t):
            inputs = [boxes.to(accelerator.device), t.to(accelerator.device), *there]
            return graphs(lambda b, t, *m: model.head(m, b, t), inputs)

        first = run(boxes, t)
        second = run(boxes + 3, t - 100)
        for found, inputs in ((first, (maps, boxes, t)), (second, (maps, boxes + 3, t - 100))):
            for ours, theirs in zip(found, plain(*inputs), strict=True):
                torch.testing.assert_close(ours.cpu(), theirs, atol=1e-3, rtol=1e-4)
        assert (recorder.recorded, recorder.replayed) == (1, 2)
        with accelerator.measured() as cost:
            run(boxes, t)
        assert len(cost.uploads) == 2 and not cost.waits  # the maps of the image are not copied again
        run(boxes[:, :10], t), run(boxes[:, :5], t), run(boxes, t)  # three shapes, two places
        assert recorder.recorded == 4
        assert not copy.deepcopy(graphs).recordings
        graphs.forget()
        run(boxes, t)
        assert recorder.recorded == 5


def test_an_input_that_changes_in_place_is_copied_again():
    graphs = GraphReplay(record=lambda function: (lambda: outputs[0].copy_(function()[0]), outputs := function()))
    x = torch.ones(3)
    assert graphs(lambda x: (x * 2,), [x])[0].tolist() == [2, 2, 2]
    x.add_(1)
    assert graphs(lambda x: (x * 2,), [x])[0].tolist() == [4, 4, 4]


def test_without_cuda_the_key_changes_nothing(small_model, make_input):
    plain, graphed = small_model().eval(), small_model(NODE + "CUDA_GRAPH", True).eval()
    with torch.no_grad():
        ours, theirs = graphed([make_input(0)])[0]["instances"], plain([make_input(0)])[0]["instances"]
    assert torch.equal(ours.scores, theirs.scores) and not graphed.graphs.recordings


@pytest.mark.gpu
def test_the_graph_on_cuda(small_model, make_input):
    model = small_model(NODE + "CUDA_GRAPH", True, NODE + "SAMPLE_STEP", 3).eval().cuda()
    batch = [make_input(0), make_input(1)]
    with torch.no_grad():
        found = model(batch)
        graphs, model.graphs = model.graphs, None
        expected = model(batch)
    assert len(graphs.recordings) == 1
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours["instances"].scores, theirs["instances"].scores, atol=1e-3, rtol=0)
