"""Moments of 2D boxes against numpy on the annotations as files have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from d2road.data import register_by_name
from d2road.data.box_moments import box_moments
from tests.factories.box_data import SOURCE

KEY = "MODEL.DiffusionDet.PRIOR_MOMENTS"


def no_crowd(annotation):
    return not annotation.get("iscrowd", 0)


def test_moments_are_those_of_the_file():
    register_by_name(SOURCE)
    content = json.loads(Path(SOURCE.split(":")[1]).read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    rows = []
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd", 0):
            x, y, w, h = annotation["bbox"]
            width, height = sizes[annotation["image_id"]]
            rows.append([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height])
    expected = [*np.mean(rows, axis=0), *np.std(rows, axis=0)]
    np.testing.assert_allclose(box_moments([SOURCE], KEY, no_crowd), expected, atol=1e-6)


@pytest.fixture
def two_sizes():
    """A data set with images of two sizes and boxes in both box modes, one of them a crowd."""
    mode = BoxMode.XYWH_ABS
    records = [
        {"width": 100, "height": 50, "annotations": [
            {"bbox": [10, 10, 20, 30], "bbox_mode": mode, "iscrowd": 0},
            {"bbox": [0, 0, 100, 50], "bbox_mode": mode, "iscrowd": 1}]},
        {"width": 200, "height": 400, "annotations": [
            {"bbox": [100, 100, 200, 300], "bbox_mode": BoxMode.XYXY_ABS}]},
        {"width": 10, "height": 10},
    ]  # fmt: skip
    DatasetCatalog.register("two_sizes", lambda: records)
    yield records
    DatasetCatalog.remove("two_sizes")
    MetadataCatalog.pop("two_sizes", None)


def test_units_are_those_of_each_image(two_sizes):
    """cx 0.2 and 0.75, cy 0.5 and 0.5, w 0.2 and 0.5, h 0.6 and 0.5; of one value each deviation is half the gap."""
    two_sizes[1]["annotations"][0]["bbox"] = [100, 120, 200, 320]
    found = box_moments(["two_sizes"], KEY, no_crowd)
    assert found == pytest.approx((0.475, 0.525, 0.35, 0.55, 0.275, 0.025, 0.15, 0.05))


def test_boxes_without_deviation_are_told(two_sizes):
    with pytest.raises(ValueError, match=rf"same cy, which has no deviation: set {KEY}"):
        box_moments(["two_sizes"], KEY, no_crowd)
    with pytest.raises(ValueError, match="two_sizes has 1 boxes to train on, too few"):
        box_moments(["two_sizes"], KEY, lambda a: no_crowd(a) and a["bbox_mode"] == BoxMode.XYWH_ABS)
