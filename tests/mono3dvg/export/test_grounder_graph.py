"""The grounder as a graph: what the model answers, untraced for every variant, and from files for any input."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from d2road.engine import Predictor
from d2road.export.check_file import check_file
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.export.torch_file import write_torch
from d2road.runtime import Runtime
from d2road.runtime.grounding import make_task
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, DataError
from mono3dvg.export.grounder_graph import metadata, require_graph
from tests.factories.blocked_imports import run_without
from tests.factories.grounders import NODE, tiny_cfg

pytestmark = pytest.mark.slow

LIKE_THE_SHIPPED = (
    NODE + "FUSION.NAME", "unidirectional", NODE + "DETECTION.ATTRIBUTES", True, NODE + "RELATION.PRESENCE", True,
)  # fmt: skip
VARIANTS = {
    "like the shipped": LIKE_THE_SHIPPED,
    "text_conditioned": (NODE + "FUSION.NAME", "text_conditioned"),
    "mamba_fusion": (NODE + "FUSION.NAME", "mamba_fusion"),
    "cross_attention": (NODE + "FUSION.NAME", "cross_attention", NODE + "RELATION.NUMBERS", False),
    "no relation, no filter": (NODE + "RELATION.ENABLED", False, NODE + "FILTER.ENABLED", False),
    "no ground, no suppression, blue first": (
        NODE + "USE_GIVEN_GROUND", False, NODE + "DETECTION.NMS_2D", 1.0, NODE + "DETECTION.NMS_BEV", 1.0,
        "INPUT.FORMAT", "BGR",
    ),
}  # fmt: skip
TEXTS = ("the car", "two white vans about 40 m away", "all that is left of the bus", "it", "the 3rd truck")
EVERYTHING = (NODE + "DETECTION.MIN_HEAT", 0.0, "TEST.GROUNDING.MIN_SCORE", 0.0)


def noisy_image(height, width, seed=0):
    """(H, W, 3) uint8, RGB, of blocks that a network sees."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 12), -(-width // 12), 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 12, 0), 12, 1)[:height, :width].copy()


IMAGES = [noisy_image(180, 320), noisy_image(150, 200, 1)]


@pytest.fixture(scope="module")
def grounder(repo_dir, grounding_data, tmp_path_factory):
    """A model whose detections differ clearly, and its config."""

    def make(*opts):
        seed_all_rng(5)
        cfg = tiny_cfg(repo_dir, grounding_data, tmp_path_factory.mktemp("out"), *EVERYTHING, *opts)
        model = build_model(cfg).eval()
        with torch.no_grad():
            model.dense_head.heat.weight *= 30
        return model, cfg

    return make


@pytest.fixture(scope="module")
def exported(grounder, tmp_path_factory):
    """A file, its model and config."""
    pytest.importorskip("onnxruntime")
    model, cfg = grounder(*LIKE_THE_SHIPPED)
    path = tmp_path_factory.mktemp("exported") / "grounder.onnx"
    write_onnx(model.export_graph(cfg, IMAGES, ExportOptions()), path, cfg.dump())
    return path, model, cfg


