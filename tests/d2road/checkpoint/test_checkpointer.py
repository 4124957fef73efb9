"""Checkpoints: complete or absent, found damaged when they are, and refused when they do not fit."""

import os

import pytest
import torch
from torch import nn

from d2road.checkpoint import Checkpointer, export_inference_weights
from d2road.checkpoint.file_forms import find_damage
from d2road.utils.errors import CheckpointError


def model(classes: int = 3) -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(4, 8), "class_logits": nn.Linear(8, classes)})


def saved(folder, *iterations, **options):
    """A checkpointer that saved after these iterations, the weights being the iteration number."""
    net = model()
    checkpointer = Checkpointer(net, str(folder), **options)
    for iteration in iterations:
        nn.init.constant_(net["body"].weight, iteration)
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        os.utime(folder / f"model_{iteration:07d}.pth", (iteration + 1e9, iteration + 1e9))
    return checkpointer


def test_keeps_the_newest_and_names_the_last(tmp_path):
    (tmp_path / ".model_0000001.pth.abc.tmp").write_bytes(b"half")  # of a run that was killed
    saved(tmp_path, 9, 19, 29, 39, keep=2)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["last_checkpoint", "model_0000029.pth", "model_0000039.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000039.pth"


def test_other_files_stay(tmp_path):
    checkpointer = saved(tmp_path, 9, 19, keep=2)
    checkpointer.write("model_best", {"model": {}})
    checkpointer.save("model_final")
    checkpointer.save("model_0000029")
    assert (tmp_path / "model_best.pth").exists() and (tmp_path / "model_final.pth").exists()
    assert not (tmp_path / "model_0000009.pth").exists()


def test_random_weights_are_told_of_a_model_that_trains_some(caplog):
    net = model()
    with caplog.at_level("INFO"):
        assert Checkpointer(net.requires_grad_(False)).load("") == {} and "random weights" not in caplog.text
        assert Checkpointer(net.requires_grad_(True)).load("") == {} and "random weights" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, caplog):
    saved(tmp_path, 9, 19)
    path = tmp_path / "model_0000019.pth"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        place = content.index(torch.full((32,), 19.0).numpy().tobytes())  # inside the weights
        content[place + 5] ^= 1
    path.write_bytes({"truncated": content[: len(content) * 2 // 3], "flipped": content, "empty": b""}[damage])
    assert find_damage(path) is not None and find_damage(tmp_path / "model_0000009.pth") is None
    net = model()
    rest = Checkpointer(net, str(tmp_path)).resume_or_load("", resume=True)
    assert rest["iteration"] == 9 and (net["body"].weight == 9).all()
    assert "model_0000019.pth is damaged" in caplog.text


def test_all_damaged_is_an_error_and_none_is_a_new_start(tmp_path):
    checkpointer = Checkpointer(model(), str(tmp_path))
    assert not checkpointer.has_checkpoint() and checkpointer.resume_or_load("", resume=True) == {}
    saved(tmp_path, 9)
    (tmp_path / "model_0000009.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"model_0000009.pth are damaged.*without --resume"):
        checkpointer.resume_or_load("", resume=True)


def test_a_lost_or_stale_tag_does_not_matter(tmp_path):
    checkpointer = saved(tmp_path, 9, 19)
    (tmp_path / "last_checkpoint").write_text("model_0000099.pth")
    assert checkpointer.last_intact().name == "model_0000019.pth"
    (tmp_path / "last_checkpoint").unlink()
    assert checkpointer.last_intact().name == "model_0000019.pth"
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")  # killed between file and tag
    assert checkpointer.last_intact().name == "model_0000009.pth"


def test_a_failed_save_leaves_the_old_file(tmp_path):
    checkpointer = saved(tmp_path, 9)
    before = (tmp_path / "model_0000009.pth").read_bytes()
    with pytest.raises(Exception, match="pickle"):
        checkpointer.write("model_0000009", {"model": lambda: None})
    assert (tmp_path / "model_0000009.pth").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_wrong_weights(tmp_path):
    path = str(tmp_path / "w.pth")
    net = Checkpointer(model(classes=5))
    with pytest.raises(FileNotFoundError, match=r"w\.pth"):
        net.load(path)
    torch.save({"model": nn.Linear(2, 2).state_dict()}, path)
    with pytest.raises(ValueError, match="none of its 2 weights has a name that the model knows"):
        net.load(path)
    torch.save({"model": model(classes=80).state_dict()}, path)
    with pytest.raises(ValueError, match=r"class_logits.weight: \(80, 8\) in the file, \(5, 8\) in the model"):
        net.load(path, require="parameters")
    net.load(path)  # to train on other classes: what fits is taken
    assert torch.equal(net.model["body"].weight, torch.load(path)["model"]["body.weight"])
    torch.save({"model": nn.ModuleDict({"body": nn.Linear(4, 8)}).state_dict()}, path)
    net.load(path)
    assert net.report.missing == ("class_logits.weight", "class_logits.bias")
    for require in ("parameters", "all"):
        with pytest.raises(ValueError, match=r"(?s)2 weights are missing.*class_logits\.bias: not in the file"):
            net.load(path, require=require)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="refused"):
        Checkpointer(model()).load(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_bare_state_dicts_load(tmp_path):
    net = model()
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    other = model()
    Checkpointer(other).load(str(tmp_path / "bare.pth"), require="all")
    assert torch.equal(other["body"].weight, net["body"].weight)
    with pytest.raises(ValueError, match="unknown option"):
        Checkpointer(other).load(str(tmp_path / "bare.pth?mistake=1"))


@pytest.mark.parametrize("half", [False, True])
def test_export_takes_the_averages_and_nothing_else(tmp_path, half):
    net = model()
    averages = {name: torch.full_like(value, 0.5) for name, value in net.state_dict().items()}
    ema = {"updates": 3, "weights": averages}
    torch.save({"model": net.state_dict(), "ema": ema, "trainer": {"x": torch.zeros(9)}}, tmp_path / "in.pth")
    export_inference_weights(tmp_path / "in.pth", tmp_path / "out.pth", half=half)
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    assert list(written) == ["model"] and list(written["model"]) == list(net.state_dict())
    assert all((value == 0.5).all() for value in written["model"].values())
    assert written["model"]["body.weight"].dtype == (torch.float16 if half else torch.float32)
    other = model()
    Checkpointer(other).load(str(tmp_path / "out.pth"), require="all")
    assert (other["body"].weight == 0.5).all() and other["body"].weight.dtype == torch.float32
