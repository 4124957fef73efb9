"""Weights that build on an entry of the model zoo: what the file holds, what comes back, what is refused."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.zoo import pack
from d2road import model_zoo
from d2road.checkpoint import load_weights_file
from d2road.checkpoint.base_weights import BASE, BASE_SHA256, base_metadata, differing_weights
from d2road.cli.__main__ import main
from d2road.engine.defaults import require_weights
from d2road.model_zoo import catalogue, shipped_files
from d2road.utils.errors import CheckpointError, DataError

NAME = "efficientad_teacher_narrow_own"  # the smallest entry


@pytest.fixture
def base() -> dict[str, torch.Tensor]:
    return load_weights_file(f"zoo:{NAME}")


@pytest.fixture
def zoo(tmp_path, monkeypatch, base):
    """A model zoo of two entries, the second of which builds on the first."""
    shipped = next(row for row in json.loads(catalogue.CATALOGUE.read_text()) if row["name"] == NAME)
    source = tmp_path / "trained.pth"
    first = next(iter(base))
    changed = base[first].float() + 1
    torch.save({"model": {**base, first: changed, "new.weight": torch.randn(40, 64)}}, source)
    own = {**shipped, "name": "own", "file": "own.safetensors", "storage": "int8", "base": NAME, "former": []}
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([shipped, {**own, "source": str(source), "size": 0, "sha256": ""}]))
    (tmp_path / shipped["file"]).write_bytes((catalogue.FOLDER / shipped["file"]).read_bytes())
    monkeypatch.setattr(pack, "FOLDER", tmp_path)
    monkeypatch.setattr(pack, "CATALOGUE", path)
    pack.main(["own"])
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    rows = catalogue.read_catalogue(path)
    monkeypatch.setattr(catalogue, "read_catalogue", lambda *_: rows)
    shipped_files._packaged_file.cache_clear()
    yield tmp_path
    shipped_files._packaged_file.cache_clear()


def test_the_file_holds_what_differs_and_loads_whole(zoo, base):
    first = next(iter(base))
    with safe_open(zoo / "own.safetensors", "pt") as file:
        assert {name.partition(".int8")[0] for name in file.keys()} == {first, "new.weight"}  # noqa: SIM118
        assert file.metadata()[BASE_SHA256] == hashlib.sha256((zoo / f"{NAME}.safetensors").read_bytes()).hexdigest()
    for address in ("zoo:own", str(zoo / "own.safetensors")):  # also where it was copied to
        loaded = load_weights_file(address)
        assert set(loaded) == {*base, "new.weight"}
        for name in set(base) - {first}:
            assert torch.equal(loaded[name], base[name])
        torch.testing.assert_close(loaded[first], base[first].float() + 1, rtol=0.01, atol=0.01)


def test_of_some_parts_nothing_is_taken_from_the_base(zoo, base, tmp_path):
    part = next(iter(base)).partition(".")[0]
    rest = {name for name in base if not name.startswith(f"{part}.")}
    save_file({"new.weight": torch.ones(3)}, tmp_path / "x.safetensors", base_metadata(NAME, (part, "absent")))
    assert set(load_weights_file(tmp_path / "x.safetensors")) == {"new.weight", *rest}
    source = tmp_path / "trained.pth"
    torch.save({"model": {name: base[name] for name in rest} | {f"{part}.new.weight": torch.ones(2)}}, source)
    pack.pack_weights(source, tmp_path / "y.safetensors", True, NAME, (part,))
    assert set(load_weights_file(tmp_path / "y.safetensors")) == {f"{part}.new.weight", *rest}


def test_it_is_known_to_the_command(zoo, capsys):
    assert main(["zoo", "info", "own"]) == 0 and f"zoo:{NAME}, whose weights" in capsys.readouterr().out
    assert main(["zoo", "verify"]) == 0


@pytest.mark.parametrize(("content", "words"), [(None, "is missing"), (b"other", "has SHA-256")])
def test_a_base_that_is_missing_or_damaged_is_said_before_a_model_is_built(zoo, capsys, content, words):
    path = zoo / f"{NAME}.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    error = FileNotFoundError if content is None else CheckpointError
    for read in (require_weights, load_weights_file):
        with pytest.raises(error, match=f"zoo:own builds on zoo:{NAME}, .*{words}"):
            read("zoo:own")
    with pytest.raises(error, match=f"only what differs from zoo:{NAME}, .*{words}"):
        load_weights_file(zoo / "own.safetensors")
    assert main(["zoo", "verify", "own"]) == 1 and "own: BAD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({BASE_SHA256: "0" * 64}, f"zoo:{NAME} of SHA-256 000.*install the version that the file came with"),
        ({BASE: "efficientad_teacher_narow_own"}, "cannot be read: .*did you mean"),
        ({BASE: ""}, "expected the name and the SHA-256 of its base"),
    ],
)
def test_another_base_is_refused(change, words, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"new.weight": torch.ones(3)}, path, {**base_metadata(NAME), **change})
    with pytest.raises(CheckpointError, match=words):
        load_weights_file(path)


def test_rounding_of_an_average_is_no_difference_and_more_is(base):
    first, second, *_ = (name for name, value in base.items() if value.is_floating_point())
    moved = {
        **base, first: base[first].double() * (1 + 5e-7), second: base[second].double() + 3e-6, "n": torch.tensor(4),
    }  # fmt: skip
    assert set(differing_weights(moved, {**base, "n": torch.tensor(3)})) == {second, "n"}
    with pytest.raises(CheckpointError, match=rf"lacks, such as {first}"):
        differing_weights({name: base[name] for name in base if name != first}, base)


@pytest.mark.parametrize("base_name", ["own", "absent", "efficientad_teacher_small"])
def test_a_catalogue_names_a_base_with_a_file_above(base_name, tmp_path):
    rows = {row["name"]: row for row in json.loads(catalogue.CATALOGUE.read_text())}
    own = {**rows[NAME], "name": "own", "base": base_name, "former": []}
    (tmp_path / "catalogue.json").write_text(json.dumps([rows["efficientad_teacher_small"], own, rows[NAME]]))
    with pytest.raises(DataError, match=f"expected the base '{base_name}' above it"):
        catalogue.read_catalogue(tmp_path / "catalogue.json")


def test_shipped_files_name_the_bases_that_are_shipped():
    for entry in model_zoo.shipped_entries().values():
        if entry.storage != "json":
            with safe_open(entry.path, "pt") as file:
                found = {key: value for key, value in file.metadata().items() if key.startswith(BASE)}
            assert found == (base_metadata(entry.base, entry.base_without) if entry.base else {}), entry.name
