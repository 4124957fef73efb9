"""Shipped weights are found by name from any folder, and are what was shipped."""

import pytest
import torch
from detectron2.utils.file_io import PathManager

from d2road import model_zoo
from d2road.checkpoint import load_weights_file
from d2road.config import make_cfg
from d2road.model_zoo import shipped_weights
from d2road.utils.errors import CheckpointError

ADDRESS = "d2road://diffusion_det_toy.pth"
OLD_PATH = "models/diffusion_det_toy.pth"  # of version 0.1


def test_every_file_of_the_folder_is_listed_and_intact():
    files = {path.name for path in shipped_weights.FOLDER.glob("*.pth")}
    assert files == set(model_zoo.SHIPPED)
    for name in files:
        assert model_zoo.shipped_file(name).is_file()


def test_an_address_works_from_any_folder_and_for_detectron2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = load_weights_file(ADDRESS)["model"]
    assert all(torch.isfinite(value.float()).all() for value in weights.values())
    assert PathManager.isfile(ADDRESS) and not PathManager.exists("d2road://other.pth")
    with PathManager.open(ADDRESS, "rb") as file:
        assert file.read(2) == b"PK"  # a zip file, as torch.save writes
    with pytest.raises(ValueError, match="reading alone"):
        PathManager.open(ADDRESS, "wb")


def test_the_path_of_version_0_1_is_the_address_unless_a_file_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(load_weights_file(OLD_PATH)["model"]) == set(load_weights_file(ADDRESS)["model"])
    assert make_cfg("", ["MODEL.WEIGHTS", OLD_PATH]).MODEL.WEIGHTS == ADDRESS
    (tmp_path / "models").mkdir()
    torch.save({"model": {"own": torch.ones(2)}}, tmp_path / OLD_PATH)
    assert set(load_weights_file(OLD_PATH)["model"]) == {"own"}
    assert make_cfg("", ["MODEL.WEIGHTS", OLD_PATH]).MODEL.WEIGHTS == OLD_PATH


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(CheckpointError, match=r"did you mean 'diffusion_det_toy\.pth'"):
        load_weights_file("d2road://difusion_det_toy.pth")


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [(b"cut off", CheckpointError, "has SHA-256 .*, expected 987bc824"), (None, FileNotFoundError, "is missing")],
)
def test_a_file_that_is_not_the_shipped_one_is_refused(content, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped_weights, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "diffusion_det_toy.pth").write_bytes(content)
    shipped_weights.shipped_file.cache_clear()
    with pytest.raises(error, match=words):
        load_weights_file(ADDRESS)
