"""Predictions on files that are stopped and resumed, in batches and in several processes: what one run would find."""

import io
import json
import os
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Boxes, Instances

from d2road.cli.predict import main
from d2road.engine import annotators
from d2road.engine.file_prediction import FileOptions, predict_files
from d2road.engine.prediction_journal import Journal
from d2road.utils.errors import ConfigError


class Mean:
    """A predictor that finds a box of the image's size and mean, and keeps what it was asked; it stops where told."""

    asked: list[list[int]]
    stop_at = breaks_at = -1

    def __init__(self, cfg, batch_size=1):
        pass

    def __call__(self, images_bgr):
        values = [int(image.mean()) for image in images_bgr]
        Mean.asked.append(values)
        if Mean.stop_at in values:
            raise KeyboardInterrupt
        if Mean.breaks_at in values:
            raise MemoryError("no memory")
        return [{"instances": self.find(image)} for image in images_bgr]

    def find(self, image):
        height, width = image.shape[:2]
        found = Instances((height, width))
        found.pred_boxes = Boxes(torch.tensor([[0.0, 0, width, height]]))
        found.scores, found.pred_classes = torch.tensor([int(image.mean()) / 255]), torch.tensor([0])
        return found


@pytest.fixture
def cfg(monkeypatch):
    monkeypatch.setattr(annotators, "Predictor", Mean)
    monkeypatch.setattr(Mean, "asked", [], raising=False)
    for name in ("stop_at", "breaks_at"):
        monkeypatch.setattr(Mean, name, -1)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    return cfg


