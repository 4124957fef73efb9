"""Plots of a training: files beside the results, images in TensorBoard, and no failure of theirs costs a training."""

import json
import logging
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog
from detectron2.utils.env import seed_all_rng

from d2road.config import make_cfg, validate
from d2road.engine import Trainer, plots
from d2road.report.run_report import run_page
from d2road.report.run_summary import read_run
from d2road.utils.errors import ConfigError
from tests.factories.html_pages import parsed
from tests.factories.run_folders import write_run
from tests.factories.tiny_system import make_data, tiny_cfg


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


def train(data: Path, output: Path, *pairs) -> Path:
    short = ("SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (), "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 100)
    cfg = tiny_cfg(data, output, *short, *pairs)
    for name in cfg.DATASETS.TEST:
        metadata = MetadataCatalog.get(name)
        metadata.__dict__["evaluator_type"] = "coco"  # of the platform, instead of Detectron2's own
    cfg.freeze()
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return output


BOXES = [f"boxes_{name}.png" for name in ("confusion", "precision_recall", "reliability", "thresholds")]


def test_a_training_leaves_plots_and_puts_them_into_tensorboard(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(data, tmp_path / "run")
    drawn = sorted(path.name for path in (run / "inference" / "plots").iterdir())
    assert drawn == ["boxes.json", *BOXES]
    assert (run / "plots" / "training_losses.png").is_file()
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    assert sorted(events.Tags()["images"]) == sorted(f"plots/{Path(name).stem}" for name in BOXES)
    image = events.Images("plots/boxes_confusion")
    assert [one.step for one in image] == [1, 3] and image[0].width == 800
    metrics = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP" in row for row in metrics)
    page = parsed(run_page(read_run(run)))
    assert "finished: 4 iterations" in page.text["td"] and "Worst images" in page.text["h3"]


def test_switched_off_there_is_nothing(data, tmp_path):
    run = train(data, tmp_path / "run", "TEST.PLOTS", False)
    assert not list(run.rglob("*.png")) and not list(run.rglob("plots"))
    page = parsed(run_page(read_run(run)))
    assert any("There is no plot data" in text for text in page.text["p"])


def test_plots_of_an_earlier_evaluation_go_with_its_results(tmp_path):
    run = write_run(tmp_path)
    (run / "inference" / "plots" / "boxes_lines.png").write_bytes(b"x")
    cfg = make_cfg(opts=["OUTPUT_DIR", str(run), "TEST.PLOTS", "False"])
    plots.plot_evaluation(cfg)
    assert not list((run / "inference" / "plots").iterdir())


def test_what_fails_is_logged_and_the_training_ends_as_without(data, tmp_path, monkeypatch, caplog):
    def fail(figure):
        raise RuntimeError("no canvas")

    monkeypatch.setattr("d2road.visualization.figure_drawing.figure_png", fail)
    monkeypatch.setattr("d2road.evaluation.coco_evaluator.box_plots", fail)
    with caplog.at_level(logging.WARNING, "d2road"):
        run = train(data, tmp_path / "run")
    assert (run / "model_final.pth").is_file() and (run / "results.json").is_file()
    assert "plots of the training could not be made: RuntimeError: no canvas" in caplog.text
    assert "The data of the plots" in caplog.text


def test_only_the_main_process_draws(data, tmp_path, monkeypatch):
    run = train(data, tmp_path / "run", "TEST.PLOTS", False)
    cfg = tiny_cfg(data, run)
    monkeypatch.setattr("d2road.engine.plots.comm.is_main_process", lambda: False)
    plots.plot_training(cfg)
    assert not (run / "plots").exists()
    monkeypatch.setattr("d2road.engine.plots.comm.is_main_process", lambda: True)
    plots.plot_training(cfg)
    assert (run / "plots").is_dir()


def test_plots_of_figures_that_are_gone_are_removed(tmp_path):
    (tmp_path / "boxes_old.png").write_bytes(b"x")
    (tmp_path / "other_old.png").write_bytes(b"x")
    plots.draw_figures(tmp_path, "boxes", {})
    assert [path.name for path in tmp_path.iterdir()] == ["other_old.png"]


def test_the_key_takes_true_and_false_alone():
    assert make_cfg(opts=["TEST.PLOTS", "False"]).TEST.PLOTS is False
    with pytest.raises(ConfigError, match=r"TEST\.PLOTS is 'sometimes'"):
        validate(make_cfg(opts=["TEST.PLOTS", "sometimes"]))
