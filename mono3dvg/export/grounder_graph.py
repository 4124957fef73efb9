"""Export graph of the grounder, with test sentences and what the model itself answers, and what a program must know.

One file holds one graph of all parts: an image is encoded once for all the sentences that come with it, the candidates
are one set, and nothing has to be handed from file to file. The tokenizer stays outside, in the metadata.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from PIL import Image

from d2road.engine.predictor import class_metadata
from d2road.export.antialiased_resize import pillow_orders_axes
from d2road.export.graph import ExportGraph, ExportOptions, GraphCheck
from d2road.export.sentence_tokens import token_arrays
from d2road.export.shortest_edge_resize import ShortestEdgeResize
from d2road.layers.mamba2 import Mamba2
from d2road.structures import Camera
from d2road.utils.errors import ConfigError
from mono3dvg.export.parts import CAMERA, TOKENS, ImagePart, ScoringPart, SentencePart, WholeGrounder
from mono3dvg.inference import answer_scores

logger = logging.getLogger(__name__)

# Metres and radians; pixels; probability.
TOLERANCES = {
    "boxes_3d": (2e-3, 1e-4), "boxes": (0.05, 1e-4), "classes": (0.0, 0.0), "heat": (1e-3, 0.0),
    "scores": (1e-3, 0.0), "presence": (1e-3, 0.0), "relevance": (1e-3, 0.0),
}  # fmt: skip
# Test sentences; of each test image other ones, of other lengths.
SENTENCES = (
    ("the white car", "the second car from the left", "all vehicles about 30 metres away"),
    ("a pedestrian", "the bus behind the red truck that is nearest to the camera"),
)
FOCAL, LEVEL_GROUND = 1.2, (0.0, -0.97, -0.24, 6.0)  # of a test camera: in widths of the image; 14 degrees down, 6 m


def export_graph(model: Any, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
    """The graph of a grounder; arguments and errors as of `d2road.engine.meta_arch.ExportsGraph`.

    Args:
        model: a Mono3DVG in eval mode.
    """
    require_graph(model, cfg, options)
    module = whole_grounder(model, cfg)
    if options.image_size is not None:
        height, width = options.image_size
        images = [np.asarray(Image.fromarray(i).resize((width, height), Image.Resampling.BILINEAR)) for i in images]
    checks = []
    for number, (image, texts) in enumerate(zip(images, SENTENCES, strict=True)):
        height, width = image.shape[:2]
        K = np.array([[FOCAL * width, 0, width / 2], [0, FOCAL * width, height / 2], [0, 0, 1]])
        camera = Camera(K, None if number else np.array(LEVEL_GROUND))  # the second has none
        inputs = graph_inputs(model, image, camera, texts)
        checks.append(GraphCheck(inputs, expected_outputs(model, cfg, image, camera, texts)))
        if not len(checks[-1].outputs["boxes_3d"]):
            logger.warning("Nothing is found in test image %d, which so proves little: see --test-images", number + 1)
    names = module.output_names
    return ExportGraph(
        module=module.eval(),
        input_names=module.input_names,
        output_names=names,
        dynamic=_dynamic_axes(names, options),
        checks=(checks[0], checks[1]),
        tolerances={name: TOLERANCES[name] for name in names},
        metadata=metadata(model, cfg, options),
    )


def require_graph(model: Any, cfg: CfgNode, options: ExportOptions) -> None:
    """Refuse models of which there is no graph, or none that means something.

    Raises:
        ConfigError: a query head, an ablated input, a training stage that does not train all parts, a map that is
            scanned where the size of the images is open.
    """
    options.refuse_sampling("a grounder")
    node = cfg.MODEL.MONO3DVG
    if model.query_head is not None:
        raise ConfigError(
            "MODEL.MONO3DVG.HEAD is 'query': its decoder has no graph; train the model with HEAD 'dense' to export it"
        )
    if node.ABLATE_INPUT:
        raise ConfigError(
            f"MODEL.MONO3DVG.ABLATE_INPUT is {node.ABLATE_INPUT!r}: a model that is not given its {node.ABLATE_INPUT} "
            "is no grounder; export one with ABLATE_INPUT ''"
        )
    if node.TRAINING_STAGE:
        raise ConfigError(
            f"MODEL.MONO3DVG.TRAINING_STAGE is {node.TRAINING_STAGE!r}, which trains a part of the model alone; export "
            "the model of the last stage, TRAINING_STAGE ''"
        )
    directions = max((getattr(stage, "directions", 0) for stage in model.neck.stages), default=0)
    if directions and node.FUSION.NAME != "unidirectional" and options.image_size is None:
        raise ConfigError(
            f"MODEL.MONO3DVG.FUSION.DIRECTIONS is {directions}: the chunks of a scanned map have no graph for images "
            "of any size; export for one with --image-size H W"
        )


def whole_grounder(model: Any, cfg: CfgNode) -> WholeGrounder:
    """All parts over copies of the model's submodules, whose scans of words are one chunk: of any length."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    longest = model.text_encoder.max_tokens + cfg.MODEL.MONO3DVG.SSD.STATE
    for module in model.modules():
        if isinstance(module, Mamba2):
            module.chunk_size = max(module.chunk_size, longest)
    resize = ShortestEdgeResize(
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, pillow_orders_axes(), model.backbone.size_divisibility
    )
    image = ImagePart(model, resize, cfg.INPUT.FORMAT)
    return WholeGrounder(image, SentencePart(model), ScoringPart(model, image.output_names))


