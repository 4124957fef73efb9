"""The demo with a model of anomalies: heat maps and a line of scores for each image, of every kind of image."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from d2road.checkpoint import Checkpointer
from d2road.cli import predict as demo
from d2road.data import build_mapper
from efficientad.calibration import measure_maps, measure_teacher
from tests.factories.anomaly_models import SIDE, build, image_of, narrow_networks, small_cfg

TILES = (
    *("MODEL.EFFICIENT_AD.TILING.ENABLED", True, "MODEL.EFFICIENT_AD.TILING.TILE", f"({SIDE}, {SIDE})"),
    *("INPUT.IMAGE_SIZE", "(0, 0)"),
)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def saved(folder: Path, *pairs, calibrate: bool = True) -> list[str]:
    """A model on disk; the options that name it."""
    folder.mkdir()
    cfg = small_cfg(*pairs)
    model, rng = build(*pairs), np.random.default_rng(1)
    files = [str(folder / f"good{number}.png") for number in range(4)]
    for file in files:
        cv2.imwrite(file, image_of(rng))
    good = [[build_mapper(cfg, False)({"file_name": file})] for file in files]
    if calibrate:
        measure_teacher(model, good, "teacher of the test")
        measure_maps(model, good, training=good)
    Checkpointer(model, str(folder)).save("model_final")
    (folder / "config.yaml").write_text(cfg.dump())
    return ["--config-file", str(folder / "config.yaml"), "MODEL.WEIGHTS", str(folder / "model_final.pth")]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "run")


def run(options: list[str], output: Path, *inputs: Path | str) -> list[dict]:
    assert demo.main(["--output", str(output), "--input", *map(str, inputs), *options]) == 0
    return table(output)


def table(output: Path) -> list[dict]:
    with open(output / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_gets_a_heat_map_and_a_line(options, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    good = image_of(rng)
    blot = good.copy()
    blot[40:90, 50:100] = (0, 0, 255)
    cv2.imwrite(str(tmp_path / "in" / "a.png"), good)
    cv2.imwrite(str(tmp_path / "in" / "b.jpg"), blot)
    cv2.imwrite(str(tmp_path / "c.bmp"), cv2.resize(good, (300, 200)))
    rows = run(options, tmp_path / "out", tmp_path / "in", tmp_path / "*.bmp")
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b.jpg", "c.bmp"]
    assert list(rows[0]) == ["file", "score", "threshold", "verdict", "teacher"]
    assert {row["teacher"] for row in rows} == {"teacher of the test"}
    assert len({row["threshold"] for row in rows}) == 1
    for row in rows:
        assert row["verdict"] == ("anomalous" if float(row["score"]) > float(row["threshold"]) else "good")
    assert rows[1]["verdict"] == "anomalous" and float(rows[1]["score"]) > 2 * float(rows[0]["score"])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", "b.jpg", "c.png", "scores.csv", ".journal"}
    assert cv2.imread(str(tmp_path / "out" / "c.png"))[-512:, :768].shape == (512, 768, 3)
    drawn = cv2.imread(str(tmp_path / "out" / "b.jpg"))[-512:, :512]
    drawn = cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int)
    colour = np.abs(drawn - drawn.mean(-1, keepdims=True)).max(-1)
    assert colour[50:80, 60:90].mean() > colour[100:, :30].mean() + 20, "colours where the blot is"


def test_grey_and_sixteen_bit_images_score_as_their_eight_bit_colour(options, tmp_path):
    grey = image_of(np.random.default_rng(0))[:, :, 1]
    cv2.imwrite(str(tmp_path / "colour.png"), np.repeat(grey[:, :, None], 3, axis=2))
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    rows = run(options, tmp_path / "out", tmp_path)
    assert len(rows) == 3 and len({row["score"] for row in rows}) == 1
    assert not np.array_equal(cv2.imread(str(tmp_path / "out" / "deep.png")), np.zeros((SIDE, SIDE, 3)))


def test_bad_images_are_told_and_the_others_go_on(options, tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "nan.tiff"), np.full((SIDE, SIDE), np.nan, np.float32))
    (tmp_path / "text.png").write_text("hello")
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((SIDE, SIDE), np.uint8))
    assert demo.main(["--output", str(tmp_path / "out"), "--input", str(tmp_path), *options]) == 1
    (row,) = table(tmp_path / "out")
    assert Path(row["file"]).name == "black.png" and np.isfinite(float(row["score"]))
    assert re.search(r"nan\.tiff: has \d+ pixel\(s\) that are NaN or infinite", caplog.text)


def test_large_images_in_tiles_and_frames_of_videos(tmp_path):
    options = saved(tmp_path / "run", *TILES)
    image = image_of(np.random.default_rng(0), 300)[:200]
    cv2.imwrite(str(tmp_path / "large.png"), image)
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 12, (300, 200))
    for _ in range(2):
        writer.write(image)
    writer.release()
    rows = run(options, tmp_path / "out", tmp_path / "large.png", tmp_path / "clip.mp4")
    assert [row["frame"] for row in rows] == ["", "0", "1"]
    large, clip = (tmp_path / "out" / name for name in ("large.png", "clip.mp4"))
    frame = cv2.VideoCapture(str(clip)).read()[1]
    assert 0 <= frame.shape[0] - cv2.imread(str(large)).shape[0] <= 1, "even sizes"


def test_with_puad_the_score_is_judged_and_not_the_pixels(tmp_path):
    options = saved(tmp_path / "run", "MODEL.EFFICIENT_AD.PUAD.ENABLED", True)
    cv2.imwrite(str(tmp_path / "red.png"), np.full((SIDE, SIDE, 3), (0, 0, 255), np.uint8))
    (row,) = run(options, tmp_path / "out", tmp_path / "red.png")
    assert row["verdict"] == "anomalous"
    drawn = cv2.imread(str(tmp_path / "out" / "red.png"))
    assert (drawn[:20, :60].reshape(-1, 3) == (40, 39, 214)).all(1).any(), "the score on red"


def test_an_uncalibrated_model_is_refused_with_the_cure(tmp_path, capsys):
    options = saved(tmp_path / "run", calibrate=False)
    cv2.imwrite(str(tmp_path / "a.png"), image_of(np.random.default_rng(0)))
    line = ["--output", str(tmp_path / "out"), "--input", str(tmp_path / "a.png"), *options]
    assert demo.main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: this model is not calibrated") and "--calibrate-on" in said
    assert not list((tmp_path / "out").iterdir())
    options = saved(tmp_path / "other")
    line = ["--output", str(tmp_path / "out"), "--input", str(tmp_path / "a.png"), *options]
    assert demo.main([*line, "MODEL.EFFICIENT_AD.COMPAT", "paper"]) == 2
    assert "calibrated for COMPAT nelson1425" in capsys.readouterr().err


def test_without_a_threshold_nothing_is_judged(tmp_path):
    folder = tmp_path / "run"
    options = saved(folder)
    content = torch.load(folder / "model_final.pth", weights_only=True)
    content["model"]["state.threshold"].fill_(float("inf"))
    torch.save(content, folder / "model_final.pth")
    cv2.imwrite(str(tmp_path / "a.png"), image_of(np.random.default_rng(0)))
    (row,) = run(options, tmp_path / "out", tmp_path / "a.png")
    assert row["threshold"] == row["verdict"] == "" and float(row["score"]) >= 0
