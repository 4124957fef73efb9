"""The mapper: sentences flip with their images, 3D labels stay on the 2D ones, colours stay what they are called."""

import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from d2road.data import build_mapper
from d2road.data.labels3d import mean_dimensions
from d2road.structures import Boxes3D
from mono3dvg.language.attributes import ATTRIBUTES
from mono3dvg.language.form_parts import PARTS
from mono3dvg.language.kleene import MAYBE, YES
from tests.factories.grounders import data_name, tiny_cfg


@pytest.fixture
def mapper_for(repo_dir, grounding_data, tmp_path):
    def build(*pairs, is_train=True):
        return build_mapper(tiny_cfg(repo_dir, grounding_data, tmp_path, *pairs), is_train)

    return build


@pytest.fixture
def records(grounding_data, mapper_for):
    mapper_for()  # registers
    return DatasetCatalog.get(data_name(grounding_data, "train"))


def until(mapper, record, wanted, tries=40):
    """What the mapper makes of a record the first time that `wanted` holds."""
    for seed in range(tries):
        np.random.seed(seed)
        mapped = mapper(record)
        if wanted(mapped):
            return mapped
    raise AssertionError("never seen")


def test_3d_boxes_project_onto_2d_ones(mapper_for, records):
    for flip in ("none", "horizontal"):
        mapper = mapper_for("INPUT.RANDOM_FLIP", flip, "INPUT.MIN_SIZE_TRAIN", "(135,)")
        for seed in range(6):
            np.random.seed(seed)
            mapped = mapper(records[seed % len(records)])
            i, camera = mapped["instances"], mapped["camera"]
            whole = torch.tensor([not a["truncated"] for a in records[seed % len(records)]["annotations"]])
            boxes, _ = Boxes3D.from_kitti(i.gt_boxes3d.double(), camera.ground_rotation()).project(camera, (240, 135))
            error = (boxes - i.gt_boxes.tensor).abs().amax(1)
            # Labels are around the parts that are seen; shapes are not boxes: a few pixels of 240.
            assert error[whole & ~i.gt_ignore].median() < 2


def test_a_flip_says_left_for_right(mapper_for, records):
    record = next(r for r in records if any(" left" in e["text"] for e in r["expressions"]))
    plain = {e["id"]: e["text"] for e in record["expressions"]}
    mapper = mapper_for("INPUT.RANDOM_FLIP", "horizontal", "INPUT.GROUNDING.SENTENCES_PER_IMAGE", 0)
    first = record["annotations"][0]["location"][0]
    mirrored = until(mapper, record, lambda m: float(m["instances"].gt_boxes3d[0, 0]) * first < 0)
    for e in mirrored["expressions"]:
        if " left" in plain[e["id"]] and "right" not in plain[e["id"]]:
            assert "right" in e["text"] and " left" not in e["text"]
    as_is = until(mapper, record, lambda m: float(m["instances"].gt_boxes3d[0, 0]) * first > 0)
    assert {e["id"]: e["text"] for e in as_is["expressions"]} == plain
    assert [e["targets"] for e in mirrored["expressions"]] == [e["targets"] for e in record["expressions"]]


def test_images_with_sentences_that_cannot_be_flipped_stay(mapper_for, records):
    record = copy.deepcopy(records[0])
    record["expressions"][0]["form"] = None
    first = record["annotations"][0]["location"][0]
    cases = (("INPUT.GROUNDING.SENTENCES_PER_IMAGE", 0), ("INPUT.GROUNDING.FLIP", "off"))
    for pairs, source in zip(cases, (record, records[0])):
        mapper = mapper_for("INPUT.RANDOM_FLIP", "horizontal", *pairs)
        for seed in range(10):
            np.random.seed(seed)
            assert float(mapper(source)["instances"].gt_boxes3d[0, 0]) * first > 0


def test_sentences_are_drawn_by_the_seed(mapper_for, records):
    mapper = mapper_for("INPUT.GROUNDING.SENTENCES_PER_IMAGE", 2)
    drawn = []
    for seed in (1, 1, 2, 3, 4):
        np.random.seed(seed)
        drawn.append([e["id"] for e in mapper(records[0])["expressions"]])
    assert all(len(ids) == 2 for ids in drawn)
    assert drawn[0] == drawn[1] and len({tuple(ids) for ids in drawn}) > 1
    assert len(mapper_for(is_train=False)(records[0])["expressions"]) == len(records[0]["expressions"])


def test_hue_stays(mapper_for, records):
    mapper = mapper_for("INPUT.GROUNDING.LIGHT_JITTER", 0.3, "INPUT.RANDOM_FLIP", "none")
    plain = mapper_for(is_train=False)(records[0])["image"].double()
    np.random.seed(1)
    varied = mapper(records[0])["image"].double()
    assert (varied - plain).abs().max() > 5
    # The order of the channels of a colourful pixel is that of the image as it was.
    colourful = plain.amax(0) - plain.amin(0) > 40
    inside = colourful & (varied.amax(0) < 254) & (varied.amin(0) > 1)
    assert inside.sum() > 20
    assert (plain.argmax(0) == varied.argmax(0))[inside].double().mean() > 0.99


