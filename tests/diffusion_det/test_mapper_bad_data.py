"""What is wrong with an image stops in the mapper, with the image's name."""

import numpy as np
import pytest
from detectron2.structures import BoxMode
from PIL import Image

from d2road.config import make_cfg
from d2road.data import build_mapper


@pytest.fixture
def record(tmp_path) -> dict:
    """An image of 64x48 with a box that reaches beyond it and a crowd."""
    path = tmp_path / "image.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    box = {"bbox": [50, 40, 20, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
    crowd = {**box, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    return {"file_name": str(path), "image_id": 5, "width": 64, "height": 48, "annotations": [box, crowd]}


def _mapper(is_train: bool = True):
    opts = ["MODEL.META_ARCHITECTURE", "DiffusionDet", "INPUT.MIN_SIZE_TRAIN", "(48,)", "INPUT.RANDOM_FLIP", "none"]
    return build_mapper(make_cfg(opts=opts), is_train)


def test_boxes_are_clipped_and_crowds_are_not_trained_on(record):
    instances = _mapper()(record)["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[50, 40, 64, 48]]
    assert instances.gt_classes.tolist() == [1]
    assert len(record["annotations"]) == 2  # the data set itself is left alone


def test_missing_image(record):
    record["file_name"] += ".none"
    with pytest.raises(FileNotFoundError, match=r"image\.jpg\.none \(image_id 5\) does not exist"):
        _mapper()(record)


def test_truncated_image(record):
    with open(record["file_name"], "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"image\.jpg \(image_id 5\) cannot be read"):
        _mapper(False)(record)


def test_size_that_is_not_the_annotations(record):
    record["width"] = 65
    with pytest.raises(ValueError, match=r"image\.jpg .* is 64x48, its annotation says 65x48"):
        _mapper()(record)


def test_data_without_annotations_is_predicted_on_not_trained_on(record):
    del record["annotations"]
    assert _mapper(False)(record)["image"].shape[0] == 3
    with pytest.raises(ValueError, match="has no annotations, so it cannot be trained on"):
        _mapper()(record)
