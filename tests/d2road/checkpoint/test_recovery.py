"""Whatever befalls the newest checkpoint, resuming takes the one before it, and never loads a wrong number."""

import random
import shutil

import pytest
import torch
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.utils.errors import CheckpointError


class Counter:
    """A part of a checkpoint with nested plain values, as a trainer has."""

    def state_dict(self) -> dict:
        return {"iteration": 9, "hooks": {"name": "ö" * 20, "best": [1.5, None, True]}, "rng": torch.arange(99)}

    def load_state_dict(self, state: dict) -> None:
        self.iteration, self.seen = state["iteration"] + 0, (state["hooks"]["name"], state["rng"])


def net(value: float = 0.0) -> nn.Module:
    module = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30))
    nn.init.constant_(module[0].weight, value)
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for value in (1.0, 2.0):
        Checkpointer(net(value), str(folder), trainer=Counter()).save(f"model_{int(value):07d}", iteration=int(value))
    return folder


def damages(content: bytes, count: int):
    """Copies with one bit flipped, a page of zeros, or an end that is missing."""
    rng = random.Random(0)
    for _ in range(count):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield bytes(damaged)
    for _ in range(count // 8):
        start = rng.randrange(len(content) - 512)
        yield content[:start] + bytes(512) + content[start + 512 :]
        yield content[: rng.randrange(len(content))]


def test_any_damage_leads_to_the_one_before_or_does_no_harm(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    newest = folder / "model_0000002.pth"
    recovered = 0
    for damaged in damages(newest.read_bytes(), 240):
        newest.write_bytes(damaged)
        model = net()
        rest = Checkpointer(model, str(folder), trainer=Counter()).resume_or_load("", resume=True)
        assert rest["iteration"] in (1, 2) and (model[0].weight == rest["iteration"]).all()
        recovered += rest["iteration"] == 1
    assert recovered > 200


@pytest.mark.parametrize("error", [RuntimeError, UnicodeDecodeError, NotImplementedError, KeyError, MemoryError])
def test_any_error_in_loading_leads_to_the_one_before(saved, monkeypatch, caplog, error):
    class Failing(Counter):
        calls = 0

        def load_state_dict(self, state: dict) -> None:
            Failing.calls += 1
            if Failing.calls == 1:
                raise error("utf-8", b"", 0, 1, "odd") if error is UnicodeDecodeError else error("odd")

    model = net()
    rest = Checkpointer(model, str(saved), trainer=Failing()).resume_or_load("", resume=True)
    assert rest["iteration"] == 1 and (model[0].weight == 1).all()
    assert "model_0000002.pth cannot be loaded" in caplog.text


def test_what_does_not_fit_is_not_taken_for_damage(saved):
    with pytest.raises(CheckpointError, match="does not fit"):
        Checkpointer(nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(31)), str(saved)).resume_or_load("", resume=True)


def test_a_damaged_tag_does_not_matter(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    (folder / "last_checkpoint").write_bytes(b"\xff\x00model")
    assert Checkpointer(net(), str(folder)).last_intact().name == "model_0000002.pth"
