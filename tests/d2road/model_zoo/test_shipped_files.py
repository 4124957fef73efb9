"""Shipped files are found by name from any folder, and are what was shipped."""

import pytest
import torch
from detectron2.utils.file_io import PathManager

from d2road import model_zoo
from d2road.checkpoint import load_weights_file
from d2road.config import make_cfg
from d2road.engine import Predictor
from d2road.model_zoo import catalogue, shipped_files
from d2road.utils.errors import CheckpointError

ADDRESS = "zoo:diffusion_det_toy"
OLD = ["models/diffusion_det_toy.pth", "d2road://diffusion_det_toy.pth"]  # of version 0.1


def test_every_file_of_the_folder_is_listed_and_intact():
    files = {path.name for pattern in ("*.safetensors", "*.json", "*.pth") for path in catalogue.FOLDER.glob(pattern)}
    assert files == {entry.file for entry in model_zoo.shipped_entries().values()} | {"catalogue.json"}
    for name in model_zoo.shipped_entries():
        assert model_zoo.shipped_file(name).is_file()


def test_an_address_works_from_any_folder_and_for_detectron2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = load_weights_file(ADDRESS)
    assert all(torch.isfinite(value.float()).all() for value in weights.values())
    assert PathManager.isfile(ADDRESS) and not PathManager.exists("zoo:other")
    with PathManager.open(ADDRESS, "rb") as file:
        assert file.read(9)[8:] == b"{"  # the header of safetensors
    with pytest.raises(ValueError, match="reading alone"):
        PathManager.open(ADDRESS, "wb")


@pytest.mark.parametrize("old", OLD)
def test_names_of_version_0_1_are_the_address(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(load_weights_file(old)) == set(load_weights_file(ADDRESS))
    assert make_cfg("", ["MODEL.WEIGHTS", old]).MODEL.WEIGHTS == ADDRESS


def test_a_file_at_the_old_path_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    torch.save({"model": {"own": torch.ones(2)}}, tmp_path / OLD[0])
    assert set(load_weights_file(OLD[0])["model"]) == {"own"}
    assert OLD[0] == make_cfg("", ["MODEL.WEIGHTS", OLD[0]]).MODEL.WEIGHTS


def test_an_unknown_name_names_the_nearest_before_a_model_is_built():
    with pytest.raises(CheckpointError, match=r"did you mean 'diffusion_det_toy'"):
        load_weights_file("zoo:difusion_det_toy")
    with pytest.raises(CheckpointError, match=r"did you mean 'diffusion_det_toy'"):
        Predictor("diffusion_det/coco/resnet50.yaml", "zoo:difusion_det_toy")


def test_weights_of_others_are_not_fetched_but_named_and_read_where_they_were_put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"not shipped: fetch teacher_small\.pth of .*put it at models/teacher_sm"
    ):
        load_weights_file("zoo:efficientad_teacher_small")
    (tmp_path / "models").mkdir()
    torch.save({"0.weight": torch.ones(2)}, tmp_path / "models" / "teacher_small.pth")
    assert set(load_weights_file("zoo:efficientad_teacher_small")) == {"0.weight"}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [(b"cut off", CheckpointError, "has SHA-256 .*, expected "), (None, FileNotFoundError, "is missing")],
)
def test_a_file_that_is_not_the_shipped_one_is_refused(content, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "diffusion_det_toy.safetensors").write_bytes(content)
    shipped_files._packaged_file.cache_clear()
    with pytest.raises(error, match=words):
        load_weights_file(ADDRESS)
    shipped_files._packaged_file.cache_clear()
