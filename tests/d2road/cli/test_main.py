"""The command: every verb answers --help at once, wrong ones name the nearest, and exit codes are as documented."""

import importlib
import json
import subprocess
import sys

import pytest

import d2road
from d2road.cli import __main__ as command
from d2road.cli import eval as evaluation
from d2road.cli import eval_kitti, eval_rope, export, make_data, train
from d2road.evaluation.metrics.kitti_protocol import CLASSES
from d2road.evaluation.metrics.rope_similarity import MODES
from d2road.synthetic.traffic_incidents.drivers import POPULATIONS
from d2road.synthetic.traffic_incidents.incident_windows import VIEWS
from d2road.synthetic.traffic_incidents.scenarios import ROADS
from d2road.utils.arguments import ArgumentParser
from efficientad.checkpoint.foreign_models import SOURCES

HEAVY = ("torch", "torchvision", "detectron2", "pandas", "cv2", "matplotlib")


def test_the_table_has_every_module_and_its_help_every_verb(repo_dir, capsys):
    modules = {path.stem for path in (repo_dir / "d2road" / "cli").glob("[!_]*.py")}
    assert modules == {verb.replace("-", "_") for verb in command.VERBS}
    assert command.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    groups = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert groups == list(dict.fromkeys(group for group, _ in command.VERBS.values()))
    for verb, (_, text) in command.VERBS.items():
        assert any(line.split(maxsplit=1) == [verb, text] for line in lines)


# Each takes some 0.05 s: what imports torch would take seconds.
@pytest.mark.parametrize("verb", command.VERBS)
def test_help_has_examples_and_needs_no_heavy_import(verb, repo_dir):
    code = (
        "import importlib, json, sys\n"
        f"module = importlib.import_module('d2road.cli.{verb.replace('-', '_')}')\n"
        "module.build_parser()\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))\n"
        "module.main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy, text = done.stdout.split("\n", 1)
    assert json.loads(heavy) == []
    assert text.startswith(f"usage: d2road {verb} ") and f"\n    d2road {verb}" in text


# Options of one meaning -> other names of it, which earlier versions and other programs have.
ONE_NAME = {
    "--output": {"--out", "-o", "--out-dir", "--output-dir", "--save-dir"},
    "--input": {"--inputs", "--in", "--images-to-predict"},
    "--confidence": {"--conf", "--min-score", "--score-threshold", "--score", "--conf-thres"},
    "--weights": {"--checkpoint", "--model-weights", "--ckpt"},
    "--json": {"--json-out", "--output-json"},
    "--verbose": {"--debug", "--log-level"},
}


@pytest.mark.parametrize("verb", command.VERBS)
def test_what_is_one_thing_has_one_name_in_every_verb(verb):
    parser = importlib.import_module(f"d2road.cli.{verb.replace('-', '_')}").build_parser()
    for action in parser._actions:
        for name, others in ONE_NAME.items():
            if others & set(action.option_strings):
                assert action.option_strings[0] == name, f"{verb}: {action.option_strings}"


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_has_one_parser(verb):
    assert isinstance(importlib.import_module(f"d2road.cli.{verb.replace('-', '_')}").build_parser(), ArgumentParser)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval_kitti"], "did you mean eval-kitti?"),
        (["pedict", "--input", "x"], "did you mean predict?"),
        (["xyz"], "verbs are train, eval, report, predict, "),
        ([], "usage: d2road VERB"),
    ],
)
def test_a_wrong_verb_names_the_nearest(words, said, capsys):
    assert command.main(words) == 2
    output = capsys.readouterr()
    assert said in output.err and not output.out


def test_version_and_help_of_a_verb(capsys):
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"d2road {d2road.__version__}\n"
    with pytest.raises(SystemExit) as stopped:
        command.main(["help", "eval-rope"])
    assert stopped.value.code == 0 and capsys.readouterr().out.startswith("usage: d2road eval-rope")


def test_wrong_options_and_wrong_data_exit_with_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["eval-kitti", "--gt", str(tmp_path)])
    assert stopped.value.code == 2 and "--pred" in capsys.readouterr().err
    assert command.main(["eval-kitti", "--gt", str(tmp_path), "--pred", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert command.main(["train", "--config-file", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
    assert command.main(["train"]) == command.main(["eval"]) == 2
    assert capsys.readouterr().err.count("error: no model is named: give --config-file") == 2


def test_what_parsers_say_without_the_library_is_what_it_has():
    assert tuple(CLASSES) == eval_kitti.CLASSES and tuple(MODES) == eval_rope.MODES
    assert tuple(VIEWS) == make_data.VIEWS
    assert (tuple(ROADS), tuple(POPULATIONS)) == (make_data.ROADS, make_data.DRIVERS)
    convert = importlib.import_module("d2road.cli.convert")
    assert tuple(SOURCES) == convert.MODEL_SOURCES


def test_eval_is_train_with_eval_only(monkeypatch, tmp_path):
    got = []
    monkeypatch.setattr("d2road.engine.launch", lambda main, args: got.append((main, args)))
    line = ["--config-file", "c.yaml", "--weights", "w.pth", "--num-gpus", "3", "SEED", "1"]
    assert evaluation.main([*line, "--json", str(tmp_path / "ap.json")]) == train.main([*line, "--eval-only"]) == 0
    (run, args), (train_run, train_args) = got
    assert run is evaluation.run and train_run is train.run
    assert {**vars(args), "json": None} == {**vars(train_args), "json": None} and args.eval_only
    monkeypatch.setattr(train, "run", lambda args: {"bbox": {"AP": 1.5}})
    evaluation.run(args)
    assert json.loads((tmp_path / "ap.json").read_text()) == {"bbox": {"AP": 1.5}}


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("check-data", "--sheet-pictures 3 name"),
        ("convert", "--source anomalib in.ckpt out.pth SEED 1"),
        ("convert", "--source mono3drefer:a:test --out file"),
        ("eval-anomaly", "--data d --maps m --json j --exact --threshold 1 --fpr 0.1 --workers 2"),
        ("eval-grounding", "--gt g --pred p --score-threshold 1 --subsets s --json j"),
        ("eval-kitti", "--gt g --pred p --classes car van --iou car=0.5 --split s --missing-as-empty --json j"),
        ("eval-rope", "--gt g --pred p --calib c --denorm d --roi r --mode true --split s --json j"),
        ("export", "--arithmetic int8 --config-file c --weights w out.pth SEED 1"),
        ("make-data", "toy-roadside --out o --seed 1 --train 2 --val 1 --workers 0"),
        ("predict", "--config-file c --input a --output o --opts SEED 1"),
        ("quickstart", "--output o"),
        ("render-trajectories", "--source csv:x --out o --views 2 TIME_SPACE.DS 8.0"),
        ("score-stream", "--input i --config-file c --weights w --threshold 1 --pictures p SEED 1"),
        ("train", "--config-file c --resume --num-gpus 2 --dist-url auto OUTPUT_DIR o"),
        ("visualize-data", "name --out o --num 3 --no-bev"),
    ],
)
def test_options_of_version_0_1_are_still_read(verb, line):
    importlib.import_module(f"d2road.cli.{verb.replace('-', '_')}").build_parser().parse_args(line.split())


def test_export_needs_a_name(capsys):
    assert export.main(["--config-file", "c"]) == 2
    assert "name OUT" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("eval-kitti", "--gt", "no/labels", "--pred", "p"), ("check-data", "kitti:no/data")])
def test_an_error_comes_without_warnings_of_other_packages(verb, repo_dir):
    line = [sys.executable, "-m", "d2road.cli", *verb]
    done = subprocess.run(line, cwd=repo_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
