"""Options and KEY VALUE pairs stand in any order, and Detectron2's options are all there."""

import argparse
from itertools import permutations

import detectron2.engine
import pytest

from d2road.config import default_argument_parser, make_cfg
from d2road.utils.arguments import KEY_ROOTS, ArgumentParser, split_pairs


def test_options_and_pairs_in_any_order():
    parts = [["--config-file", "c.yaml"], ["--eval-only"], ["SOLVER.BASE_LR", "-1e-3"], ["SEED", "-1"]]
    for order in permutations(parts):
        args = default_argument_parser().parse_args([word for part in order for word in part])
        assert args.config_file == "c.yaml" and args.eval_only and not args.resume
        pairs = dict(zip(args.opts[::2], args.opts[1::2]))
        assert pairs == {"SOLVER.BASE_LR": "-1e-3", "SEED": "-1"}


def test_the_last_pair_of_a_key_counts_and_an_option_before_all():
    args = default_argument_parser().parse_args(["SEED", "1", "MODEL.WEIGHTS", "a", "--weights", "b", "SEED", "2"])
    cfg = make_cfg(opts=args.opts)
    assert (cfg.SEED, cfg.MODEL.WEIGHTS) == (2, "b")


def test_options_that_stand_for_keys():
    args = default_argument_parser().parse_args(["--weights", "w.pth", "--output", "out", "--device", "cpu"])
    assert args.opts == ["MODEL.WEIGHTS", "w.pth", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", "out"]
    assert default_argument_parser().parse_args([]).opts == []


def test_mistakes_reach_the_config_which_names_the_nearest_key():
    args = default_argument_parser().parse_args(["MODLE.WEIGHTS", "w", "--config-file", ""])
    with pytest.raises(ValueError, match=r"MODLE\.WEIGHTS is not a key; the nearest is MODEL\.WEIGHTS"):
        make_cfg(opts=args.opts)
    args = default_argument_parser().parse_args(["MODEL.WEIGHTS", "--eval-only"])
    with pytest.raises(ValueError, match="got 1 words, expected an even number"):
        make_cfg(opts=args.opts)
    assert args.eval_only


def test_values_of_options_are_not_taken_for_keys(tmp_path, monkeypatch):
    assert split_pairs(["--output", "SEED", "MODEL.A", "1"]) == (["--output", "SEED"], ["MODEL.A", "1"])
    assert split_pairs(["--input", "a", "b.jpg", "MODEL.A", "1"]) == (["--input", "a", "b.jpg"], ["MODEL.A", "1"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "TEST.png").touch()
    assert split_pairs(["--input", "TEST.png"]) == (["--input", "TEST.png"], [])


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit) as error:
        default_argument_parser().parse_args(["SEED", "1", "--epochs", "3"])
    assert error.value.code == 2 and "--epochs" in capsys.readouterr().err


def test_without_config_no_pairs_are_taken():
    parser = ArgumentParser()
    parser.add_argument("name")
    assert parser.parse_args(["SEED"]) == argparse.Namespace(name="SEED")


def test_roots_are_those_of_the_config():
    assert set(make_cfg()) <= KEY_ROOTS | {"TIME_SPACE"}


def test_options_and_defaults_of_detectron2():
    theirs, ours = detectron2.engine.default_argument_parser(), default_argument_parser()
    line = ["--config-file", "c", "--num-gpus", "2"]
    expected = vars(theirs.parse_args([*line, "SEED", "1"]))
    found = vars(ours.parse_args([*line, "SEED", "1"]))
    assert found == found | expected


@pytest.mark.parametrize(
    "line",
    [
        "in.ckpt out.pth --weights w SEED 1",
        "--weights w in.ckpt out.pth SEED 1",
        "in.ckpt SEED 1 --output out.pth --weights w",
        "--input in.ckpt SEED 1 out.pth --weights w",
        "SEED 1 --output out.pth --input in.ckpt --weights w",
    ],
)
def test_files_by_position_or_by_option(line):
    parser = ArgumentParser()
    parser.add_file("input", "IN", "to read")
    parser.add_file("output", "OUT", "to write")
    parser.add_config()
    args = parser.parse_args(line.split())
    assert (args.input, args.output) == ("in.ckpt", "out.pth")
    assert args.opts == ["SEED", "1", "MODEL.WEIGHTS", "w"]
    assert parser.parse_args(["in.ckpt"]).output is None
