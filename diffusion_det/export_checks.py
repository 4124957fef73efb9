"""Export graph of a detector, with test images whose outcome does not hang on rounding, and what a program must know.

A random box whose score lies at the renewal threshold, or two objects of one score, make the last digit of a sum decide
what comes out. The noise of a test image is therefore the first with which single and double precision agree.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from PIL import Image

from d2road.engine.predictor import class_metadata, content_id
from d2road.export.antialiased_resize import pillow_orders_axes
from d2road.export.graph import ExportGraph, ExportOptions, GraphCheck
from d2road.export.shortest_edge_resize import ShortestEdgeResize
from d2road.utils.errors import ConfigError
from diffusion_det.denoising import GeneratorNoise, image_generator
from diffusion_det.export_graph import DetectionGraph, candidates, noise_rows, unrolled

TOLERANCES = {"boxes": (0.05, 1e-5), "scores": (1e-3, 0.0), "classes": (0.0, 0.0)}  # pixels; probability
ATTEMPTS = 24


def export_graph(model: Any, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
    """The graph of a DiffusionDet; arguments and errors as of `d2road.engine.meta_arch.ExportsGraph`.

    Args:
        model: see `UnrollableDetector`, in eval mode.
    """
    steps = options.steps or model.sample_step
    _require_graph(cfg, steps)
    model.proposals.check_sampling(steps, model.test_num_proposals)
    model.fold_for_inference()
    model = unrolled(model, steps)
    if model.sampling.nms_thresh is None:  # nothing to suppress, and no order without it
        options = replace(options, nms=False)
    if options.image_size is not None:
        height, width = options.image_size
        images = [np.asarray(Image.fromarray(i).resize((width, height), Image.Resampling.BILINEAR)) for i in images]
    exact = unrolled(copy.deepcopy(model).double(), steps)
    checks = [certain_check(model, exact, cfg, image, options.nms) for image in images]
    names = ("boxes", "scores", "classes") if options.nms else ("boxes", "scores")
    resize = ShortestEdgeResize(
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, pillow_orders_axes(), model.backbone.size_divisibility
    )
    return ExportGraph(
        module=DetectionGraph(model, resize, cfg.INPUT.FORMAT, options.nms).eval(),
        input_names=("images", "noise") if graph_rows(model) else ("images",),
        output_names=names,
        dynamic=_dynamic_axes(options),
        checks=(checks[0], checks[1]),
        tolerances={name: TOLERANCES[name] for name in names},
        metadata=metadata(model, cfg, options),
    )


def _require_graph(cfg: CfgNode, steps: int) -> None:
    node = cfg.MODEL.DiffusionDet
    if node.POSE.ENABLED:
        raise ConfigError(
            "MODEL.DiffusionDet.POSE.ENABLED is True: 3D poses, which need the camera of an image, have no graph; set "
            "it to False to export the 2D detector of these weights alone"
        )
    if node.OFFICIAL_COMPAT and steps > 1:
        raise ConfigError(
            f"MODEL.DiffusionDet.OFFICIAL_COMPAT is True and there are {steps} steps: the published loop drops boxes "
            "between steps, which has no graph; export 1 step, or set OFFICIAL_COMPAT False"
        )


def _dynamic_axes(options: ExportOptions) -> dict[str, dict[int, str]]:
    axes: dict[str, dict[int, str]] = {} if options.image_size else {"images": {1: "height", 2: "width"}}
    if options.nms:
        axes |= {name: {0: "objects"} for name in ("boxes", "scores", "classes")}
    return axes


def metadata(model: Any, cfg: CfgNode, options: ExportOptions) -> dict[str, Any]:
    """What a program must know that runs the file; JSON-able."""
    sampling = model.sampling
    known = class_metadata(cfg)
    return {
        "task": "detection",
        "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
        "classes": list(known.get("thing_classes", [])) if known is not None else [],
        "image_size": list(options.image_size) if options.image_size else None,
        "boxes": "x1, y1, x2, y2 in pixels of the image",
        # Shape of the input, standard normal numbers; of no rows where there is no such input.
        "noise": [graph_rows(model), model.test_num_proposals, 4],
        "nms": "inside" if options.nms else "outside",
        "nms_thresh": sampling.nms_thresh,
        "several_classes_a_box": bool(model.criterion.options.use_focal),
        "steps": model.sample_step,
        "sampler": model.sampler,
        "renewal_thresh": sampling.renewal_thresh,
        "ensemble": sampling.ensemble,
    }


def certain_check(model: Any, exact: Any, cfg: CfgNode, image: np.ndarray, nms: bool) -> GraphCheck:
    """An image (H, W, 3) RGB with noise and what the model finds; the first noise is that of `Predictor`.

    Where nothing is random, the image is shifted, round its edge, in place of another noise.

    Args:
        exact: the model in double precision.
    Raises:
        ConfigError: with no noise of ATTEMPTS is it certain what the model finds.
    """
    identity, random = content_id(image[:, :, ::-1]), graph_rows(model) > 0
    for attempt in range(ATTEMPTS):
        shown = image if random else np.roll(image, attempt, axis=1)
        entry = model_input(cfg, shown) | {"content_id": f"{identity} {attempt}" if attempt else identity}
        outputs = detect(model, entry, nms)
        if _is_certain(outputs, detect(exact, entry, nms)):
            noise = {"noise": draw_noise(model, entry)} if random else {}
            return GraphCheck({"images": shown[None].copy()} | noise, outputs)
    raise ConfigError(
        f"with {model.sample_step} steps rounding decides what is found in the test images, whatever their noise, so "
        "that no file can be checked by them: choose other --test-images, fewer --steps, or a model that is trained"
    )


def model_input(cfg: CfgNode, image: np.ndarray) -> dict[str, Any]:
    """The model's input of an image (H, W, 3) RGB."""
    edge = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    resized = edge.get_transform(image).apply_image(image)
    if cfg.INPUT.FORMAT == "BGR":
        resized = resized[:, :, ::-1]
    pixels = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
    return {"image": pixels, "height": image.shape[0], "width": image.shape[1]}


