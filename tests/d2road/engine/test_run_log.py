"""What a run says on the terminal and in log.txt."""

import argparse

import pytest
from detectron2.utils.events import EventStorage

from d2road.engine import Trainer, run_log, setup
from tests.factories.tiny_system import make_data, tiny_cfg

STEPS = 4


def train(folder, verbose: bool, *opts) -> None:
    cfg = tiny_cfg(make_data(folder / "data"), folder / "run", "SOLVER.MAX_ITER", str(STEPS), *opts)
    cfg.freeze()
    setup(cfg, argparse.Namespace(eval_only=False, config_file="", verbose=verbose))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()


@pytest.mark.parametrize("verbose", [False, True])
def test_a_training_is_short_on_the_terminal_and_whole_in_its_log(tmp_path, capsys, verbose):
    train(tmp_path, verbose)
    shown, log = capsys.readouterr().out, (tmp_path / "run" / "log.txt").read_text()
    before = shown.split(f"step 1/{STEPS}")[0].splitlines()
    assert "eta" in shown.split(f"step 1/{STEPS}")[1].splitlines()[0]
    for text in ("Environment:", "Running with the config", "BASE_LR", "copypaste", "Start inference"):
        assert text in log
        assert (text in shown) == verbose
    assert f"step {STEPS}/{STEPS} 100%" in shown and "Results, bbox: AP" in shown
    assert "\x1b" not in log
    assert verbose or len(before) <= 12, before


def test_a_second_run_in_one_process_has_its_own_terminal(tmp_path, capsys):
    train(tmp_path / "a", verbose=True)
    capsys.readouterr()
    train(tmp_path / "b", verbose=False)
    assert "Environment:" not in capsys.readouterr().out


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(run_log.logger, "info", lambda text, *values: lines.append(text % values))
    return lines


class Run:
    """Of a trainer what `ShowProgress` looks at."""

    def __init__(self, start: int, end: int):
        self.iter, self.start_iter, self.max_iter = start, start, end


def test_lines_come_at_once_and_then_the_rarer_the_longer_a_run_takes(monkeypatch, said):
    now, durations = [0.0], 2.0
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now[0])
    hook = run_log.ShowProgress()
    hook.trainer = Run(100, 18100)  # resumed; ten hours
    with EventStorage(100) as storage:
        hook.before_train()
        for number in range(100, 18100):
            hook.trainer.iter = number
            hook.before_step()
            now[0] += durations
            storage.put_scalar("total_loss", 1.5)
            hook.after_step()
    assert said[0] == "step 101/18100 0%, 2 s/step, eta 9:59:58, loss 1.5"
    assert said[-1].startswith("step 18100/18100 100%, 2 s/step, eta 0:00:00")
    assert 200 < len(said) < 400
    assert int(said[1].split("/")[0].split()[1]) - 101 <= 5  # in the first ten seconds


def test_results_are_told_in_a_line_a_task_without_what_is_not_known(said):
    run_log.log_results({"anomaly": {"image_auroc": 0.91234, "aupro": float("nan"), "note": "few"}})
    run_log.log_results({"set a": {"bbox": {"AP": 12.0}}, "set b": {"bbox": {"AP": 13.0}}})
    assert said == [
        "Results, anomaly: image_auroc 0.9123",
        "Results on set a:", "Results, bbox: AP 12",
        "Results on set b:", "Results, bbox: AP 13",
    ]  # fmt: skip
