"""Candidates between the labels and what is detected, and what they make of presence."""

import numpy as np
import pytest
import torch

from benchmarks.mono3dvg import perception_study
from benchmarks.mono3dvg.perception_study import SETS, candidate_sets, measure
from benchmarks.mono3dvg.words_alone import with_attributes
from mono3dvg.data.model_inputs import objects_of
from tests.factories.grounders import untrained

KEYS = ("MODEL.MONO3DVG.DETECTION.ATTRIBUTES", True, "MODEL.MONO3DVG.DETECTION.MIN_HEAT", 0.0)


@pytest.fixture(scope="module")
def parts(repo_dir, tmp_path_factory):
    return untrained(repo_dir, tmp_path_factory.mktemp("perception"), *KEYS)


def test_sets_take_what_they_are_named_after_from_the_labels(parts, monkeypatch):
    model, records, mapper = parts
    record = max(records, key=lambda r: len(r["annotations"]))
    x = with_attributes(mapper(record), record)
    objects = objects_of(x)
    with torch.no_grad():
        image = model.encode_image([x])
        place = torch.full_like(image.peaks.cells, -1)
        place[0, :2] = torch.tensor([1, 0])  # an untrained detector finds nothing: as if it had found two
        monkeypatch.setattr(perception_study, "match_objects", lambda *_: place)
        sets = candidate_sets(model, image, objects)
    assert list(sets) == list(SETS)
    two, labels, peaks = torch.tensor([1, 0]), sets["labels"], sets["peaks"]
    assert torch.equal(sets["found"].rows[0], labels.rows[0, two])
    assert torch.equal(sets["matched"].rows[0], peaks.rows[0, :2])
    assert torch.equal(sets["true_rows"].rows, sets["found"].rows)
    assert torch.equal(sets["true_rows"].attributes, sets["matched"].attributes)
    assert torch.equal(sets["true_places"].rows[..., :3], sets["found"].rows[..., :3])
    assert torch.equal(sets["true_places"].rows[..., 3:], sets["matched"].rows[..., 3:])
    assert torch.equal(sets["true_headings"].rows[..., 6], sets["found"].rows[..., 6])
    for name, among in (("true_fronts", sets["matched"]), ("peaks_true_fronts", peaks)):
        assert torch.equal(sets[name].rows[..., :6], among.rows[..., :6])
        turned = (sets[name].rows[..., 6] - among.rows[..., 6])[0]
        reversed_ = torch.cos(among.rows[0, :2, 6] - labels.rows[0, two, 6]) < 0
        assert torch.allclose(turned[:2], torch.pi * reversed_, atol=1e-5) and not turned[2:].any()
    assert torch.equal(sets["true_classes"].class_probs, sets["found"].class_probs)
    assert torch.equal(sets["found_boxes"].attributes, sets["matched"].attributes)
    assert torch.equal(sets["true_attributes"].attributes, sets["found"].attributes)


def test_all_sentences_are_asked_though_nothing_is_found(parts, monkeypatch):
    model, records, mapper = parts
    monkeypatch.setattr(perception_study, "match_objects", lambda peaks, *_: torch.full_like(peaks.cells, -1))
    found = measure(model, records, mapper)
    assert list(found) == list(SETS)
    assert found["matched"]["presence_auroc"] == 50  # no candidate, no difference
    assert found["labels"]["presence_auroc"] != 50
    assert all(np.isnan(row["n_acc"]) or 0 <= row["n_acc"] <= 100 for row in found.values())
