"""CVAT for images: XML of datumaro and globox, shapes that are no upright boxes, and what is refused."""

import re

import numpy as np
import pytest
from shapely.affinity import rotate, scale
from shapely.geometry import Point, box

from d2road.data.bridges.cvat import UNCHECKED, read_cvat
from d2road.utils.errors import DataError
from tests.factories.box_data import CLASSES, GOLDEN, IMAGES, boxes_of, source_boxes, worst_difference

DATUMARO, GLOBOX = GOLDEN / "datumaro_cvat" / "train.xml", GOLDEN / "globox_cvat.xml"


def test_datumaro_file():
    content = read_cvat(DATUMARO, IMAGES)
    found = boxes_of(content)
    upright = [one for one in found if one[0] != "empty"]
    assert worst_difference(upright, source_boxes()) < 0.01  # datumaro keeps two decimals
    turned = rotate(box(5, 15, 25, 25), 30).bounds
    expected = [("empty", "car", (5, 5, 25, 30)), ("empty", "traffic light", turned)]
    assert worst_difference([one for one in found if one[0] == "empty"], expected) < 1e-6
    assert [category["name"] for category in content.categories] == CLASSES
    assert content.notes == {
        "<points> left out, which are no boxes": 1,
        "<tag> left out, which are no boxes": 1,
        "<polygon> made their enclosing boxes": 1,
        "rotated boxes made their enclosing boxes": 1,
    }
    assert [a.get("occluded") for a in content.annotations if a["image_id"] == 3] == [None, 1]


def test_globox_file_without_images():
    content = read_cvat(GLOBOX)
    assert worst_difference(boxes_of(content), source_boxes()) < 1e-9
    assert content.notes == {UNCHECKED: 4} and content.image_dir == ""
    assert len(content.images) == 4


def test_ellipses_and_masks_become_their_enclosing_boxes(tmp_path):
    shapes = '<ellipse label="car" cx="20" cy="20" rx="12" ry="5" rotation="35"/>'
    shapes += '<mask label="car" rle="0, 4" left="7" top="8" width="2" height="3"/>'
    path = tmp_path / "annotations.xml"
    path.write_text(GLOBOX.read_text().replace('height="32" />', f'height="32">{shapes}</image>'))
    found = [corners for stem, _, corners in boxes_of(read_cvat(path, IMAGES)) if stem == "empty"]
    ellipse = rotate(scale(Point(20, 20).buffer(1, 256), 12, 5), 35).bounds
    np.testing.assert_allclose(found, sorted([ellipse, (7, 8, 9, 11)]), atol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<image ", "<track/><image ", "'CVAT for images 1.1'"),
        ('width="64"', 'width="65"', "is 64x48, its labels say 65x48"),
        ('name="a.png"', 'name="z.png"', "z.png"),
        ('xtl="10.25"', "", "xtl is null"),
        ('xtl="10.25"', 'xtl="40"', "expected xbr and ybr to be the larger"),
        ('label="car"', "", "has no label"),
        ("</annotations>", "", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(old, new, said, tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_text(GLOBOX.read_text().replace(old, new))
    with pytest.raises(DataError, match=re.escape(said)):
        read_cvat(path, IMAGES)
