"""Sizes of classes over labelled objects."""

import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data import register_by_name
from d2road.data.labels3d import mean_dimensions

KEY = "MODEL.DiffusionDet.POSE.DIMENSION_PRIORS"


def test_mean_dimensions(shared_dir):
    """Over objects with 3D labels only."""
    name = f"kitti:{shared_dir}/data/kitti"
    register_by_name(name)
    names = MetadataCatalog.get(name).thing_classes
    rows = {n: [] for n in names}
    for record in DatasetCatalog.get(name):
        for a in record["annotations"]:
            if a["has_3d"] and not a["iscrowd"]:
                rows[names[a["category_id"]]].append(a["dimensions_hwl"])
    np.testing.assert_allclose(mean_dimensions([name], KEY), [np.mean(rows[n], axis=0) for n in names], atol=1e-4)


@pytest.fixture
def cars():
    """A data set with classes van and car that has cars alone; more objects can be added to its one record."""
    boxes = [
        {"dimensions_hwl": hwl, "location": [0, 1, 9], "iscrowd": 0, "category_id": 1} for hwl in ([1, 2, 4], [2, 2, 5])
    ]
    DatasetCatalog.register("sizes_of_one_class", lambda: [{"annotations": boxes}])
    MetadataCatalog.get("sizes_of_one_class").set(thing_classes=["van", "car"])
    yield boxes
    DatasetCatalog.remove("sizes_of_one_class")
    MetadataCatalog.remove("sizes_of_one_class")


def test_class_without_sizes_is_named_and_takes_the_mean_of_all(cars, caplog):
    with caplog.at_level(logging.WARNING):
        assert mean_dimensions(["sizes_of_one_class"], KEY) == ((1.5, 2.0, 4.5), (1.5, 2.0, 4.5))
    assert "no object of class van in sizes_of_one_class" in caplog.text and KEY in caplog.text


def test_data_without_sizes_is_an_error(cars):
    for box in cars:
        box["has_3d"] = False
    with pytest.raises(ValueError, match=r"no object of sizes_of_one_class has a 3D box.*POSE\.DIMENSION_PRIORS"):
        mean_dimensions(["sizes_of_one_class"], KEY)
