"""A DiffusionDet with random weights, and random images for it."""

import argparse

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from d2road.config import make_cfg
from d2road.data import num_classes_of
from d2road.utils.rng import seeded_rng

OBJECTS = 10  # on each training image


def build(args: argparse.Namespace, boxes: int, steps: int = 1, compat: bool = False) -> tuple[CfgNode, nn.Module]:
    """Config and model with random weights, of a size as after a training.

    Batch norms hold statistics, classes stand out, and the stages move boxes by little: with the large steps of an
    untrained regressor rounding errors grow from stage to stage until no two implementations agree.
    """
    cfg = make_cfg(args.config_file, args.opts)
    cfg.MODEL.WEIGHTS = cfg.MODEL.TIMM.WEIGHTS = ""
    node = cfg.MODEL.DiffusionDet
    node.NUM_PROPOSALS, node.TEST_NUM_PROPOSALS, node.SAMPLE_STEP = boxes, -1, steps
    node.OFFICIAL_COMPAT = node.OFFICIAL_COMPAT or compat
    if node.NUM_CLASSES == 0:
        try:
            node.NUM_CLASSES = num_classes_of(cfg.DATASETS.TRAIN)
        except (ValueError, FileNotFoundError):
            node.NUM_CLASSES = 10  # the data is not needed here
    with seeded_rng(args.seed):
        model = build_model(cfg)
        for name, buffer in model.backbone.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(-0.1, 0.1).add_(name.endswith("var"))
        for stage in model.head.head_series:
            stage.bboxes_delta.weight.data *= 0.02
            stage.class_logits.weight.data *= 2
    return cfg, model


def random_inputs(args: argparse.Namespace, batch: int, classes: int, training: bool) -> list[dict]:
    """Random inputs of the model, with objects for training."""
    generator = torch.Generator().manual_seed(args.seed)
    height, width = args.size
    inputs = []
    for i in range(batch):
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        item = {"image": image, "height": height, "width": width, "image_id": i}
        if training:
            corners = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width * 0.6, height * 0.6])
            sides = 8 + torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width * 0.3, height * 0.3])
            item["instances"] = Instances(args.size)
            item["instances"].gt_boxes = Boxes(torch.cat([corners, corners + sides], dim=1))
            item["instances"].gt_classes = torch.randint(classes, (OBJECTS,), generator=generator)
        inputs.append(item)
    return inputs
