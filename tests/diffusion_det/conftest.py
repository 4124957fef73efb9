"""A detector small enough for tests, built through the real config path."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes

from d2road.structures import Boxes3D
from tests.factories.pose_models import PRIORS, camera_for
from tests.factories.small_detectors import SMALL, detector_input, small_detector, small_detector_cfg


@pytest.fixture
def small_opts():
    """KEY VALUE pairs over Base-Small.yaml."""
    return list(SMALL)


@pytest.fixture
def small_cfg():
    """See `small_detector_cfg`."""
    return small_detector_cfg


@pytest.fixture
def small_model():
    """See `small_detector`."""
    return small_detector


@pytest.fixture
def make_input():
    """See `detector_input`."""
    return detector_input


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