def png(value, size=(8, 12)):
    return cv2.imencode(".png", np.full((*size, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def inputs(tmp_path):
    """Images of values 100, ..., 106 in a folder, two more in an archive, a video of three frames of about 128."""
    folder = tmp_path / "in"
    folder.mkdir()
    for value in range(100, 107):
        (folder / f"{value}.png").write_bytes(png(value, (8, 12 + value % 2)))
    with tarfile.open(tmp_path / "more.tar", "w") as archive:
        for value in (107, 108):
            entry = tarfile.TarInfo(f"sub/{value}.png")
            entry.size = len(png(value))
            archive.addfile(entry, io.BytesIO(png(value)))
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (32, 32))
    for _ in range(3):
        writer.write(np.full((32, 32, 3), 128, np.uint8))
    writer.release()
    return [str(tmp_path / name) for name in ("in", "clip.avi", "more.tar")]


def without_video(value):
    """The value of an image, "v" of a frame of the video, whose codec loses some."""
    return "v" if abs(value - 128) < 10 else value


def run(cfg, inputs, out, **options):
    return predict_files(cfg, inputs, out, confidence=0.1, options=FileOptions(**options))


def table(out):
    return json.loads((out / "predictions.json").read_text())


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_batches_change_nothing_that_is_found(cfg, inputs, tmp_path, batch_size):
    assert run(cfg, inputs, tmp_path / "out", batch_size=batch_size) == 0
    rows = table(tmp_path / "out")
    assert [without_video(round(row["score"] * 255)) for row in rows] == [*range(100, 107), "v", "v", "v", 107, 108]
    assert [row["image_id"] for row in rows] == list(range(12))
    assert rows[-1]["file_name"] == f"{inputs[2]}/sub/108.png" and "frame" not in rows[-1]
    assert max(map(len, Mean.asked)) == min(batch_size, 9)
    for name in ("100.png", "108.png", "clip.mp4"):
        assert (tmp_path / "out" / name).is_file()


def test_an_image_that_fails_costs_the_others_of_its_batch_nothing(cfg, inputs, tmp_path):
    Mean.breaks_at = 103
    assert run(cfg, inputs[:1], tmp_path / "out", batch_size=4, table="jsonl") == 1
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert [round(json.loads(line)["score"] * 255) for line in lines] == [100, 101, 102, 104, 105, 106]
    inputs_table = pd.read_csv(tmp_path / "out" / "inputs.csv", keep_default_na=False)
    assert list(inputs_table["error"]) == ["", "", "", "no memory", "", "", ""]
    assert list(inputs_table["rows"]) == [1, 1, 1, 0, 1, 1, 1]
    copies = [tmp_path / "out" / name for name in inputs_table["copy"] if name]
    assert len(copies) == 6 and all(path.is_file() for path in copies) and inputs_table["copy"][3] == ""
    Mean.breaks_at, Mean.asked[:] = -1, []
    assert run(cfg, inputs[:1], tmp_path / "out", table="jsonl", resume=True) == 0
    assert Mean.asked == [[103]], "what failed is tried again, and nothing else"
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 7


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stopped_prediction_goes_on_where_it_was_and_ends_as_one_that_was_not(cfg, inputs, tmp_path, batch_size):
    run(cfg, inputs, tmp_path / "whole")
    Mean.stop_at, Mean.asked[:] = 105, []
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(cfg, inputs, out, batch_size=batch_size)
    assert not (out / "predictions.json").exists()
    Mean.stop_at, Mean.asked[:] = -1, []
    assert run(cfg, inputs, out, batch_size=batch_size, resume=True) == 0
    asked = [value for batch in Mean.asked for value in batch]
    assert sum(value > 115 for value in asked) == 3, "frames of the video"
    assert sorted(asked)[:-3] == [*([104] if batch_size == 2 else []), *range(105, 109)]
    assert (out / "predictions.json").read_bytes() == (tmp_path / "whole" / "predictions.json").read_bytes()
    Mean.asked[:] = []
    assert run(cfg, inputs, out, resume=True) == 0 and not Mean.asked, "nothing is left"


def test_resuming_works_off_what_is_new_has_changed_or_lost_its_copy(cfg, inputs, tmp_path):
    out, folder = tmp_path / "out", tmp_path / "in"
    run(cfg, inputs[:1], out)
    (folder / "099.png").write_bytes(png(99))
    (folder / "101.png").write_bytes(png(201))
    (out / "103.png").unlink()
    Mean.asked[:] = []
    assert run(cfg, inputs[:1], out, resume=True) == 0
    assert Mean.asked == [[99], [201], [103]]
    assert [round(row["score"] * 255) for row in table(out)] == [99, 100, 201, 102, 103, 104, 105, 106]
    assert [row["image_id"] for row in table(out)] == list(range(8))


def test_a_line_that_a_killed_process_left_unfinished_is_done_anew(cfg, inputs, tmp_path):
    out = tmp_path / "out"
    run(cfg, inputs[:1], out)
    (journal,) = (out / ".journal").glob("*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    Mean.asked[:] = []
    assert run(cfg, inputs[:1], out, resume=True) == 0 and Mean.asked == [[106]]
    assert len(table(out)) == 7


def test_results_of_another_model_or_of_other_options_are_never_mixed(cfg, inputs, tmp_path, caplog):
    weights = tmp_path / "w.pth"
    torch.save({"model": {"a": torch.ones(1)}}, weights)
    cfg.MODEL.WEIGHTS = str(weights)
    out = tmp_path / "out"
    with caplog.at_level("INFO"):
        run(cfg, inputs[:1], out, resume=True)
    assert "holds no prediction that was begun: it begins now" in caplog.text
    before = (out / "predictions.json").read_bytes()
    torch.save({"model": {"a": torch.zeros(1)}}, weights)
    with pytest.raises(ConfigError, match=r"another prediction: weights \(SHA-256\) was '.*' and is '"):
        run(cfg, inputs[:1], out, resume=True)
    torch.save({"model": {"a": torch.ones(1)}}, weights)
    cfg.TEST.DETECTIONS_PER_IMAGE = 7
    with pytest.raises(ConfigError, match=r"another prediction: TEST\.DETECTIONS_PER_IMAGE was 100 and is 7\. Give"):
        run(cfg, inputs[:1], out, resume=True)
    cfg.TEST.DETECTIONS_PER_IMAGE = 100
    cfg.MODEL.DEVICE, cfg.OUTPUT_DIR = "cuda", "elsewhere"  # nothing that is found depends on them
    with pytest.raises(ConfigError, match=r"--confidence was 0\.1 and is 0\.2"):
        predict_files(cfg, inputs[:1], out, confidence=0.2, options=FileOptions(resume=True))
    assert (out / "predictions.json").read_bytes() == before
    assert run(cfg, inputs[:1], out, resume=True) == 0


def test_an_interrupted_prediction_is_not_overwritten_by_accident(cfg, inputs, tmp_path):
    Mean.stop_at = 103
    with pytest.raises(KeyboardInterrupt):
        run(cfg, inputs[:1], tmp_path / "out")
    Mean.stop_at = -1
    with pytest.raises(ConfigError, match=r"holds 3 results of a prediction that was interrupted: --resume goes on"):
        run(cfg, inputs[:1], tmp_path / "out")
    assert run(cfg, inputs[:1], tmp_path / "out", resume=True) == 0
    assert run(cfg, inputs[:1], tmp_path / "out") == 0, "a finished one is replaced, as ever"
    assert Journal(tmp_path / "out").failed == 0


def test_without_drawings_the_table_alone_is_written(cfg, inputs, tmp_path):
    assert run(cfg, inputs, tmp_path / "out", draws=False, table="parquet", batch_size=2) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".journal", "predictions.parquet", "inputs.csv"}
    found = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert len(found) == 12 and list(found["frame"].dropna()) == [0, 1, 2]
    assert list(pd.read_csv(tmp_path / "out" / "inputs.csv")["images"]) == [1] * 7 + [3, 1, 1]


def test_several_processes_take_up_what_one_has_left_and_end_as_it_did(repo_dir, tmp_path, inputs, monkeypatch):
    # It would take this package's log from other tests.
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    out = tmp_path / "out"
    line = ["--config-file", str(repo_dir / "configs/diffusion_det/toy_roadside/demo.yaml"), "--confidence", "0"]
    line += ["--weights", "zoo:diffusion_det_toy", "--no-drawings", "--output", str(out), "--input", *inputs]
    line += ["INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu", "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "10"]
    assert main([*line, "--batch-size", "2"]) == 0
    alone = table(out)
    (journal,) = (out / ".journal").glob("*.jsonl")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:4]))
    (out / "predictions.json").unlink()
    program = "import sys, d2road.cli.predict as p; sys.exit(p.main(sys.argv[1:]))"
    several = [sys.executable, "-W", "ignore", "-c", program, *line, "--num-processes", "2", "--resume"]
    environment = {**os.environ, "PYTHONPATH": str(repo_dir), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(several, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "files 10/10 100%" in done.stdout, done.stdout + done.stderr
    assert {path.stem for path in (out / ".journal").glob("*.jsonl")} == {"0001_000", "0002_000", "0002_001"}
    assert [row["image_id"] for row in table(out)] == [row["image_id"] for row in alone]
    for mine, other in zip(table(out), alone):
        assert mine["bbox"] == pytest.approx(other["bbox"], abs=1e-2)
        assert mine["score"] == pytest.approx(other["score"], abs=1e-4)