def outputs_of(graph, inputs):
    with torch.no_grad():
        found = graph.module(*(torch.from_numpy(np.asarray(inputs[name])) for name in graph.input_names))
    return {name: value.numpy() for name, value in zip(graph.output_names, found, strict=True)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_computes_what_the_stages_of_the_model_do(grounder, variant):
    """With room for all candidates, overlaps of all pairs, a camera of tensors and words behind special tokens."""
    model, cfg = grounder(*VARIANTS[variant])
    graph = model.export_graph(cfg, IMAGES, ExportOptions())
    for check in graph.checks:
        found = outputs_of(graph, check.inputs)
        assert len(check.outputs["boxes_3d"]) >= 3
        for name in graph.output_names:
            np.testing.assert_allclose(found[name], check.outputs[name], atol=1e-4, rtol=1e-4, err_msg=name)


def test_every_engine_reproduces_the_file(exported):
    rows = check_file(exported[0])
    assert {row.output for row in rows} >= {"boxes_3d", "scores", "presence"} and all(row.passes for row in rows)


def test_the_runtime_answers_any_sentences_about_images_of_any_size(exported):
    """As many as come, of any length, and of the image's own camera; the same boxes as the model, in its order."""
    path, model, cfg = exported
    image, camera = noisy_image(200, 240, 2), Camera(np.array([[200.0, 0, 118, 9], [0, 210, 95, -4], [0, 0, 1, 0.1]]))
    with torch.no_grad():
        (expected,) = model([model_input(image, camera, TEXTS, cfg)])
    limit = float(np.median(np.concatenate([answer["scores"] for answer in expected["groundings"]])))
    runtime = Runtime(path)
    found = runtime(image[:, :, ::-1], sentences=TEXTS, camera=camera, score_threshold=limit)["groundings"]
    assert [answer["text"] for answer in found] == list(TEXTS) and sum(len(a["scores"]) for a in found) > 20
    for one, other in zip(found, expected["groundings"], strict=True):
        count = int((other["scores"] >= limit).sum())
        assert len(one["scores"]) == count and 0 < one["presence"] < 1
        np.testing.assert_allclose(one["scores"], other["scores"][:count], atol=1e-3)
        np.testing.assert_allclose(one["boxes"], other["boxes"][:count], atol=0.01)
        np.testing.assert_allclose(one["boxes_xyxy"], other["boxes_xyxy"][:count], atol=0.05)
        np.testing.assert_array_equal(one["classes"], other["classes"][:count])
    nothing = runtime(image, sentences=TEXTS[:1], camera=camera.P, score_threshold=1.1)["groundings"]
    assert [answer["boxes"].shape for answer in nothing] == [(0, 7)]


def test_a_program_of_torch_export_answers_as_the_file_for_onnxruntime(exported, tmp_path, repo_dir):
    """Test images in a fresh process, and an image of another size with other sentences."""
    onnx, model, cfg = exported
    path = tmp_path / "grounder.pt2"
    write_torch(model.export_graph(cfg, IMAGES, ExportOptions()), path, cfg.dump())
    command = [sys.executable, "-W", "ignore", "-m", "d2road.cli", "export-check", str(path)]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "as the model within the tolerances" in done.stdout, done.stderr + done.stdout
    assert {"boxes_3d", "scores", "presence"} <= {line.split()[1] for line in done.stdout.splitlines()[1:-1]}
    image, camera = noisy_image(110, 290, 4), [[200.0, 0, 140], [0, 210, 50], [0, 0, 1]]
    answers = [
        Runtime(file)(image, sentences=TEXTS, camera=camera, score_threshold=0.0)["groundings"] for file in (path, onnx)
    ]
    assert sum(len(answer["scores"]) for answer in answers[0]) > 10
    for one, other in zip(*answers, strict=True):
        for key, off in (("scores", 1e-3), ("boxes", 0.01), ("boxes_xyxy", 0.05), ("classes", 0)):
            np.testing.assert_allclose(one[key], other[key], atol=off, err_msg=key)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sentences": ["car"]}, "needs the camera of the image"),
        ({"sentences": ["car"], "camera": np.zeros((3, 3))}, "positive focal lengths"),
        ({"sentences": ["car"], "camera": np.eye(3), "ground": np.ones(3)}, "four finite numbers"),
        ({"sentences": "car", "camera": np.eye(3)}, "expected a list of at least one"),
        ({"sentences": ["car", " "], "camera": np.eye(3)}, "expected words that say what to find"),
        ({"sentences": ["car"], "camera": np.eye(3), "noise": 1}, "not noise"),
    ],
)
def test_the_runtime_refuses_what_it_cannot_answer(exported, given, message):
    _, model, cfg = exported
    task = make_task(metadata(model, cfg, ExportOptions()))
    with pytest.raises(DataError, match=message):
        task.inputs([IMAGES[0]], **given)


