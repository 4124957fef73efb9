"""The graph of a detector against the detector itself, traced and not; every engine runs the files."""

import copy
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from d2road.engine.predictor import Predictor
from d2road.export.antialiased_resize import pillow_orders_axes
from d2road.export.check_file import check_file
from d2road.export.engines import TorchSession, engines_for
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.export.shortest_edge_resize import ShortestEdgeResize
from d2road.export.torch_file import write_torch
from d2road.runtime import Runtime
from d2road.runtime.detection import objects_of
from d2road.utils.errors import ConfigError, DataError
from diffusion_det.denoising import class_scores, suppress
from diffusion_det.export_checks import detect, draw_noise, metadata
from diffusion_det.export_graph import DetectionGraph, noise_rows, unrolled

pytestmark = pytest.mark.slow

NODE = "MODEL.DiffusionDet."
FITTED = (
    NODE + "PRIOR", "fitted", NODE + "PRIOR_MOMENTS", (0.5, 0.6, 0.3, 0.2, 0.2, 0.1, 0.2, 0.1),
    NODE + "TRANSPORT", "flow", NODE + "SAMPLER", "heun",
)  # fmt: skip
SIZE = ("INPUT.MIN_SIZE_TEST", 72, "INPUT.MAX_SIZE_TEST", 128, "MODEL.DEVICE", "cpu")


