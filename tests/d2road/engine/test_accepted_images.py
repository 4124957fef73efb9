"""Accepting good images: what the audit trail says happened, and images that must not set a threshold."""

import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from torch import nn

from d2road.engine.accepted_images import Change, check_change
from d2road.engine.audit_trail import AuditTrail
from d2road.engine.meta_arch import AcceptsGoodImages, HasAnomalyThreshold
from d2road.utils.errors import CheckpointError, ConfigError, DataError
from tests.factories.accepting_model import MeanColours, accepting_model, colour_files


def test_the_double_implements_the_contract():
    assert isinstance(MeanColours(), AcceptsGoodImages) and isinstance(MeanColours(), HasAnomalyThreshold)


def test_a_record_says_all_that_an_auditor_asks(tmp_path):
    (file,) = colour_files(tmp_path, 130)
    held = accepting_model()
    held.accept([file])
    (record,) = held.trail.records
    assert (record.action, record.id, record.by, record.reason) == ("accept", 1, "me", "why")
    assert record.file_name == str(file) and record.vectors == 1
    assert record.score_before == pytest.approx(40 * 3**0.5, rel=1e-6) and record.score_after == 0
    assert record.threshold_before == record.threshold_after == 10 and "without guarantee" in record.guarantee
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.time_utc)


def test_the_checksum_is_that_of_the_pixels_whatever_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    for suffix in ("png", "bmp", "tiff"):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
        held = accepting_model()
        held.accept([tmp_path / f"a.{suffix}"])
        assert held.trail.records[0].sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()


def test_several_images_have_scores_before_and_after_all_of_them(tmp_path):
    near, far = colour_files(tmp_path, 100, 104)
    held = accepting_model()
    held.accept([near, far])
    assert [record.id for record in held.trail.records] == [1, 2]
    assert held.trail.records[1].score_before == pytest.approx(14 * 3**0.5, rel=1e-6)
    assert [record.score_after for record in held.trail.records] == [0, 0]


def test_what_was_accepted_can_be_taken_back_by_its_id(tmp_path):
    first, second = colour_files(tmp_path, 130, 200)
    held = accepting_model()
    held.accept([first, second])
    held.remove([1])
    assert set(held.trail.accepted()) == {2} and set(held.model.bank) == {0, 2}
    last = held.trail.records[-1]
    assert (last.action, last.id, last.vectors, last.file_name) == ("remove", 1, -1, str(first))
    with pytest.raises(ConfigError, match=r"--remove 1: no accepted image .* there are: 2"):
        held.remove([1])
    held.accept([first])  # under an id of its own
    assert held.trail.records[-1].id == 3 and set(held.trail.accepted()) == {2, 3}


def test_equal_pixels_are_accepted_once(tmp_path, caplog):
    (file,) = colour_files(tmp_path, 130)
    (copy,) = colour_files(tmp_path / "copy", 130)
    held = accepting_model()
    held.accept([file, copy])
    assert len(held.trail.records) == 1 and "same pixels as another" in caplog.text
    with pytest.raises(DataError, match="no image is left to accept"):
        held.accept([copy])


def test_an_accepted_image_never_sets_the_threshold(tmp_path):
    (file,) = colour_files(tmp_path, 130)
    drawn = tmp_path / "drawn"
    colour_files(drawn / "monday", 92, 95)
    held = accepting_model()
    held.calibrate(drawn)
    assert held.model.threshold == pytest.approx(5 * 3**0.5, rel=1e-6)
    record = held.trail.records[-1]
    assert (record.action, record.vectors, record.file_name) == ("calibrate", 2, str(drawn))
    assert (record.threshold_before, record.threshold_after) == (10, held.model.threshold)
    held.accept([file])
    held.remove([1])
    colour_files(drawn, 130)
    with pytest.raises(DataError, match=r"130\.png was accepted as image 1, .* drawn at random"):
        held.calibrate(drawn)


def test_an_image_counts_once_for_the_threshold(tmp_path):
    colour_files(tmp_path / "a", 92)
    colour_files(tmp_path / "b", 92)
    with pytest.raises(DataError, match="have the same pixels"):
        accepting_model().calibrate(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        accepting_model().calibrate(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        accepting_model().calibrate(tmp_path / "empty")


def test_a_trail_goes_on_where_it_was(tmp_path):
    first, second = colour_files(tmp_path, 130, 200)
    held = accepting_model()
    held.accept([first])
    held.model.set_audit_trail(held.trail.to_text())
    again = accepting_model(held.model)
    again.accept([second])
    assert again.trail.to_text().startswith(held.trail.to_text())
    assert [record.id for record in again.trail.records] == [1, 2]
    assert AuditTrail.from_text(again.trail.to_text(), "x").records == again.trail.records


@pytest.mark.parametrize("damage", ["{", "[]", '{"action": "buy"}', None])
def test_a_damaged_trail_is_refused(tmp_path, damage):
    held = accepting_model()
    held.accept(colour_files(tmp_path, 130))
    text = held.trail.to_text()
    text = text + damage if damage else json.dumps(json.loads(text) | {"score_before": float("nan")})
    with pytest.raises(CheckpointError, match=r"in\.pth: its audit trail is damaged \("):
        AuditTrail.from_text(text, "in.pth")


def test_a_model_without_a_bank_is_refused():
    with pytest.raises(ConfigError, match="MeanColours takes in no images after its training"):
        accepting_model(nn.Identity())


def test_a_change_that_says_too_little_is_refused(tmp_path):
    cfg = accepting_model().cfg
    weights = tmp_path / "in.pth"
    weights.touch()
    cfg.MODEL.WEIGHTS = str(weights)
    good = Change("me", "why", accept=["a.png"])
    check_change(cfg, good, tmp_path / "out.pth")
    for change, output, words in (
        (good, weights, "stays as it is"),
        (good, tmp_path / "out.txt", "ends with .pth"),
        (Change("me", "why"), tmp_path / "out.pth", "nothing to do"),
        (Change("me", " ", ["a.png"]), tmp_path / "out.pth", "--reason is empty"),
        (Change("", "why", ["a.png"]), tmp_path / "out.pth", "--by is empty"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_change(cfg, change, output)