def test_the_runtime_needs_no_torch(exported, repo_dir):
    code = f"""
import numpy as np
from d2road.runtime import Runtime
image = np.zeros((90, 160, 3), np.uint8)
camera = [[120, 0, 80], [0, 120, 45], [0, 0, 1]]
found = Runtime("{exported[0]}", threads=1)(image, sentences=["the car"], camera=camera)
print(found["groundings"][0]["text"])
"""
    blocked = ("torch", "detectron2", "transformers", "cv2", "onnx")
    assert run_without(blocked, code, repo_dir) == "the car\n"


def model_input(image, camera, texts, cfg):
    """As `d2road.engine.Predictor` makes it of an image (H, W, 3) RGB."""
    edge = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    pixels = edge.get_transform(image).apply_image(image)
    (height, width), (new_height, new_width) = image.shape[:2], pixels.shape[:2]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), "height": height, "width": width,
        "camera": camera.resized(new_width / width, new_height / height),
        "expressions": [{"id": i, "text": text} for i, text in enumerate(texts)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((NODE + "HEAD", "query"), r"HEAD is 'query': its decoder has no graph"),
        ((NODE + "ABLATE_INPUT", "image"), r"ABLATE_INPUT is 'image'"),
        ((NODE + "FUSION.DIRECTIONS", 2, NODE + "FUSION.NAME", "bidirectional"), r"export for one with --image-size"),
    ],
)
def test_models_without_a_graph_are_refused(grounder, opts, message):
    model, cfg = grounder(*opts)
    with pytest.raises(ConfigError, match=message):
        model.export_graph(cfg, IMAGES, ExportOptions())


def test_options_of_a_sampler_are_not_dropped_silently():
    for options, named in ((ExportOptions(steps=2), "--steps"), (ExportOptions(nms=False), "--no-nms")):
        with pytest.raises(ConfigError, match=f"{named} is for DiffusionDet, this is a grounder"):
            require_graph(None, None, options)


def prediction(cfg, weights, *opts):
    """What `Predictor` answers, and itself."""
    changed = cfg.clone()
    changed.defrost()
    changed.merge_from_list(list(opts))
    predict = Predictor(changed, weights)
    image, camera = noisy_image(200, 240, 2), Camera(np.array([[200.0, 0, 118, 9], [0, 210, 95, -4], [0, 0, 1, 0.1]]))
    asked = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    return predict, predict(image, camera, expressions=asked)["groundings"]


@pytest.fixture(scope="module")
def stored(exported, tmp_path_factory):
    """Config and weights of the model of the file."""
    _, model, cfg = exported
    path = tmp_path_factory.mktemp("stored") / "weights.pth"
    torch.save({"model": model.state_dict()}, path)
    return cfg, path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_another_library_answers_as_the_model_does(stored, backend):
    pytest.importorskip(backend)
    exact, expected = prediction(*stored)
    predict, found = prediction(*stored, "INFERENCE.BACKEND", backend)
    assert predict.model.score_threshold == pytest.approx(exact.model.score_threshold)
    for one, other in zip(found, expected, strict=True):
        for name in ("expression_id", "words", "spans"):
            assert one[name] == other[name], name
        assert len(one["scores"]) == len(other["scores"]) > 3
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-3, rtol=0)
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=0.01, rtol=0)
        torch.testing.assert_close(one["boxes_xyxy"], other["boxes_xyxy"], atol=0.05, rtol=0)
        np.testing.assert_allclose(one["relevance"], other["relevance"], atol=1e-3)
    assert predict(noisy_image(200, 240, 2), Camera(np.eye(3)))["groundings"] == []


def test_bfloat16_keeps_heads_and_boxes_in_full(stored):
    _, expected = prediction(*stored)
    predict, found = prediction(*stored, "INFERENCE.PRECISION", "bf16")
    kinds = {name: {p.dtype for p in part.parameters()} for name, part in predict.model.named_children()}
    assert all(torch.bfloat16 in kinds[name] for name in ("backbone", "text_encoder", "neck"))
    assert kinds["dense_head"] == kinds["relation"] == {torch.float32}
    for one, other in zip(found, expected, strict=True):
        assert one["scores"].dtype == one["boxes"].dtype == torch.float32
        assert abs(float(one["scores"][0]) - float(other["scores"][0])) < 0.1
