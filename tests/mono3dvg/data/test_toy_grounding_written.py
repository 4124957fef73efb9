"""Sentences that no generator wrote: a valid file, about objects that are there, over no other images."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import cv2
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.cli.eval_grounding import main as eval_grounding
from d2road.data.datasets.builtin import datasets_root
from d2road.synthetic.roadside.compose import render_frame
from d2road.synthetic.roadside.roadside_labels import describe_objects
from d2road.synthetic.roadside.roadside_writer import frame_rng
from d2road.utils.errors import DataError
from mono3dvg.data.grounding_datasets import WRITTEN, load_grounding, register_builtin
from mono3dvg.evaluation.prediction_files import Answer, write_predictions
from mono3dvg.schema import GroundingData, read_grounding

SCENES = (150, 233, 271)  # few objects, quickly drawn
SEED = 0


@pytest.fixture(scope="module")
def written() -> GroundingData:
    return read_grounding(WRITTEN)  # raises where the file is not of the schema


@cache
def render(scene: int, seed: int = SEED):
    return render_frame(frame_rng(seed, "val", scene))


def _few(folder, seed: int = SEED):
    """The sentences of three scenes, and their images drawn with a seed."""
    raw = json.loads(WRITTEN.read_text())
    ids = {f"{scene:06d}" for scene in SCENES}
    kept = {"images": [e for e in raw["images"] if e["id"] in ids]}
    kept |= {name: [e for e in raw[name] if e["image_id"] in ids] for name in ("annotations", "expressions")}
    (folder / "validation" / "image_2").mkdir(parents=True)
    for scene, image in zip(SCENES, kept["images"]):
        cv2.imwrite(str(folder / image["file_name"]), render(scene, seed).image)
    (folder / "few.json").write_text(json.dumps(raw | kept))
    return str(folder / "few.json"), str(folder)


def test_the_file_has_both_styles_and_no_one_and_several_targets(written):
    sentences = list(written.expressions.values())
    assert len(sentences) >= 300 and written.info["readings"]["kept"] == len(sentences)
    readings = written.info["readings"]
    assert readings["written"] - readings["kept"] == sum(v for k, v in readings.items() if k.startswith("withdrawn"))
    share = {kind: count / len(sentences) for kind, count in Counter(e.kind for e in sentences).items()}
    assert share == pytest.approx({"single": 0.6, "multi": 0.2, "zero": 0.2}, abs=0.03)
    groups = Counter(e.group for e in sentences)
    assert min(groups["zt_w_d"], groups["zt_wo_d"]) >= 50 and None not in groups
    styles = Counter(tag for e in sentences for tag in e.tags if tag.startswith("style:"))
    assert set(styles) == {"style:phrase", "style:question"} and min(styles.values()) >= 0.4 * len(sentences)
    assert sum(styles.values()) == len(sentences)


def test_no_sentence_stands_twice_over_an_image_and_none_has_a_form(written):
    told = Counter((e.image_id, e.text.lower().strip(" .?")) for e in written.expressions.values())
    assert max(told.values()) == 1
    assert all(e.form is None for e in written.expressions.values())
    assert all(image.thumbnail for image in written.images.values())


@pytest.mark.parametrize("scene", SCENES)
def test_objects_are_those_that_the_renderer_puts_there(written, scene):
    described = describe_objects(render(scene))
    things = written.objects_of[f"{scene:06d}"]
    assert len(things) == len(described) > 0
    expected = {tuple(entry["location"]): entry for entry in described}
    for thing in things:
        entry = expected[thing.location]
        assert written.categories[thing.category_id] == entry["type"]
        assert thing.bbox == pytest.approx(entry["box_xyxy"]) and thing.rotation_y == entry["ry"]
        assert thing.attributes == {k: entry[k] for k in ("color", "lane", "state", "visible")}
        assert thing.ignore == (entry["visible"] < 0.15 or entry["truncated"] > 0.7)


def test_they_are_read_over_their_own_images(tmp_path):
    records = load_grounding(*_few(tmp_path))
    assert [record["image_id"] for record in records] == [f"{scene:06d}" for scene in SCENES]
    assert all(record["expressions"] and record["scene"] is None for record in records)


def test_another_rendering_is_refused(tmp_path):
    file, folder = _few(tmp_path, seed=SEED + 1)
    with pytest.raises(DataError, match=r"3 of 3 images are not those .*000150.jpg.*toy_roadside.*To get them: draw"):
        load_grounding(file, folder, hint="draw")


def anew_below(root: Path) -> None:
    """A name that is there already would be left alone, and its data with it."""
    DatasetCatalog.remove("toy_grounding_written")
    MetadataCatalog.remove("toy_grounding_written")
    register_builtin(root)


def test_the_name_says_how_to_get_the_images(tmp_path):
    anew_below(tmp_path)
    try:
        with pytest.raises(FileNotFoundError, match=r"104 of 104 images .* To get them: d2road make-data toy-roadside"):
            DatasetCatalog.get("toy_grounding_written")
    finally:
        anew_below(datasets_root())
    assert MetadataCatalog.get("toy_grounding_written").evaluator_type == "grounding"


def test_answers_are_scored_by_name_apart_by_style_and_number_of_targets(written, tmp_path, capsys):
    answers = {}
    for key, e in written.expressions.items():  # right, but nothing to questions that mean several
        rows = written.target_rows(e)[: 0 if e.kind == "multi" and "style:question" in e.tags else None]
        answers[key] = Answer(rows, rows[:, 0] * 0 + 1)
    write_predictions(tmp_path / "pred.json", 0.5, answers)
    command = ["--gt", "toy_grounding_written", "--pred", str(tmp_path / "pred.json")]
    assert eval_grounding([*command, "--json", str(tmp_path / "scores.json")]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {kind: row["0.25"] for kind, row in scores["by_style"]["phrase"]["by_kind"].items()} == {
        "zero": 100, "single": 100, "multi": 100,
    }  # fmt: skip
    question = scores["by_style"]["question"]
    assert question["by_kind"]["multi"]["0.5"] == 0 and question["by_kind"]["single"]["exact"]["0.5"] == 100
    assert question["n_acc"] == 100 and question["t_acc"] < 100
    assert 0 < scores["by_kind"]["multi"]["0.25"] < 100 == scores["by_kind"]["zero"]["0.25"]
    assert "question, multi" in capsys.readouterr().out


def test_a_name_that_is_no_grounding_data_is_refused(tmp_path):
    (tmp_path / "pred.json").write_text("{}")
    assert eval_grounding(["--gt", "toy_roadside_val", "--pred", str(tmp_path / "pred.json")]) == 2