def graph_rows(model: Any) -> int:
    """R of the graph's noise: 0 where nothing in it is random."""
    if model.sample_step == 1 and not model.proposals.drawn:
        return 0
    return noise_rows(model.sample_step, model.sampling.renewal_thresh is not None)


def draw_noise(model: Any, entry: Mapping[str, Any]) -> np.ndarray:
    """The graph's noise (R, N, 4) that `model` uses for a model input."""
    source = GeneratorNoise([image_generator(entry, model.sampling.seed)])
    rows = [source.normal(model.test_num_proposals, 4) for _ in range(graph_rows(model))]
    return torch.cat([torch.empty(0, model.test_num_proposals, 4), *rows]).numpy()


@torch.no_grad()
def detect(model: Any, entry: dict, nms: bool) -> dict[str, np.ndarray]:
    """What a model, not a graph, finds in a model input, by the names of the graph's outputs."""
    if nms:
        found = model([entry])[0]["instances"]
        tensors = {"boxes": found.pred_boxes.tensor, "scores": found.scores, "classes": found.pred_classes}
    else:
        batch, whwh = model.preprocess_sized([entry])
        noise = GeneratorNoise([image_generator(entry, model.sampling.seed)])
        steps = model.denoise(model.features(batch), whwh, noise)
        size = torch.tensor([entry["width"], entry["height"]]).repeat(2).to(whwh)
        boxes, scores = candidates(steps, model, whwh, size)
        tensors = {"boxes": boxes, "scores": scores}
    kinds = {"boxes": np.float32, "scores": np.float32, "classes": np.int64}
    return {name: value.cpu().numpy().astype(kinds[name]) for name, value in tensors.items()}


def _is_certain(single: Mapping[str, np.ndarray], double: Mapping[str, np.ndarray]) -> bool:
    """Whether two precisions find the same, far within the tolerance, and objects in no doubtful order."""
    if any(single[name].shape != double[name].shape for name in single):
        return False
    for name, found in single.items():
        off = np.abs(found - double[name])
        absolute, relative = TOLERANCES[name]
        if (off > (absolute + relative * np.abs(found)) / 4).any():
            return False
    if "classes" not in single:
        return True
    off = np.abs(single["scores"] - double["scores"]).clip(min=5e-8)
    return bool((-np.diff(single["scores"]) > 3 * np.maximum(off[1:], off[:-1])).all())
