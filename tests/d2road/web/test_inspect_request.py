"""The tab Inspect: scores and verdicts of `d2road predict`, beside those of good images."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from d2road.cli.predict import main as predict_main
from d2road.engine.meta_arch import SamplingSetting
from d2road.utils.errors import ConfigError, DataError
from d2road.web.inspect_request import images_of_folder, inspect, read_good_scores
from d2road.web.result_files import ResultFolders
from d2road.web.score_histogram import draw_histogram, draw_roc
from d2road.web.served_model import INSPECT, Request, ServedModel
from d2road.web.uploads import UploadLimits
from tests.factories.verb_files import bank_model_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    bank_model_files(folder)
    return folder


@pytest.fixture(scope="module")
def model(files):
    return ServedModel(str(files / "config.yaml"), str(files / "weights.pth"))


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_scores_and_verdicts_are_those_of_the_command(model, files, tmp_path, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    images = [files / "image.png", files / "unseen" / "000.png", files / "tiles" / "test" / "blot" / "000.png"]
    line = ["--config-file", str(files / "config.yaml"), "--weights", str(files / "weights.pth")]
    assert predict_main([*line, "--input", *map(str, images), "--output", str(tmp_path / "out")]) == 0
    expected = rows_of(tmp_path / "out" / "scores.csv")
    result = inspect(model, images, UploadLimits(), ResultFolders(tmp_path), tmp_path / "out" / "scores.csv")
    assert model.task == INSPECT
    assert [(row["score"], row["threshold"], row["verdict"]) for row in expected] == [
        (row["score"], row["threshold"], row["verdict"]) for row in rows_of(result.files[-2])
    ]
    verdicts = [row[3] for row in result.rows]
    assert result.text.startswith(f"{verdicts.count('anomalous')} of 3 images are anomalous")
    assert "Threshold: " in result.text and result.histogram in result.files
    drawn = cv2.imread(str(tmp_path / "out" / "image.png"))
    assert np.array_equal(drawn, cv2.imread(str(result.images[0][0])))
    assert result.images[0][1].startswith(f"image.png: {verdicts[0]}")


def test_without_a_file_the_histogram_has_the_scores_that_the_threshold_is_of(model, files, tmp_path):
    known = model.good_scores()
    assert known == sorted(known) and known[-1] <= model.predict.model.anomaly_threshold()
    result = inspect(model, [files / "image.png"], UploadLimits(), ResultFolders(tmp_path))
    expected = draw_histogram(known, [result.rows[0][1]], result.rows[0][2])
    assert np.array_equal(cv2.imread(str(result.histogram))[:, :, ::-1], expected) and result.roc is None
    both = [files / "image.png", files / "tiles" / "test" / "blot" / "000.png"]
    drawn = inspect(model, both, UploadLimits(), ResultFolders(tmp_path), all_anomalous=True)
    expected = draw_roc(known, [row[1] for row in drawn.rows], drawn.rows[0][2])
    assert np.array_equal(cv2.imread(str(drawn.roc))[:, :, ::-1], expected) and drawn.roc in drawn.files


def test_a_folder_gives_its_images_in_natural_order_and_others_are_counted():
    names = ["kits/10.png", "kits/2.JPG", "kits/.DS_Store", "kits/notes.txt"]
    images, said = images_of_folder([Path(name) for name in names])
    assert [path.name for path in images] == ["2.JPG", "10.png"] and said.startswith("2 other file(s)")
    assert images_of_folder([]) == ([], "") and images_of_folder([Path("a.png")])[1] == ""
    with pytest.raises(DataError, match=r"no images in this folder of 1 file\(s\); they end with \.bmp"):
        images_of_folder([Path("a.csv")])


def test_a_model_of_anomalies_has_no_steps(model):
    with pytest.raises(ConfigError, match="denoises no boxes"):
        model.ask(Request(np.zeros((60, 80, 3), np.uint8), sampling=SamplingSetting("ddim", 1, 1, 0)))


def test_scores_of_good_images_are_numbers(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("file,score\na,0.5\nb,1.5\n")
    assert read_good_scores(path) == [0.5, 1.5]
    for text, words in (("file\na\n", "score is None"), ("score\nx\n", "score is 'x'"), ("score\nnan\n", "line 2")):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"^scores\.csv, line 2: .*{words.split()[-1]}"):
            read_good_scores(path)
    path.write_text("file,score\n")
    with pytest.raises(DataError, match="holds no score"):
        read_good_scores(path)


def test_the_histogram_marks_scores_by_their_verdict():
    def colours(scores, threshold):
        image = draw_histogram([0.1, 0.2, 0.25, 0.3], scores, threshold).astype(int)
        red = (image[..., 0] > 150) & (image[..., 1] < 80)  # tab:red
        blue = (image[..., 2] > 150) & (image[..., 0] < 80)  # tab:blue
        return red.sum() > 50, blue.sum() > 50

    assert colours([0.9], 0.5) == (True, False)
    assert colours([0.3], 0.5) == (False, True)
    assert colours([0.9, 0.3], 0.5) == (True, True)
    assert colours([0.9], None) == (False, True)
