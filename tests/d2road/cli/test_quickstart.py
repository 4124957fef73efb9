"""The quickstart renders only what is missing, and trains once; the whole of it runs in tests/test_wheel.py."""

import json

import pytest

from d2road.cli import quickstart
from d2road.config import make_cfg
from tests.factories.exit_code import exit_code


@pytest.fixture
def rendered(monkeypatch, tmp_path):
    """Calls of the renderer, which draws nothing, with a data root of the test's own."""
    calls = []
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.setattr(
        "d2road.synthetic.roadside.make_toy_roadside", lambda folder, **options: calls.append((folder, options))
    )
    return calls


def arguments(*words):
    return quickstart.build_parser().parse_args(words)


def test_the_data_of_the_config_is_rendered_where_it_is_absent(rendered, tmp_path):
    assert quickstart.render_data(arguments()) == []
    (call,) = rendered
    assert call[0] == tmp_path / "data" / "toy_roadside" and set(call[1]) == {"workers"}
    index = tmp_path / "data" / "toy_roadside" / "annotations" / "instances_val.json"
    index.parent.mkdir(parents=True)
    index.touch()
    assert quickstart.render_data(arguments()) == [] and len(rendered) == 1


def test_a_small_one_has_data_of_its_own(rendered, tmp_path):
    opts = quickstart.render_data(arguments("--images", "9", "--output", str(tmp_path / "out")))
    ((folder, options),) = rendered
    assert folder == tmp_path / "out" / "toy_roadside" and (options["train"], options["val"]) == (9, 4)
    cfg = make_cfg(quickstart.CONFIG, opts)
    assert (f"coco:{folder}/annotations/instances_train.json:{folder}",) == cfg.DATASETS.TRAIN
    assert (f"coco:{folder}/annotations/instances_val.json:{folder}",) == cfg.DATASETS.TEST


def test_another_number_of_images_needs_another_folder(tmp_path, capsys):
    data = tmp_path / "toy_roadside"
    (data / "training").mkdir(parents=True)
    (data / "toy_roadside.json").write_text('{"train": 8}')
    (data / "training" / "made").touch()
    assert quickstart.main(["--images", "9", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds another quickstart")


def test_a_finished_training_is_not_repeated(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps({"bbox": {"AP": 12.5, "APs": None}}))
    (tmp_path / "model_final.pth").touch()
    cfg = make_cfg(quickstart.CONFIG, ["OUTPUT_DIR", str(tmp_path)])
    results = quickstart.train_and_evaluate(cfg)
    assert "done already" in capsys.readouterr().out
    table = quickstart.write_table(cfg, results, tmp_path / "results.md")
    assert "| AP " in table and "12.5" in table and "APs" not in table
    assert (tmp_path / "results.md").read_text() == table


@pytest.mark.parametrize("option", ["--images", "--iterations"])
def test_wrong_numbers(option, capsys):
    assert exit_code(quickstart.main, [option, "0"]) == 2
    assert f"{option}: '0' is 0, expected 1 or more" in capsys.readouterr().err
