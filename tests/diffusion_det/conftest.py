"""A detector small enough for tests, built through the real config path."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from d2road.config import make_cfg
from d2road.structures import Boxes3D
from tests.factories.pose_models import PRIORS, camera_for

SMALL = [
    "MODEL.TIMM.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.DiffusionDet.HIDDEN_DIM", "32",
    "MODEL.DiffusionDet.DIM_FEEDFORWARD", "48", "MODEL.DiffusionDet.DIM_DYNAMIC", "8",
    "MODEL.DiffusionDet.NUM_HEADS", "2",
    "MODEL.DiffusionDet.NUM_PROPOSALS", "20", "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "-1",
    "MODEL.DiffusionDet.NUM_CLASSES", "5",
]  # fmt: skip


@pytest.fixture
def small_opts():
    """KEY VALUE pairs over Base-Small.yaml."""
    return list(SMALL)


@pytest.fixture
def small_cfg(repo_dir):
    """The config, to be changed at will."""

    def make(*opts):
        return make_cfg(str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), [*SMALL, *map(str, opts)])

    return make


@pytest.fixture
def small_model(small_cfg):
    """Build with the same weights whatever the options change."""

    def build(*opts, seed=0):
        torch.manual_seed(seed)
        model = build_model(small_cfg(*opts))
        with torch.no_grad():  # scores around the renewal threshold, as a trained model has
            for stage in model.head.head_series:
                stage.class_logits.bias.fill_(-1.0)
                stage.class_logits.weight.mul_(4)
        return model

    return build


@pytest.fixture
def make_input():
    """An image with objects, as the mapper gives it."""

    def make(seed, height=96, width=128, objects=3, image_id=None):
        generator = torch.Generator().manual_seed(seed)
        corner = torch.rand(objects, 2, generator=generator) * torch.tensor([width * 0.6, height * 0.6])
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(
            torch.cat([corner, corner + 8 + torch.rand(objects, 2, generator=generator) * 30], 1)
        )
        instances.gt_classes = torch.randint(5, (objects,), generator=generator)
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        return {
            "image": image,
            "instances": instances,
            "height": height * 2,
            "width": width * 2,
            "image_id": seed if image_id is None else image_id,
        }

    return make


@pytest.fixture
def make_scene(make_input):
    """An image with its camera and true boxes on the ground."""

    def make(seed, objects=3, ground=True, size=(96, 128), **options):
        camera = camera_for(seed, ground, width=size[1], height=size[0])
        rng = np.random.default_rng(seed)
        image = make_input(seed, objects=objects, height=size[0], width=size[1], **options)
        z = rng.uniform(9, 22, objects)
        level = np.stack([rng.uniform(-0.3, 0.3, objects) * z, np.full(objects, 6.0), z], axis=1)
        classes = image["instances"].gt_classes
        sizes = torch.tensor(PRIORS)[classes] * torch.tensor(rng.uniform(0.9, 1.1, (objects, 3))).float()
        location = torch.tensor(level @ camera.ground_rotation().T).float()
        rows = torch.cat([location, sizes, torch.tensor(rng.uniform(-3, 3, (objects, 1))).float()], dim=1)
        boxes, _ = Boxes3D.from_kitti(rows, camera.ground_rotation()).project(camera, (size[1], size[0]))
        image["instances"].gt_boxes = Boxes(boxes)
        image["instances"].gt_boxes3d = rows
        image["instances"].gt_has_3d = torch.ones(objects, dtype=torch.bool)
        return image | {"camera": camera}

    return make
