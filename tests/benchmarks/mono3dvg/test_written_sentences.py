"""The rows without training: the parser against the generator's own forms, answers by rule, the table of records."""

import numpy as np
import pytest

from benchmarks.common import records
from benchmarks.mono3dvg import written_sentences
from benchmarks.mono3dvg.sentence_parser import named_class, parse_sentence
from benchmarks.mono3dvg.written_sentences import RULES, answer_by_rule, write_table
from mono3dvg.evaluation.grounding_protocol import evaluate_grounding
from mono3dvg.language import Recipe, build_labelled_scene, generate_sentences, interpret
from mono3dvg.schema import GroundingData
from tests.factories.grounding_files import toy_grounding_content


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["seen", "held_out"])
def generated(request) -> GroundingData:
    raw, _ = toy_grounding_content(12, seed=2)
    raw["expressions"], _ = generate_sentences(GroundingData(raw), Recipe(seed=3, held_out=request.param))
    return GroundingData(raw)


def test_parsed_sentences_mean_what_their_generator_meant(generated):
    assert len(generated.expressions) > 50
    for e in generated.expressions.values():
        scene = build_labelled_scene(generated, e.image_id)
        form = parse_sentence(e.text)
        assert form is not None, e.text
        assert {scene.ids[i] for i in interpret(form, scene).targets} == set(e.target_ids), e.text


WHITE_CAR = ("all", ("color", "white"), ("class", "car"))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Is there a white car?", WHITE_CAR),
        ("Which lorry is coming towards us?", ("all", ("class", "truck"), ("heading", "toward"))),
        ("the lorry behind the white car", ("all", ("class", "truck"), ("behind", WHITE_CAR))),
        ("Show me the second car from the left.", ("rank", "left", 2, 2, ("all", ("class", "car")))),
        ("man in the blue jacket", ("all", ("class", "pedestrian"), ("color", "blue"))),
        ("the white car and the bus", ("union", WHITE_CAR, ("all", ("class", "bus")))),
        ("somebody riding a bicycle", ("all", ("class", "cyclist"))),
        ("Nothing to see here!", None),
    ],
)
def test_everyday_sentences(text, form):
    assert parse_sentence(text) == form


def test_the_class_named_first():
    assert named_class("Who is crossing in front of the bus?") == "pedestrian"
    assert named_class("The lorry behind the van") == "truck"
    assert named_class("over there") is None


def test_rules_answer_with_labelled_boxes(generated):
    answers = {name: answer_by_rule(generated, rule) for name, (_, rule) in RULES.items()}
    scores = {name: evaluate_grounding(generated, given, 0.5) for name, given in answers.items()}
    assert scores["parser"]["exact"]["0.5"] == 100
    assert scores["nothing"]["n_acc"] == 100 and scores["nothing"]["t_acc"] == 0
    key, e = next((k, e) for k, e in generated.expressions.items() if named_class(e.text) == "car" and e.target_ids)
    cars = [o.row for o in generated.objects_of[e.image_id] if o.category_id == 0 and not o.ignore]
    np.testing.assert_array_equal(answers["named_class"][key].boxes, cars)
    assert scores["named_class"]["mean_f1"]["0.5"]["overall"] < 100


def test_the_table_has_a_row_for_each_style(generated, tmp_path, monkeypatch):
    for module in (records, written_sentences):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    plain = evaluate_grounding(generated, answer_by_rule(generated, parse_sentence), 0.5)
    styled = plain | {
        "by_style": {"phrase": plain["by_kind"]["single"] | {"n_acc": None, "t_acc": 50.0, "by_kind": {}}}
    }
    metrics = {"toy_grounding_val": plain, "toy_grounding_written": styled}
    about = {"command": "c", "config": "", "seed": 0, "seconds": 1.0}
    records.write_record(written_sentences.BENCH, "parser", metrics=metrics, **about)
    records.write_record(written_sentences.BENCH, "main_seed1", metrics=metrics, **about)
    text = write_table().read_text()
    assert "| hand-written parser, labelled boxes | generated | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |" in text
    assert "| main_seed1 | written, phrases | 100.0 | 100.0 | - | - | - | - | 50.0 |" in text
