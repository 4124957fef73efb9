"""Questions about clips: their truth on vehicles made by hand, their wordings, and what counts as right."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.traffic.search_questions import WORDINGS, draw_questions, realize_question
from benchmarks.traffic.search_truth import ClipTruth
from benchmarks.traffic.video_search import temporal_iou
from d2road.utils.input_files import read_json


def rows_of(vehicle, t, y, x=2.0, lane=1, cls="car", length=4.5):
    t, y = np.asarray(t, float), np.asarray(y, float)
    speed = np.abs(np.gradient(y, t))
    return pd.DataFrame({
        "frame": np.round(t * 10).astype(int), "t": t, "id": vehicle, "cls": cls, "X": x, "Y": y,
        "range": np.hypot(x, y),
        "heading_rad": np.pi / 2, "speed_mps": speed, "length": length, "width": 1.8, "height": 1.5, "lane": lane,
        "s": y + length / 2, "x1": 480.0, "x2": 520.0, "y1": 200.0, "y2": 240.0, "visible": 1.0, "counted": True,
    })  # fmt: skip


@pytest.fixture
def truth():
    t = np.round(np.arange(0, 20.05, 0.1), 1)
    stops = np.interp(t, [0, 5, 15, 20], [20, 50, 50, 75])
    table = pd.concat([
        rows_of(1, t, stops), rows_of(2, t, 10 + 3 * t, x=-1.5, lane=np.where(t < 10, 2, 3), cls="bus", length=11.0),
    ])  # fmt: skip
    clip = SimpleNamespace(name="val_000", truth=table.reset_index(drop=True), camera=SimpleNamespace(width=960))
    return ClipTruth(clip, {1: "red", 2: "blue"})


def only(found):
    ((vehicle, t0, t1),) = [(one.vehicle, one.t0, one.t1) for one in found]
    return vehicle, pytest.approx(t0, abs=0.15), pytest.approx(t1, abs=0.15)


def test_truth_is_that_of_the_simulation(truth):
    car, bus = ("class", ("car",)), ("class", ("bus",))
    assert only(truth.intervals([car, ("standing", None)])) == (1, 5, 15)
    assert truth.intervals([car, ("standing", None), ("lasting_over", 12.0)]) == []
    assert only(truth.intervals([bus, ("lane_middle", None), ("color", "blue")])) == (2, 0, 10)
    assert truth.intervals([bus, ("color", "red")]) == []
    assert only(truth.intervals([bus, ("change_left", None)])) == (2, 8.5, 11.5)
    assert truth.intervals([bus, ("change_right", None)]) == []
    ((passes),) = truth.intervals([bus, ("overtaking", None)])  # at 13.3 s, where the car stands at 50 m
    assert passes.t0 < 13.3 < passes.t1
    assert only(truth.intervals([car, ("behind", ("bus",)), ("before", 12.5)]))[0] == 1


def test_questions_have_few_answers_or_none(truth):
    questions = draw_questions([truth], 12, 4, "seen", 3)
    assert [bool(one.answers) for one in questions] == [True] * 8 + [False] * 4
    assert all(len(one.answers) <= 3 and one.kinds[0][0] == "class" for one in questions)
    assert [one.sentence for one in questions] == [one.sentence for one in draw_questions([truth], 12, 4, "seen", 3)]


def test_sentences_say_what_the_question_asks():
    kinds = [("class", ("bus",)), ("color", "orange"), ("lasting_over", 5.0), ("standing", None), ("large", None)]
    wordings = read_json(WORDINGS, "wordings")
    sentence = realize_question(kinds, wordings, "seen", np.random.default_rng(0))
    assert "large orange bus" in sentence and "5" in sentence
    assert "an orange" in realize_question(kinds[:2], wordings, "seen", np.random.default_rng(0))


def test_overlap_in_time():
    assert temporal_iou(0, 10, 5, 15) == pytest.approx(1 / 3)
    assert temporal_iou(0, 1, 2, 3) == 0 and temporal_iou(1, 3, 1, 3) == 1