def smooth_image(height, width, seed=0):
    """(H, W, 3) uint8, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


IMAGES = [smooth_image(90, 140, 1), smooth_image(120, 80, 2)]


@pytest.fixture
def export(small_cfg, small_model):
    """A model, and its graph with given options."""

    def make(*opts, **options):
        model = small_model(*SIZE, *opts).eval()
        return model, model.export_graph(small_cfg(*SIZE, *opts), IMAGES, ExportOptions(**options))

    return make


VARIANTS = [
    ("ddim, renewal, ensemble", 3, ()),
    ("the last step alone", 3, (NODE + "ENSEMBLE", False)),
    ("no renewal", 2, (NODE + "BOX_RENEWAL", False)),
    ("second order solver", 3, (NODE + "SAMPLER", "dpmsolver++")),
    ("fitted prior along a flow", 3, FITTED),
    ("softmax", 2, (NODE + "USE_FOCAL", False)),
    ("published code", 1, (NODE + "OFFICIAL_COMPAT", True)),
    ("no suppression", 2, (NODE + "USE_NMS", False)),
    ("blue first", 1, ("INPUT.FORMAT", "BGR")),
]


@pytest.mark.parametrize(("name", "steps", "opts"), VARIANTS, ids=[name for name, *_ in VARIANTS])
def test_recorded_noise_gives_what_predictor_finds(small_cfg, small_model, name, steps, opts):
    """Untraced and in double precision, which steps do not blow up: from the pixels of the image on."""
    cfg = small_cfg(*SIZE, *opts, NODE + "SAMPLE_STEP", steps)
    predictor = Predictor(cfg, "random", fuse=False)
    predictor.model = small_model(*SIZE, *opts, NODE + "SAMPLE_STEP", steps).double().eval()
    image = IMAGES[0].copy()
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    expected = predictor(bgr)["instances"]
    model = unrolled(predictor.model, steps)
    noise = draw_noise(model, predictor.prepare(bgr))
    resize = ShortestEdgeResize(72, 128, pillow_orders_axes(), model.backbone.size_divisibility)
    graph = DetectionGraph(model, resize, cfg.INPUT.FORMAT, nms=True)
    with torch.no_grad():
        boxes, scores, classes = graph(torch.from_numpy(image)[None], torch.from_numpy(noise))
    assert len(expected) > 3
    torch.testing.assert_close(boxes, expected.pred_boxes.tensor, atol=1e-6, rtol=0)
    torch.testing.assert_close(scores, expected.scores, atol=1e-9, rtol=0)
    assert torch.equal(classes, expected.pred_classes)


@pytest.mark.parametrize(("steps", "opts"), [(1, ()), (2, ()), (2, FITTED)], ids=["1", "2", "fitted prior"])
def test_file_finds_what_the_detector_finds_in_images_of_any_size(export, tmp_path, steps, opts):
    """With suppression inside. Noise with which rounding decides nothing, so every object has its counterpart."""
    _, graph = export(*opts, steps=steps)
    write_onnx(graph, tmp_path / "detector.onnx", "")
    rows = check_file(tmp_path / "detector.onnx")
    assert {row.output for row in rows} == {"boxes", "scores", "classes"}
    assert all(row.passes for row in rows), rows
    assert graph.checks[0].inputs["images"].shape != graph.checks[1].inputs["images"].shape
    assert all(len(check.outputs["boxes"]) > 3 for check in graph.checks)


def test_a_graph_outlives_the_detector_that_it_is_of(small_cfg, small_model):
    graph = small_model(*SIZE).eval().export_graph(small_cfg(*SIZE), IMAGES, ExportOptions())
    again = copy.deepcopy(graph.module)
    inputs = [torch.from_numpy(graph.checks[0].inputs[name]) for name in ("images", "noise")]
    with torch.no_grad():
        for found, expected in zip(again(*inputs), graph.module(*inputs), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("renewal_thresh", [0.0, 1.0])
def test_steps_with_forced_renewal_masks_agree_box_by_box(export, tmp_path, renewal_thresh):
    """No score is at most 0 and all are at most 1: the masks cannot differ, and no selection comes after the steps."""
    _, graph = export(NODE + "RENEWAL_THRESH", renewal_thresh, steps=3, nms=False)
    write_onnx(graph, tmp_path / "detector.onnx", "")
    rows = check_file(tmp_path / "detector.onnx")
    assert {row.output for row in rows} == {"boxes", "scores"}
    assert all(row.passes for row in rows), rows
    assert graph.checks[0].outputs["boxes"].shape == (3, 20, 4)


def test_noise_changes_what_a_file_finds_and_is_all_used(export, tmp_path):
    """Each row of the noise matters: to the boxes of the steps that come after it."""
    _, graph = export(steps=1, nms=False)
    middle = float(np.median(graph.checks[0].outputs["scores"].max(-1)))
    _, graph = export(NODE + "RENEWAL_THRESH", middle, steps=2, nms=False)
    assert graph.metadata["noise"] == [4, 20, 4]
    write_onnx(graph, tmp_path / "detector.onnx", "")
    session = engines_for(tmp_path / "detector.onnx")[0](tmp_path / "detector.onnx")
    inputs = dict(graph.checks[0].inputs)
    before = session.run(inputs)["boxes"]
    renewed = graph.checks[0].outputs["scores"][0].max(-1) <= middle
    assert 0 < renewed.sum() < 20
    for row, first in enumerate((0, 1, 1, 1)):
        noise = inputs["noise"].copy()
        noise[row] += 1
        after = session.run({**inputs, "noise": noise})["boxes"]
        assert np.array_equal(after[:first], before[:first])
        assert not np.allclose(after[1], before[1])


def test_rows_of_noise():
    assert [noise_rows(steps, True) for steps in (1, 2, 4)] == [1, 4, 10]
    assert [noise_rows(steps, False) for steps in (1, 2, 4)] == [1, 2, 4]


def test_fixed_size(export, tmp_path):
    _, graph = export(steps=1, image_size=(96, 160))
    assert [check.inputs["images"].shape for check in graph.checks] == [(1, 96, 160, 3)] * 2
    assert "images" not in graph.dynamic and graph.metadata["image_size"] == [96, 160]


def test_pose_and_the_published_loop_of_several_steps_are_refused(small_cfg, small_model):
    model = small_model(*SIZE, NODE + "OFFICIAL_COMPAT", True).eval()
    with pytest.raises(ConfigError, match="OFFICIAL_COMPAT is True and there are 4 steps"):
        model.export_graph(small_cfg(*SIZE, NODE + "OFFICIAL_COMPAT", True), IMAGES, ExportOptions(steps=4))
    cfg = small_cfg(*SIZE, NODE + "POSE.ENABLED", True)
    with pytest.raises(ConfigError, match=r"POSE\.ENABLED is True: 3D poses"):
        model.export_graph(cfg, IMAGES, ExportOptions(steps=1))


def test_a_model_that_rounding_decides_is_refused(small_cfg, small_model):
    """Equal weights for all classes: every box scores the same for each, and no order among them is right."""
    model = small_model(*SIZE).eval()
    with torch.no_grad():
        for parameter in model.head.head_series[-1].class_logits.parameters():
            parameter.zero_()
    with pytest.raises(ConfigError, match="rounding decides what is found"):
        model.export_graph(small_cfg(*SIZE), IMAGES, ExportOptions())


def test_class_scores_are_probabilities_without_the_background():
    logits = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(class_scores(logits, True), 1 / (1 + torch.exp(-logits)))
    expected = np.exp([0, 1]) / np.exp([0, 1, 2]).sum()
    assert np.allclose(class_scores(logits, False).numpy(), expected)


def test_a_program_of_torch_export_finds_what_the_detector_finds(export, tmp_path, repo_dir, monkeypatch):
    """Two unrolled steps with renewal, suppression inside, two sizes of images; checked by a fresh process."""
    _, graph = export(steps=2)
    path = tmp_path / "detector.pt2"
    write_torch(graph, path, "")
    command = [sys.executable, "-W", "ignore", "-m", "d2road.cli", "export-check", str(path)]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "as the model within the tolerances" in done.stdout, done.stderr + done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:4]] == [["torch", n] for n in graph.output_names]
    assert all(len(check.outputs["boxes"]) > 3 for check in graph.checks)
    example: dict = {}
    section = (repo_dir / "docs" / "export.md").read_text().split("## PyTorch programs")[1]
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", section, re.S)[0], example)
    assert example["boxes"].shape == (len(example["scores"]), 4) and example["classes"].dtype == torch.int64
    session, inputs = TorchSession(path), dict(graph.checks[0].inputs)
    for changed, said in (
        ({"images": inputs["images"].astype(np.float32)}, r"float32, expected \(1, any, any, 3\) torch.uint8"),
        ({"noise": inputs["noise"][:, :-1]}, r"noise is \(4, 19, 4\) .*expected \(4, 20, 4\)"),
        ({"camera": inputs["noise"]}, r"inputs are \['camera', 'images', 'noise'\]"),
    ):
        with pytest.raises(DataError, match=said):
            session.run(inputs | changed)


def test_runtime_runs_a_program_of_torch_export_with_selection_outside(export, tmp_path):
    """On an image of a size that the exporter has not seen, wide and flat."""
    model, graph = export(steps=1, nms=False)
    write_torch(graph, tmp_path / "detector.pt2", "")
    assert_runtime_finds_what_the_graph_finds(model, tmp_path / "detector.pt2", smooth_image(60, 310, 3))


def test_suppression_of_many_boxes_in_an_exported_graph_is_that_of_the_detector(monkeypatch):
    """Of so many that torchvision goes through the classes one by one, with boxes at negative places."""
    corner = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 3000 - 200
    boxes = torch.cat([corner, corner + 400], dim=1)
    scores, classes = torch.rand(2000, generator=torch.Generator().manual_seed(1)), torch.arange(2000) % 80
    expected = suppress(boxes, scores, classes, 0.5)
    monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
    assert 500 < len(expected) < 1990 and torch.equal(suppress(boxes, scores, classes, 0.5), expected)


def test_selection_outside_is_that_of_the_detector(small_cfg, small_model):
    """In numpy, from what the steps of the detector predict."""
    for opts in ((), (NODE + "USE_FOCAL", False), (NODE + "ENSEMBLE", False)):
        model = unrolled(small_model(*SIZE, *opts).eval(), 3)
        options = ExportOptions(steps=3, nms=False)
        entry = {"image": torch.from_numpy(IMAGES[0].transpose(2, 0, 1).copy()).float(), "content_id": "one"}
        entry |= {"height": 180, "width": 280}
        expected = detect(model, entry, nms=True)
        found = objects_of(detect(model, entry, nms=False), metadata(model, small_cfg(*SIZE), options), 180, 280)
        assert len(found["boxes"]) > 3
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
        assert np.array_equal(found["classes"], expected["classes"])


def test_runtime_finds_what_the_graph_finds(export, tmp_path):
    """Without torch, from an image file and a seed."""
    model, graph = export(steps=1, nms=False)
    write_onnx(graph, tmp_path / "detector.onnx", "")
    with pytest.raises(ConfigError, match=r"batch_size is 4: .*detector\.onnx is for detection and takes 1 image"):
        Runtime(tmp_path / "detector.onnx", batch_size=4)
    assert_runtime_finds_what_the_graph_finds(model, tmp_path / "detector.onnx", IMAGES[0])


def assert_runtime_finds_what_the_graph_finds(model, path, image):
    """Of one step and any file with selection outside: the graph itself, untraced, selects as the detector does."""
    Image.fromarray(image).save(path.with_name("image.png"))
    found = Runtime(path)(path.with_name("image.png"), seed=3)
    noise = np.random.default_rng(3).standard_normal((1, 20, 4), dtype=np.float32)
    resize = ShortestEdgeResize(72, 128, pillow_orders_axes(), model.backbone.size_divisibility)
    whole = DetectionGraph(unrolled(model, 1), resize, "RGB", nms=True)
    with torch.no_grad():
        boxes, scores, classes = (v.numpy() for v in whole(torch.tensor(image)[None], torch.from_numpy(noise)))
    assert len(found["boxes"]) > 3
    np.testing.assert_allclose(found["boxes"], boxes, atol=0.05)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-3)
    assert np.array_equal(found["classes"], classes)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_library_starts_from_the_random_boxes_of_the_model(small_cfg, small_model, tmp_path, backend):
    """So both find the same objects in the same image, to the rounding of the library."""
    pytest.importorskip(backend)
    torch.save({"model": small_model(*SIZE).state_dict()}, tmp_path / "weights.pth")
    bgr = np.ascontiguousarray(IMAGES[0][:, :, ::-1])
    expected = Predictor(small_cfg(*SIZE), tmp_path / "weights.pth")(bgr)["instances"]
    predict = Predictor(small_cfg(*SIZE, "INFERENCE.BACKEND", backend), tmp_path / "weights.pth")
    found = predict(bgr)["instances"]
    assert len(found) == len(expected) > 3 and found.image_size == bgr.shape[:2]
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=0.05, rtol=1e-4)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=0)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    with pytest.raises(ConfigError, match="does not tell its steps"):
        predict(bgr, with_steps=True)


def test_bfloat16_keeps_what_the_answer_is_computed_in(small_cfg, small_model, tmp_path):
    torch.save({"model": small_model(*SIZE).state_dict()}, tmp_path / "weights.pth")
    bgr = np.ascontiguousarray(IMAGES[0][:, :, ::-1])
    exact = Predictor(small_cfg(*SIZE), tmp_path / "weights.pth")
    predict = Predictor(small_cfg(*SIZE, "INFERENCE.PRECISION", "bf16"), tmp_path / "weights.pth")
    stage, seen = predict.model.head.head_series[-1], []
    for layer in (stage.class_logits, stage.bboxes_delta):
        assert layer.weight.dtype == torch.float32
        layer.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out.dtype)))
    stage.linear1.register_forward_hook(lambda module, args, out: seen.append((module.weight.dtype, out.dtype)))
    one, other = predict(bgr)["instances"], exact(bgr)["instances"]
    assert set(seen) == {(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)}
    assert one.pred_boxes.tensor.dtype == one.scores.dtype == torch.float32
    count = min(len(one), len(other), 3)
    assert count and (one.scores[:count] - other.scores[:count]).abs().max() < 0.05
