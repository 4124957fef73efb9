"""The schema: what is read, what defaults are, and the place of every error."""

import copy
import json

import numpy as np
import pytest

from mono3dvg.schema import GroundingData, read_grounding, write_grounding
from mono3dvg.schema_checks import schema_problems
from tests.factories.grounding_files import P, annotation, box, expression, grounding_content


def _good() -> dict:
    things = [annotation(1, box(0, 20)), annotation(2, box(6, 20)), annotation("t", box(-6, 30), category=1)]
    ignored = {"id": 9, "image_id": 0, "category_id": 0, "bbox": [1, 1, 5, 5], "ignore": True}
    sentences = [
        expression("one", [1], kind="single", distractors=True, tags=["near"], legacy={"instanceID": 4, "ann_id": 0}),
        expression("two", [1, 2], kind="multi", distractors=False),
        expression("none", [], kind="zero", distractors=True, category_ids=[1]),
    ]
    return grounding_content([*things, ignored], sentences)


def test_reads_what_it_writes(tmp_path):
    write_grounding(tmp_path / "sub" / "a.json", _good())
    data = read_grounding(tmp_path / "sub" / "a.json")
    assert [e.kind for e in data.expressions.values()] == ["single", "multi", "zero"]
    assert [e.group for e in data.expressions.values()] == ["st_w_d", "mt", "zt_w_d"]
    assert data.expressions["none"].category_ids == (1,) and data.expressions["two"].category_ids == (0,)
    np.testing.assert_array_equal(data.target_rows(data.expressions["two"]), [box(0, 20), box(6, 20)])
    assert data.objects[9].location is None and len(data.objects_of[0]) == 4
    assert data.frame_of(0) is None


def test_derives_box_and_angle_that_are_left_out():
    thing = GroundingData(_good()).objects[2]
    x1, y1, x2, y2 = thing.bbox
    near, far = 20 - 0.8, 20 + 0.8  # ry = 0: 1.6 m wide along z, 4 m long along x
    assert x1 == pytest.approx(480 + 700 * 4 / far) and x2 == pytest.approx(480 + 700 * 8 / near)
    assert y1 == pytest.approx(270 + 700 * 0.1 / far) and y2 == pytest.approx(270 + 700 * 1.6 / near)
    assert thing.alpha == pytest.approx(-np.arctan2(6, 20))


def test_ground_frame_needs_a_plane():
    raw = _good()
    raw["info"] = {"rotation_y": "ground"}
    assert "no ground_plane, which info.rotation_y 'ground' needs" in schema_problems(raw)[0]
    raw["images"][0]["ground_plane"] = [0, -2, -0.5, 10]
    assert schema_problems(raw) == []
    frame = GroundingData(raw).frame_of(0)
    np.testing.assert_allclose(frame[:, 1], np.array([0, 2, 0.5]) / np.hypot(2, 0.5))


WRONG = {
    "images[1] (id 0): duplicate id": lambda r: r["images"].append(r["images"][0]),
    "images[0]: id is None": lambda r: r["images"][0].pop("id"),
    "images[0] (id 0): no intrinsics: P is missing": lambda r: r["images"][0].update(P=None),
    "images[0] (id 0): P or ground_plane is wrong": lambda r: r["images"][0].update(P=[[0] * 4] * 3),
    "the camera lies 2 m below its ground_plane": lambda r: r["images"][0].update(ground_plane=[0, -1, 0, -2]),
    "width is 0, expected pixels": lambda r: r["images"][0].update(width=0),
    "images[0] (id 0): thumbnail is 'f00', expected 288 hexadecimal digits": lambda r: r["images"][0].update(
        thumbnail="f00"
    ),
    "file_name is missing": lambda r: r["images"][0].pop("file_name"),
    "annotations[1] (id 1): duplicate id": lambda r: r["annotations"][1].update(id=1),
    "annotations[0] (id 1): image_id is 5, which no entry of images has": lambda r: r["annotations"][0].update(
        image_id=5
    ),
    "category_id is 8, which no entry of categories": lambda r: r["annotations"][0].update(category_id=8),
    "annotations[2] (id 't'): the box is behind the camera": lambda r: r["annotations"][2].update(location=[0, 1, 0]),
    "dimensions is [1, 0, 2], expected height": lambda r: r["annotations"][0].update(dimensions=[1, 0, 2]),
    "location is [0, 1, nan]": lambda r: r["annotations"][0].update(location=[0, 1, float("nan")]),
    "rotation_y is missing": lambda r: r["annotations"][0].pop("rotation_y"),
    "bbox is [5, 1, 4, 2]": lambda r: r["annotations"][0].update(bbox=[5, 1, 4, 2]),
    "annotations[3] (id 9): has neither a 2D nor a 3D box": lambda r: r["annotations"][3].pop("bbox"),
    "expressions[1] (id 'one'): duplicate id": lambda r: r["expressions"][1].update(id="one"),
    "text is ' ', expected a sentence": lambda r: r["expressions"][0].update(text=" "),
    "target_ids is missing": lambda r: r["expressions"][0].pop("target_ids"),
    "target id 77 is unknown": lambda r: r["expressions"][0].update(target_ids=[77]),
    "target id 9 is marked to be ignored": lambda r: r["expressions"][0].update(target_ids=[9], kind="single"),
    "target_ids [1, 1] names an object twice": lambda r: r["expressions"][1].update(target_ids=[1, 1]),
    "kind is 'zero', but 1 targets make it 'single'": lambda r: r["expressions"][0].update(kind="zero"),
    "distractors is False, but the image has another object of class car": lambda r: r["expressions"][0].update(
        distractors=False
    ),
    "expressions[1] (id 'two'): distractors is True, but the image has no other object": lambda r: r["expressions"][
        1
    ].update(distractors=True),
    "expressions[2] (id 'none'): distractors is True, but": lambda r: r["expressions"][2].update(category_ids=[2]),
    "category_ids holds 6": lambda r: r["expressions"][2].update(category_ids=[6]),
    "annotations: expected a list, got NoneType": lambda r: r.pop("annotations"),
    "info.rotation_y is 'world'": lambda r: r["info"].update(rotation_y="world"),
}


@pytest.mark.parametrize("message", WRONG)
def test_every_error_has_its_place(tmp_path, message):
    raw = copy.deepcopy(_good())
    WRONG[message](raw)
    found = schema_problems(raw)
    assert any(message in text for text in found), found
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r"wrong.json: \d+ error"):
        read_grounding(path)


def test_good_data_has_no_problems_and_targets_lie_in_their_image():
    raw = _good()
    assert schema_problems(raw) == []
    raw["images"].append({**raw["images"][0], "id": 1})
    raw["expressions"][0]["image_id"] = 1
    assert any("target id 1 is an object of image 0, not of 1" in text for text in schema_problems(raw))
    assert schema_problems([]) == ["expected an object with images, categories, annotations, expressions, got a list"]
    assert P[0][0] == 700
