"""The grounder as a graph: what the model answers, untraced for every variant, and from files for any input."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from d2road.export.check_file import check_file
from d2road.export.engines import engines_for
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.structures import Camera
from d2road.utils.errors import ConfigError
from mono3dvg.export.grounder_graph import graph_inputs
from tests.factories.grounders import NODE, tiny_cfg

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
EVERYTHING = (NODE + "DETECTION.MIN_HEAT", 0.0, "TEST.GROUNDING.MIN_SCORE", 0.0)


def noisy_image(height, width, seed=0):
    """(H, W, 3) uint8, RGB, of blocks that a network sees."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 12), -(-width // 12), 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 12, 0), 12, 1)[:height, :width].copy()


IMAGES = [noisy_image(180, 320), noisy_image(150, 200, 1)]


@pytest.fixture
def grounder(repo_dir, grounding_data, tmp_path):
    """A model whose detections differ clearly, and its config."""

    def make(*opts):
        seed_all_rng(5)
        cfg = tiny_cfg(repo_dir, grounding_data, tmp_path / "out", *EVERYTHING, *opts)
        model = build_model(cfg).eval()
        with torch.no_grad():
            model.dense_head.heat.weight *= 30
        return model, cfg

    return make


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


def test_a_file_answers_any_sentences_about_images_of_any_size(grounder, tmp_path):
    model, cfg = grounder(*LIKE_THE_SHIPPED)
    path = tmp_path / "grounder.onnx"
    write_onnx(model.export_graph(cfg, IMAGES, ExportOptions()), path, cfg.dump())
    assert all(row.passes for row in check_file(path))
    texts = ("the car", "two white vans about 40 m away", "all that is left of the bus", "it", "the 3rd truck")
    image, camera = noisy_image(200, 240, 2), Camera(np.array([[200.0, 0, 118, 9], [0, 210, 95, -4], [0, 0, 1, 0.1]]))
    entry = model_input(image, camera, texts, cfg)
    with torch.no_grad():
        (expected,) = model([entry])
    found = engines_for(path)[0](path).run(graph_inputs(model, image, camera, texts))
    for scores, answer in zip(found["scores"], expected["groundings"], strict=True):
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(scores[order], answer["scores"], atol=1e-3)
        chosen = order[scores[order] > np.median(scores)]
        np.testing.assert_allclose(found["boxes_3d"][chosen], answer["boxes"][: len(chosen)], atol=0.01)
        np.testing.assert_allclose(found["boxes"][chosen], answer["boxes_xyxy"][: len(chosen)], atol=0.05)


def model_input(image, camera, texts, cfg):
    """As `d2road.engine.Predictor` makes it of an image (H, W, 3) RGB."""
    from detectron2.data.transforms import ResizeShortestEdge

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
