"""The form of a weights file is told by its content; damage by its checksums, whichever program reads the file."""

import os
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from d2road.checkpoint import Checkpointer, file_forms
from d2road.checkpoint.file_forms import find_damage
from d2road.checkpoint.weights import load_weights_file
from d2road.cli.convert import main as convert
from d2road.utils.errors import CheckpointError

FORGIVING = "ignore::FutureWarning"  # torch.jit says that it is deprecated


def saved(path, **weights):
    torch.save({"model": weights or {"w": torch.arange(5000.0)}}, path)
    return path


def entry_of(path, name):
    """Where the content of an entry begins in the file."""
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(name))
        with archive.open(info) as content:
            content.read(1)
            return content._orig_compress_start, info.file_size


@pytest.mark.parametrize("damage", ["a page of zeros", "a flipped bit"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl"])
def test_damage_inside_a_torch_file_is_refused_with_the_entry_although_torch_loads_it(tmp_path, damage, suffix):
    path = saved(tmp_path / f"w{suffix}")
    content = bytearray(path.read_bytes())
    start, _ = entry_of(path, "data/0")
    if damage == "a flipped bit":
        content[start + 4001] ^= 4
    else:
        content[start + 4096 : start + 8192] = bytes(4096)
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["model"]["w"], torch.arange(5000.0))  # torch does not see it
    with pytest.raises(CheckpointError, match=rf"w\{suffix}: damaged.*data/0"):
        load_weights_file(path)


def test_every_single_flipped_bit_is_refused_or_changes_no_weight(tmp_path):
    path = saved(tmp_path / "w.pth", w=torch.arange(6.0))
    content, refused = path.read_bytes(), 0
    for place in range(0, len(content) * 8, 37):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            loaded = load_weights_file(path)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(loaded["model"]["w"], torch.arange(6.0))
            assert find_damage(path) is None
    assert refused > 20


def test_a_damaged_model_of_another_program_is_not_converted(tmp_path, capsys):
    path = saved(tmp_path / "m.ckpt")
    content = bytearray(path.read_bytes())
    content[entry_of(path, "data/0")[0] + 9] ^= 1
    path.write_bytes(content)
    assert convert(["--source", "anomalib", str(path), str(tmp_path / "o.pth")]) == 2
    assert "data/0" in capsys.readouterr().err and not (tmp_path / "o.pth").exists()


def test_files_written_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(path).testzip() is not None  # other readers take its zeros for checksums
    assert torch.equal(load_weights_file(path)["model"]["w"], torch.arange(5000.0))


@pytest.mark.filterwarnings(FORGIVING)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt"])
def test_a_program_is_refused_by_its_form_before_any_loader_sees_it(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"program{suffix}"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(torch.jit, "load", forbidden)
    with pytest.raises(CheckpointError, match="refused, because it is a TorchScript archive"):
        load_weights_file(path)


def test_the_tar_form_of_old_torch_is_refused_before_any_loader_sees_it(tmp_path, monkeypatch):
    # No torch that writes it runs on this Python: these are the entries that its reader asks for.
    for entry in ("sys_info", "pickle", "storages", "tensors"):
        (tmp_path / entry).write_bytes(b"\x80\x02}.")
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        for entry in ("sys_info", "pickle", "storages", "tensors"):
            archive.add(tmp_path / entry, entry)
    monkeypatch.setattr(torch, "load", forbidden)
    with pytest.raises(CheckpointError, match="refused, because it is a tar archive"):
        load_weights_file(tmp_path / "w.pth")


@pytest.mark.filterwarnings(FORGIVING)
@pytest.mark.parametrize("source", ["anomalib", "nelson1425"])
def test_programs_are_refused_in_converting_too_whatever_is_allowed(tmp_path, capsys, source):
    for part in ("teacher", "student", "autoencoder"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / f"{part}_final.pth"))
    given = tmp_path if source == "nelson1425" else tmp_path / "teacher_final.pth"
    assert convert(["--source", source, str(given), str(tmp_path / "o.pth"), "--unsafe-pickle"]) == 2
    assert "TorchScript" in capsys.readouterr().err


def forbidden(*_args, **_kwargs):
    raise AssertionError("a loader saw the file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        (b"", "not a weights file"),
        (bytes(1024), "not a weights file"),
    ],
)
def test_other_content_is_told(tmp_path, content, said):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        load_weights_file(tmp_path / "w.pth")


def test_another_archive_is_told_by_what_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "see the folder")
    with pytest.raises(CheckpointError, match=r"another kind than torch.save writes, it holds readme\.txt"):
        load_weights_file(tmp_path / "w.pth")


def test_a_header_of_any_length_is_one_of_safetensors(tmp_path):
    """Also one whose first byte is the first of a pickle."""
    first = set()
    for extra in range(0, 260, 8):
        path = tmp_path / f"{extra}.safetensors"
        save_file({"a": torch.ones(2)}, path, {"note": "x" * extra})
        first.add(path.read_bytes()[0])
        assert torch.equal(load_weights_file(path)["a"], torch.ones(2))
    assert 0x80 in first


def test_the_content_counts_not_the_name(tmp_path):
    lib = pytest.importorskip("safetensors.torch")
    lib.save_file({"w": torch.ones(2)}, tmp_path / "model.bin")
    assert torch.equal(load_weights_file(tmp_path / "model.bin")["w"], torch.ones(2))
    whole = (tmp_path / "model.bin").read_bytes()
    for cut in (whole[:-1], whole[:9], whole[:30] + b"\xff" + whole[31:], whole + b"\0"):
        (tmp_path / "model.safetensors").write_bytes(cut)
        with pytest.raises(CheckpointError, match="damaged, truncated or not a weights file"):
            load_weights_file(tmp_path / "model.safetensors")
    torch.save({"model": {"w": torch.ones(2)}, "__author__": "x"}, tmp_path / "R-50.pkl")
    assert torch.equal(load_weights_file(tmp_path / "R-50.pkl")["model"]["w"], torch.ones(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("require", ["", "parameters", "all"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value, require):
    model = nn.Linear(2, 2)
    state = model.state_dict()
    state["bias"][1] = value
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"1 of its weights have values that are NaN or infinite \(bias\)"):
        Checkpointer(nn.Linear(2, 2)).load(str(tmp_path / "w.pth"), require=require)


def test_a_pipe_is_no_weights_file(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises((ValueError, FileNotFoundError), match=r"w\.pth"):
        file_forms.form_of(tmp_path / "w.pth", "w.pth")
