"""Small parts around a run: ports, threads, the JSON-lines log."""

import argparse
import json
import socket

import torch

from d2road.engine import distributed, setup
from d2road.engine.hooks import plain_numbers, trim_metrics
from d2road.engine.launch import _is_free
from tests.factories.tiny_system import make_data, tiny_cfg


def test_a_port_in_use_is_noticed():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert not _is_free(url)
    assert _is_free(url) and _is_free("auto") and _is_free("file:///tmp/x")


def test_several_processes_evaluate_with_the_threads_of_one(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(distributed, "_threads_alone", None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        with distributed.threads_of_one_process():
            assert torch.get_num_threads() == before
        distributed.share_cores(2, threads_alone=6)
        assert torch.get_num_threads() == 3
        with distributed.threads_of_one_process():
            assert torch.get_num_threads() == 6
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")  # the user's choice stays
        distributed.share_cores(3, threads_alone=6)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_resumed_log_has_no_double_and_no_half_lines(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": i, "loss": 1.0}) for i in (19, 39, 59)]
    path.write_text("\n".join(lines) + '\n{"iteration": 79, "lo')
    trim_metrics(path, 40)
    assert path.read_text() == "\n".join(lines[:2]) + "\n"
    trim_metrics(tmp_path / "none.json", 40)
    assert not (tmp_path / "none.json").exists()


def test_results_become_plain():
    given = {"bbox": {"AP": torch.tensor(1.5).numpy()[()], "n": 3, "note": "few images"}}
    assert plain_numbers(given) == {"bbox": {"AP": 1.5, "n": 3.0, "note": "few images"}}
    assert type(plain_numbers(given)["bbox"]["AP"]) is float


def test_an_evaluation_leaves_the_config_of_the_training(tmp_path):
    """A checkpoint is read with its config.yaml, so an evaluation with other keys keeps its own beside it."""
    cfg, out = tiny_cfg(make_data(tmp_path / "data"), tmp_path / "run"), tmp_path / "run"
    setup(cfg, argparse.Namespace(eval_only=True, config_file=""))
    assert (out / "config.yaml").is_file() and not (out / "config_eval.yaml").exists()  # there was none
    setup(cfg, argparse.Namespace(eval_only=False, config_file=""))
    trained = (out / "config.yaml").read_text()
    cfg.TEST.DETECTIONS_PER_IMAGE = 7
    setup(cfg, argparse.Namespace(eval_only=True, config_file=""))
    assert (out / "config.yaml").read_text() == trained and "PER_IMAGE: 7" not in trained
    assert "DETECTIONS_PER_IMAGE: 7" in (out / "config_eval.yaml").read_text()
