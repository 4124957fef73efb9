"""The catalogue, the shipped files, the records and MODEL_ZOO.md agree."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open

from benchmarks.zoo import pack, page
from d2road.checkpoint import load_weights_file
from d2road.config import make_cfg
from d2road.model_zoo import catalogue, read_catalogue, shipped_entries
from d2road.model_zoo.catalogue import CATALOGUE
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import read_json


def test_sizes_checksums_and_forms_are_those_of_the_files():
    entries = shipped_entries().values()
    for entry in entries:
        content = entry.path.read_bytes()
        assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest()), entry.name
        assert entry.size <= pack.LARGEST
        if entry.storage == "json":
            json.loads(content)
            continue
        with safe_open(entry.path, "pt") as file:
            kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  it is no mapping
        assert (torch.int8 in kinds) if entry.storage == "int8" else (torch.float16 in kinds), entry.name
    assert sum(entry.size for entry in entries) <= pack.LARGEST_ALL


def test_metrics_are_those_of_the_records(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    for entry in shipped_entries().values():
        assert entry.metrics, entry.name
        for metric in entry.metrics:
            assert metric.value == page.rounded(metric.record), f"{entry.name}: {metric.what}"


def test_what_a_record_measured_is_the_shipped_file(repo_dir):
    for name, entry in shipped_entries().items():
        path = repo_dir / "benchmarks/results/zoo" / f"{name}.json"
        if path.is_file():
            assert read_json(path)["sha256"][entry.storage] == entry.sha256, name


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("diffusion_det_toy", "diffusion_toy/seed1"),
        ("diffusion_det_toy3d", "diffusion_toy3d/shipped_seed1"),
        ("mono3dvg_toy", "mono3dvg_toy/more_views_seed1"),
    ],
)
def test_machines_are_those_of_the_trainings(repo_dir, name, training):
    machine = read_json(repo_dir / "benchmarks/results" / training / "train.json")[
        "machine"
    ]  # and its version of torch
    assert machine.startswith(shipped_entries()[name].machine.partition(",")[0])
    assert all(entry.machine for entry in shipped_entries().values())


def test_the_page_is_made_of_the_catalogue(repo_dir):
    assert (repo_dir / page.PAGE).read_text() == page.render_page(list(read_catalogue().values()))


@pytest.mark.parametrize("name", [name for name, entry in read_catalogue().items() if entry.config])
def test_configs_of_entries_are_there_and_read(repo_dir, name):
    entry = read_catalogue()[name]
    assert make_cfg(str(repo_dir / "configs" / entry.config), ["MODEL.WEIGHTS", f"zoo:{name}"]).MODEL.WEIGHTS
    assert entry.licence and entry.data


def test_packing_writes_the_file_and_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "FOLDER", tmp_path)
    monkeypatch.setattr(pack, "CATALOGUE", tmp_path / "catalogue.json")
    row = next(row for row in read_json(CATALOGUE) if row["name"] == "efficientad_teacher_narrow_own")
    (tmp_path / "catalogue.json").write_text(json.dumps([{**row, "size": 0, "sha256": ""}]))
    state = {"a.weight": torch.randn(4, 40), "state.threshold": torch.tensor(0.1)}
    torch.save({"model": state, "ema": {"weights": {"a.weight": torch.ones(4, 40)}}}, tmp_path / "trained.pth")
    pack.main([row["name"], "--source", str(tmp_path / "trained.pth")])
    (packed,) = catalogue.read_catalogue(tmp_path / "catalogue.json").values()
    written = load_weights_file(tmp_path / packed.file)
    assert torch.equal(written["a.weight"], torch.ones(4, 40).half())  # averages are what is shipped
    assert written["state.threshold"] == state["state.threshold"]
    content = (tmp_path / packed.file).read_bytes()
    assert (packed.size, packed.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with pytest.raises(ConfigError, match="did you mean 'efficientad_teacher_narrow_own'"):
        pack.main(["efficientad_teacher_narow_own"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.update(fetch={}), "either a file or fetch"),
        (lambda row: row.pop("licence"), "lacks 'licence'"),
        (lambda row: row["metrics"][0].update(source="a paper"), "either a record or"),
        (lambda row: row.update(size="large"), "'size' is the text"),
    ],
)
def test_a_catalogue_that_says_too_little_is_refused(change, words, tmp_path):
    row = read_json(CATALOGUE)[0]
    change(row)
    (tmp_path / "catalogue.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match=words):
        catalogue.read_catalogue(tmp_path / "catalogue.json")