def graph_inputs(model: Any, image: np.ndarray, camera: Camera, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Inputs of the graph by name, from an image (H, W, 3) uint8 RGB."""
    encoder = model.text_encoder
    plane = np.zeros(4) if camera.ground is None else camera.ground
    given = {"images": image[None].copy(), "projection": camera.P.astype(np.float32)}
    given["ground_plane"] = plane.astype(np.float32)
    assert tuple(given) == CAMERA
    return given | token_arrays(encoder.ready_tokenizer(), texts, encoder.pad_id)


@torch.no_grad()
def expected_outputs(
    model: Any, cfg: CfgNode, image: np.ndarray, camera: Camera, texts: Sequence[str]
) -> dict[str, np.ndarray]:
    """What the model, not a graph, computes of an image (H, W, 3) RGB and sentences, by the graph's outputs."""
    edge = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    pixels = edge.get_transform(image).apply_image(image)
    (height, width), (new_height, new_width) = image.shape[:2], pixels.shape[:2]
    pixels = pixels if cfg.INPUT.FORMAT == "RGB" else pixels[:, :, ::-1]
    entry = {
        "image": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        "camera": camera.resized(new_width / width, new_height / height),
    }
    seen = model.encode_image([entry])
    text = model.encode_text(texts)
    fused = model.fuse(seen, text, torch.zeros(len(texts), dtype=torch.long))
    found = model.detect(seen, fused)
    logits, presence = model.score_candidates(fused, found)
    scores = answer_scores(found.candidates, logits, presence, model.inference.heat_exponent)
    kept = seen.peaks.valid[0]
    scale = torch.tensor([width / new_width, height / new_height]).repeat(2)
    relevance = text.relevance if text.relevance is not None else text.mask.float()
    tokens = max(len(row.ids) for row in model.text_encoder.ready_tokenizer().encode_batch(list(texts)))
    outputs = {
        "boxes_3d": seen.peaks.rows[0, kept], "boxes": (seen.peaks.boxes_xyxy[0] * scale)[kept],
        "classes": seen.peaks.classes[0, kept], "heat": seen.peaks.heat[0, kept], "scores": scores[:, kept],
        "relevance": torch.nn.functional.pad(relevance, (0, tokens - relevance.shape[1])),
    }  # fmt: skip
    if presence is not None:
        outputs["presence"] = presence.sigmoid()
    return {name: value.cpu().numpy() for name, value in outputs.items()}


def _dynamic_axes(outputs: Sequence[str], options: ExportOptions) -> dict[str, dict[int, str]]:
    axes: dict[str, dict[int, str]] = {} if options.image_size else {"images": {1: "height", 2: "width"}}
    axes |= {name: {0: "sentences", 1: "tokens"} for name in (*TOKENS, "relevance")}
    axes |= {name: {0: "candidates"} for name in ("boxes_3d", "boxes", "classes", "heat")}
    axes["scores"] = {0: "sentences", 1: "candidates"}
    if "presence" in outputs:
        axes["presence"] = {0: "sentences"}
    return axes


def metadata(model: Any, cfg: CfgNode, options: ExportOptions) -> Mapping[str, Any]:
    """What a program must know that runs the file; JSON-able."""
    known = class_metadata(cfg)
    names = list(known.get("thing_classes", [])) if known is not None else list(cfg.MODEL.MONO3DVG.CLASSES)
    encoder = model.text_encoder
    return {
        "task": "grounding",
        "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
        "classes": names,
        "image_size": list(options.image_size) if options.image_size else None,
        "boxes_3d": "x, y, z of the bottom centre in the camera frame, h, w, l in metres, ry in radians",
        "ry_frame": model.inputs.ry_frame,
        "boxes": "x1, y1, x2, y2 in pixels of the image",
        "uses_ground_plane": model.inputs.use_given_ground,
        "score_threshold": model.score_threshold,
        "min_score": model.inference.min_score,
        "tokenizer": encoder.ready_tokenizer().to_str(),
        "pad_id": encoder.pad_id,
        "max_tokens": encoder.max_tokens,
    }
