"""Words alone: labelled boxes with the labels' attributes, whatever the image looks like but for its colours."""

import math

import pytest
import torch

from benchmarks.mono3dvg.words_alone import HELD_OUT, measure, score_labels, with_attributes
from tests.factories.grounders import untrained

KEYS = (
    "MODEL.MONO3DVG.DETECTION.ATTRIBUTES", True, "MODEL.MONO3DVG.RELATION.PRESENCE", True,
    "MODEL.MONO3DVG.TRAINING_STAGE", "labels",
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(repo_dir, tmp_path_factory):
    return untrained(repo_dir, tmp_path_factory.mktemp("words"), *KEYS)


def test_scores_of_labels_hang_on_their_attributes(parts):
    model, records, mapper = parts
    record = next(r for r in records if len(r["expressions"]) > 1)
    x = with_attributes(mapper(record), record)
    before = score_labels(model, x)
    assert list(before) == [e["id"] for e in record["expressions"]]
    for scores in before.values():
        known = scores[~scores.isnan()]
        assert len(scores) == len(record["annotations"]) and ((known >= 0) & (known <= 1)).all() and len(known)
    x["instances"].gt_attributes = 2 - x["instances"].gt_attributes  # yes for no
    after = score_labels(model, x)
    assert any(not torch.allclose(before[key], after[key], equal_nan=True) for key in before)


def test_parts_of_the_sentences_make_the_whole(parts):
    model, records, mapper = parts
    found = measure(model, records, mapper)
    sentences = [e for r in records for e in r["expressions"]]
    held_out = sum(HELD_OUT in e["tags"] for e in sentences)
    counts = {"seen": len(sentences) - held_out, "held_out": held_out}
    mean = sum(counts[n] * found[n]["accuracy"] for n in counts if counts[n]) / len(sentences)
    assert 0 < held_out < len(sentences) and found["all"]["accuracy"] == pytest.approx(mean)
    auroc = found["all"]["presence_auroc"]
    assert math.isnan(auroc) or 0 <= auroc <= 100
