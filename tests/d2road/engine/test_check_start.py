"""What a run starts from is missed before anything is opened, built or written."""

import logging
from contextlib import suppress

import pytest

from d2road.cli.train import main
from d2road.config import make_cfg
from d2road.engine import check_start
from d2road.utils.errors import CheckpointError, ConfigError
from tests.factories.anomaly_models import write_category

OWN = "efficientad/own_images.yaml"


def test_evaluation_without_weights_is_refused(tmp_path):
    cfg = make_cfg("diffusion_det/Base-Small.yaml", ["OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(ConfigError, match=r"MODEL\.WEIGHTS is empty.*'random'"):
        check_start(cfg, eval_only=True)
    check_start(cfg)  # trains from initial weights
    check_start(cfg, eval_only=True, resume=True)
    cfg.MODEL.WEIGHTS = str(tmp_path / "none.pth")
    for eval_only in (True, False):
        with pytest.raises(FileNotFoundError, match=r"none\.pth"):
            check_start(cfg, eval_only)
    cfg.MODEL.WEIGHTS = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"  # fetched when it is loaded
    check_start(cfg)


@pytest.mark.parametrize("eval_only", [False, True])
def test_a_test_on_what_is_trained_on_is_said_to_be_one(tmp_path, caplog, eval_only):
    opts = ["DATASETS.TRAIN", "('coco_2017_train',)", "DATASETS.TEST", "('coco_2017_val', 'coco_2017_train')"]
    cfg = make_cfg("diffusion_det/Base-Small.yaml", [*opts, "MODEL.WEIGHTS", "random", "OUTPUT_DIR", str(tmp_path)])
    with suppress(ConfigError):  # the data is not here
        check_start(cfg, eval_only)
    assert "names what DATASETS.TRAIN does, coco_2017_train: results" in caplog.text
    caplog.clear()
    cfg.DATASETS.TEST = ("coco_2017_val",)
    with suppress(ConfigError):
        check_start(cfg, eval_only)
    assert "names what" not in caplog.text


def test_a_training_without_a_teacher_is_refused_unless_it_goes_on(tmp_path):
    pairs = ["OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", "()"]
    cfg = make_cfg(OWN, [*pairs, "MODEL.EFFICIENT_AD.TEACHER", ""])
    with pytest.raises(CheckpointError, match="TEACHER is empty"):
        check_start(cfg)
    cfg.MODEL.EFFICIENT_AD.TEACHER = str(tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.pth; take zoo:efficientad_teacher"):
        check_start(cfg)
    (tmp_path / "model_0000009.pth").touch()
    check_start(cfg, resume=True)
    cfg.MODEL.EFFICIENT_AD.TEACHER = "random"
    check_start(cfg)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("folder:{folder}:test", "bad"),
        ("folder:{folder}/nowhere:test", "nowhere"),
        ("images:{folder}/nowhere", "nowhere"),
        ("coco:{folder}/none.json:{folder}", r"none\.json"),
    ],
)
def test_test_data_that_is_not_there_is_told_before_the_training(tmp_path, test, said):
    folder = tmp_path / "own"
    folder.mkdir()
    (write_category(tmp_path / "data", 2, 1) / "train" / "good").rename(folder / "good")
    pairs = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.EFFICIENT_AD.TEACHER", "random"]
    cfg = make_cfg(
        OWN, [*pairs, "DATASETS.TRAIN", f"('folder:{folder}',)", "DATASETS.TEST", f"('{test.format(folder=folder)}',)"]
    )
    with pytest.raises(
        ConfigError, match=rf"(?s)DATASETS\.TEST, which the training ends with: .*{said}.*DATASETS\.TEST \"\(\)\""
    ):
        check_start(cfg)
    assert logging.root.manager.disable == 0
    cfg.DATASETS.TEST = ()
    check_start(cfg)


@pytest.mark.parametrize("what", [["--eval-only"], ["MODEL.EFFICIENT_AD.TEACHER", "gone.pth"]])
def test_the_command_says_so_in_a_line_and_writes_nothing(tmp_path, capsys, what):
    good = write_category(tmp_path / "data", 2, 1) / "train"
    pairs = ["OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TRAIN", f"('images:{good}',)", "DATASETS.TEST", "()"]
    flags = [part for part in what if part.startswith("--")]
    keys = [part for part in what if not part.startswith("--")]
    assert main(["--config-file", OWN, *flags, "MODEL.DEVICE", "cpu", *pairs, *keys]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 1 and len(printed.out.splitlines()) < 5
    assert not (tmp_path / "out").exists()
