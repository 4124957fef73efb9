"""Sentences about KITTI frames: they fit the labels that they are about, and other labels are refused."""

from pathlib import Path

import pytest

from benchmarks.mono3dvg import kitti_language as look
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from mono3dvg.data.labelled_sources import grounding_of
from mono3dvg.evaluation.grounding_protocol import KINDS
from mono3dvg.schema import GroundingData

ROW = "{kind} 0.00 0 -1.57 600 150 630 190 2.85 2.63 12.34 {x} 1.5 20.0 -1.56"
SENTENCES = read_json(look.SENTENCES, "sentences")
FRAMES = Path("../shared/data/kitti/training")


def thing(number: int, name: int, x: float) -> dict:
    return {"id": number, "image_id": "000001", "category_id": name, "location": [x, 1.5, 20.0], "ignore": False}


@pytest.fixture
def raw(tmp_path):
    """Two objects, listed in another order than their rows, of which the second is of no class of the model."""
    lines = [ROW.format(kind="Misc", x=4.0), ROW.format(kind="Car", x=-3.0)]
    (tmp_path / "000001.txt").write_text("\n".join(lines) + "\n")
    categories = [{"id": 0, "name": "car"}, {"id": 1, "name": "misc"}]
    images = [{"id": "000001"}, {"id": "000002"}]
    return {
        "info": {},
        "categories": categories,
        "images": images,
        "annotations": [thing(0, 0, -3.0), thing(1, 1, 4.0)],
    }


def test_objects_are_rows_of_the_label_file(raw, tmp_path):
    sentence = {"frame": "000001", "style": "phrase", "text": "the car", "objects": [1]}
    found = look.with_sentences(raw, [sentence], tmp_path)
    assert [(e["image_id"], e["target_ids"], e["tags"]) for e in found["expressions"]] == [
        ("000001", [0], ["style:phrase"])
    ]
    assert [image["id"] for image in found["images"]] == ["000001"]
    for change, words in (({"objects": [2]}, "lacks a row of"), ({"frame": "000009"}, "000009, which it lacks")):
        with pytest.raises(DataError, match=words):
            look.with_sentences(raw, [sentence | change], tmp_path)


def test_classes_are_those_of_the_model_on_flat_ground(raw):
    found = look.with_classes(raw, look.CLASSES)
    assert [category["name"] for category in found["categories"]] == list(look.CLASSES)
    assert [(one["category_id"], one["ignore"]) for one in found["annotations"]] == [(1, False), (0, True)]
    assert found["info"]["rotation_y"] == "ground"
    x, y, z, d = found["images"][0]["ground_plane"]
    assert (x, z) == (0, 0) and y * 1.65 + d == 0  # the ground is 1.65 m below, where y points


def test_sentences_are_of_two_styles_and_all_kinds():
    assert len({(row["frame"], row["text"]) for row in SENTENCES}) == len(SENTENCES) >= 50
    assert {row["style"] for row in SENTENCES} == {"phrase", "question"}
    assert {min(len(row["objects"]), 2) for row in SENTENCES} == {0, 1, 2}


def test_all_sentences_fit_kittis_labels(repo_dir):
    folder = repo_dir / FRAMES
    if not folder.is_dir():
        pytest.skip(f"{FRAMES} is not here")
    raw = look.with_classes(grounding_of(f"kitti:{folder}", folder), look.CLASSES)
    data = GroundingData(look.with_sentences(raw, SENTENCES, folder / "label_2"))  # checks itself
    assert len(data.expressions) == len(SENTENCES) and {e.kind for e in data.expressions.values()} == set(KINDS)
    whole = {
        e.text: [look.CLASSES[data.objects[i].category_id] for i in e.target_ids] for e in data.expressions.values()
    }
    assert whole["truck straight ahead"] == ["truck"] and whole["cars coming towards us"] == ["car", "car"]
