"""A DiffusionDet small enough for tests, built through the real config path, and images with objects for it."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from d2road.config import make_cfg

CONFIG = Path(__file__).resolve().parents[2] / "configs/diffusion_det/Base-Small.yaml"
# KEY VALUE pairs over Base-Small.yaml.
SMALL = [
    "MODEL.TIMM.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.DiffusionDet.HIDDEN_DIM", "32",
    "MODEL.DiffusionDet.DIM_FEEDFORWARD", "48", "MODEL.DiffusionDet.DIM_DYNAMIC", "8",
    "MODEL.DiffusionDet.NUM_HEADS", "2",
    "MODEL.DiffusionDet.NUM_PROPOSALS", "20", "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "-1",
    "MODEL.DiffusionDet.NUM_CLASSES", "5",
]  # fmt: skip


def small_detector_cfg(*opts: object) -> CfgNode:
    """The config, to be changed at will."""
    return make_cfg(str(CONFIG), [*SMALL, *map(str, opts)])


def small_detector(*opts: object, seed: int = 0) -> torch.nn.Module:
    """Built with the same weights whatever the options change."""
    torch.manual_seed(seed)
    model = build_model(small_detector_cfg(*opts))
    with torch.no_grad():  # scores around the renewal threshold, as a trained model has
        for stage in model.head.head_series:
            stage.class_logits.bias.fill_(-1.0)
            stage.class_logits.weight.mul_(4)
    return model


def detector_input(
    seed: int, height: int = 96, width: int = 128, objects: int = 3, image_id: int | str | None = None
) -> dict:
    """An image with objects, as the mapper gives it."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(objects, 2, generator=generator) * torch.tensor([width * 0.6, height * 0.6])
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.cat([corner, corner + 8 + torch.rand(objects, 2, generator=generator) * 30], 1))
    instances.gt_classes = torch.randint(5, (objects,), generator=generator)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {
        "image": image,
        "instances": instances,
        "height": height * 2,
        "width": width * 2,
        "image_id": seed if image_id is None else image_id,
    }