def test_bad_records(mapper_for, records):
    mapper = mapper_for()
    without = {key: value for key, value in records[0].items() if key != "camera"}
    with pytest.raises(ValueError, match="has no calibration"):
        mapper(without)
    for target in (99, -1):
        wrong = copy.deepcopy(records[0])
        wrong["expressions"] = [{**wrong["expressions"][0], "targets": [target]}]
        with pytest.raises(ValueError, match=f"has target {target}, expected positions"):
            mapper(wrong)
    ignored = copy.deepcopy(records[0])
    ignored["annotations"][0]["iscrowd"] = 1
    ignored["expressions"] = [{**ignored["expressions"][0], "targets": [0]}]
    with pytest.raises(ValueError, match="not to be ignored"):
        mapper(ignored)
    with pytest.raises(ValueError, match="no annotations"):
        mapper({key: value for key, value in records[0].items() if key != "annotations"})
    empty = {**records[0], "annotations": [], "expressions": []}
    assert len(mapper(empty)["instances"]) == 0


def test_mean_sizes(records, grounding_data, mapper_for):
    name = data_name(grounding_data, "train")
    sizes = mean_dimensions([name], "MODEL.MONO3DVG.DIMENSION_PRIORS")
    cars = [
        a["dimensions_hwl"] for r in records for a in r["annotations"] if a["category_id"] == 0 and not a["iscrowd"]
    ]
    assert np.allclose(sizes[0], np.mean(cars, axis=0), atol=1e-4)
    assert all(min(row) > 0 for row in sizes)  # classes without objects too


def test_attributes_come_along_in_training(mapper_for, records):
    """Those that the attributes of the annotations say, in their order, whether mirrored or not."""
    record = next(r for r in records if r["annotations"])
    scene = record["scene"]
    colors = dict(zip(scene.ids, scene.colors))
    for seed in range(4):
        np.random.seed(seed)
        attributes = mapper_for("INPUT.RANDOM_FLIP", "horizontal")(record)["instances"].gt_attributes
        assert attributes.shape == (len(record["annotations"]), len(ATTRIBUTES)) and attributes.dtype == torch.int8
        for a, row in zip(record["annotations"], attributes):
            if colors[a["id"]] is not None:
                assert row[ATTRIBUTES.index(("color", colors[a["id"]]))] == YES
            else:
                assert (row[[attribute[0] == "color" for attribute in ATTRIBUTES]] == MAYBE).all()
    assert (attributes == YES).any(0).sum() > 3
    assert not mapper_for(is_train=False)(record)["instances"].has("gt_attributes")


def test_unknown_words_are_put_in_by_the_seed(mapper_for, records):
    plain = {e["id"]: e["text"] for e in records[0]["expressions"]}
    mapper = mapper_for("INPUT.GROUNDING.UNKNOWN_WORD_RATE", 0.3, "INPUT.RANDOM_FLIP", "none")
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        drawn.append([e["text"] for e in mapper(records[0])["expressions"]])
    assert drawn[0] == drawn[1] != drawn[2] and not set(drawn[0]) <= set(plain.values())
    unseen = mapper_for("INPUT.GROUNDING.UNKNOWN_WORD_RATE", 0.3, is_train=False)(records[0])
    assert {e["id"]: e["text"] for e in unseen["expressions"]} == plain


def test_parts_of_forms_come_along(mapper_for, records):
    """In training every generated sentence says what its parts mean, also mirrored; in testing none does."""
    for seed in range(4):
        np.random.seed(seed)
        found = mapper_for("INPUT.RANDOM_FLIP", "horizontal")(records[0])
        for entry in found["expressions"]:
            assert entry["parts"].shape == (len(PARTS), len(found["instances"]))
            described = entry["parts"][-1] == YES
            assert described[entry["targets"]].all()
    assert all("parts" not in e for e in mapper_for(is_train=False)(records[0])["expressions"])


def test_new_sentences_are_true_of_their_scene(mapper_for, records):
    """Made anew at each visit from the labels, also in the mirror, by the seed; testing keeps the data's own."""
    mapper = mapper_for("INPUT.GROUNDING.GENERATE_SENTENCES", True, "INPUT.RANDOM_FLIP", "horizontal")
    old = {e["text"] for r in records for e in r["expressions"]}
    seen = []
    for seed in (0, 0, 1, 2, 3, 4):
        np.random.seed(seed)
        found = mapper(records[0])
        seen.append([e["text"] for e in found["expressions"]])
        for entry in found["expressions"]:
            meant = entry["parts"][-1] == YES
            assert torch.where(meant)[0].tolist() == sorted(entry["targets"])
    assert seen[0] == seen[1] and len({tuple(texts) for texts in seen}) == 5
    made = {text for texts in seen for text in texts}
    assert len(made - old) > len(made) / 2
    testing = mapper_for("INPUT.GROUNDING.GENERATE_SENTENCES", True, is_train=False)(records[0])
    assert {e["text"] for e in testing["expressions"]} == {e["text"] for e in records[0]["expressions"]}


def test_sentences_without_forms_are_drawn_from_the_data(mapper_for, records):
    record = {**records[0], "scene": None}
    record["expressions"] = [{**e, "form": None, "choices": []} for e in record["expressions"]]
    mapper = mapper_for("INPUT.GROUNDING.GENERATE_SENTENCES", True, "INPUT.RANDOM_FLIP", "none")
    found = mapper(record)["expressions"]
    assert found and {e["text"] for e in found} <= {e["text"] for e in record["expressions"]}
