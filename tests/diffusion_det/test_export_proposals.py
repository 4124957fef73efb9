"""Graphs of detectors whose first boxes are not drawn: what is not random is no input."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2road.engine.predictor import Predictor
from d2road.export.check_file import check_file
from d2road.export.engines import engines_for
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.export.torch_file import write_torch
from d2road.runtime import Runtime
from d2road.utils.errors import ConfigError, DataError

pytestmark = pytest.mark.slow

PROPOSALS = "MODEL.DiffusionDet.PROPOSALS"
SIZE = ("INPUT.MIN_SIZE_TEST", 72, "INPUT.MAX_SIZE_TEST", 128, "MODEL.DEVICE", "cpu")


def image_of(seed):
    """(90, 140, 3) uint8, RGB, smooth."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((140, 90)))


@pytest.fixture
def export(small_cfg, small_model):
    """The graph of a model with first boxes of a kind."""

    def make(kind, steps):
        model = small_model(*SIZE, PROPOSALS, kind).eval()
        if kind == "queries":  # not all the same box, as after a training
            with torch.no_grad():
                model.proposals.boxes.copy_(torch.rand(20, 4, generator=torch.Generator().manual_seed(0)))
        return model.export_graph(small_cfg(*SIZE, PROPOSALS, kind), [image_of(1), image_of(2)], ExportOptions(steps))

    return make


@pytest.mark.parametrize(
    ("kind", "steps", "write"),
    [("queries", 1, write_onnx), ("queries", 1, write_torch), ("grid", 1, write_onnx), ("sobol", 2, write_onnx)],
)
def test_a_file_finds_what_the_detector_finds(kind, steps, write, export, tmp_path):
    graph = export(kind, steps)
    random = steps > 1
    assert graph.input_names == (("images", "noise") if random else ("images",))
    assert graph.metadata["noise"] == [4 if random else 0, 20, 4]
    path = tmp_path / ("detector.onnx" if write is write_onnx else "detector.pt2")
    write(graph, path, "")
    rows = check_file(path)
    assert rows and all(row.passes for row in rows), rows
    assert all(len(check.outputs["boxes"]) > 3 for check in graph.checks)
    if random:  # its first row is what the first boxes replace, the next is of the solver
        session, inputs = engines_for(path)[0](path), dict(graph.checks[0].inputs)
        plain = session.run(inputs)
        for row, same in ((0, True), (1, False)):
            noise = inputs["noise"].copy()
            noise[row] += 1
            assert np.array_equal(session.run(inputs | {"noise": noise})["scores"], plain["scores"]) == same
        return
    Image.fromarray(image_of(1)).save(tmp_path / "image.png")
    runtime = Runtime(path)
    one, other = (runtime(tmp_path / "image.png", seed=seed) for seed in (0, 1))
    assert len(one["boxes"]) > 3 and np.array_equal(one["boxes"], other["boxes"])
    with pytest.raises(DataError, match=r"noise is \(1, 20, 4\) float32, expected \(0, 20, 4\)"):
        runtime(tmp_path / "image.png", noise=np.zeros((1, 20, 4), np.float32))


def test_learned_boxes_have_no_second_step(export):
    with pytest.raises(ConfigError, match=r"4 steps of 20 boxes: .*choose 1 step of 20 boxes"):
        export("queries", 4)


@pytest.mark.parametrize("kind", ["queries", "grid"])
def test_a_library_finds_what_the_predictor_finds(kind, small_cfg, small_model, tmp_path):
    pytest.importorskip("onnxruntime")
    opts = (*SIZE, PROPOSALS, kind)
    torch.save({"model": small_model(*opts).state_dict()}, tmp_path / "weights.pth")
    bgr = np.ascontiguousarray(image_of(1)[:, :, ::-1])
    expected = Predictor(small_cfg(*opts), tmp_path / "weights.pth")(bgr)["instances"]
    found = Predictor(small_cfg(*opts, "INFERENCE.BACKEND", "onnxruntime"), tmp_path / "weights.pth")(bgr)["instances"]
    assert len(found) == len(expected) > 3
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=0.05, rtol=1e-4)
