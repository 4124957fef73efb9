"""Settings beside the weights do not keep a file from being read, and nothing in it runs."""

import argparse
import collections
import datetime
import enum
import functools
import io
import os
import pathlib
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from detectron2.config import get_cfg
from omegaconf import OmegaConf
from timm.utils import CheckpointSaver
from torch import nn

from d2road.checkpoint import plain_pickle
from d2road.checkpoint.plain_pickle import StandIn
from d2road.checkpoint.weights import WholeModelError, load_weights_file, unwrap_state_dict
from d2road.modeling.backbone.timm_backbone import TimmBackbone


class Size(enum.Enum):
    SMALL = "small"


class Outer:
    class Nested(enum.IntEnum):
        ONE = 1


@dataclass
class Options:
    rate: float = 0.1
    sizes: list = field(default_factory=lambda: [1, 2])


class Attributes(dict):
    """As configs of many programs are."""

    __getattr__ = dict.__getitem__


Point = collections.namedtuple("Point", "x y")

SETTINGS = {
    "argparse": argparse.Namespace(lr=0.1, betas=(0.9, 0.99)),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque and Counter": [collections.deque([1, 2], maxlen=3), collections.Counter("aab")],
    "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("c")],
    "enums": [Size.SMALL, Outer.Nested.ONE],
    "dataclass": Options(),
    "dict with attributes": Attributes(a=1, b=[2]),
    "namedtuple": Point(1, 2),
    "times": [datetime.datetime(2026, 1, 2, 3), datetime.timedelta(1), datetime.date(2026, 1, 1)],
    "partial and functions": [functools.partial(nn.LayerNorm, eps=1e-6), nn.functional.relu, nn.GELU],
    "omegaconf": OmegaConf.create({"model": {"depth": [2, 2]}}),
    "yacs": get_cfg(),
    "random state": np.random.RandomState(3),
    "data frame": pd.DataFrame({"path": ["a", "b"], "label": [0, 1]}),
    "slice and range": [slice(1, 2), range(3)],
    "module": nn.Sequential(nn.Linear(1, 1)),
    "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_beside_the_weights_are_left_unbuilt_and_the_weights_read(tmp_path, kind, zipped):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    content = {"state_dict": model.state_dict(), "settings": SETTINGS[kind], "epoch": 3}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_weights_file(tmp_path / "w.pth")
    assert loaded["epoch"] == 3
    state = unwrap_state_dict(loaded)
    assert type(state) is collections.OrderedDict and state._metadata[""] == {"version": 1}
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value)


def test_a_stand_in_keeps_what_the_object_would_have_been_made_of(tmp_path):
    content = {"w": torch.ones(1), "args": SETTINGS["argparse"], "size": Size.SMALL, "path": pathlib.Path("a/b")}
    torch.save(content, tmp_path / "w.pth")
    loaded = load_weights_file(tmp_path / "w.pth")
    assert all(isinstance(loaded[key], StandIn) for key in ("args", "size", "path"))
    assert loaded["args"].origin == "argparse.Namespace" and loaded["args"].state == {"lr": 0.1, "betas": (0.9, 0.99)}
    assert loaded["size"].arguments == ("small",) and loaded["path"].arguments == ("a", "b")


def test_the_checkpoint_of_timms_own_training_starts_a_backbone(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("resnet10t")
    args = argparse.Namespace(model="resnet10t", lr=0.1, data_dir=pathlib.Path("data"))
    saver = CheckpointSaver(
        net, torch.optim.SGD(net.parameters(), 0.1), args=args, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=0.5)
    backbone = TimmBackbone(name="resnet10t", weights=str(tmp_path / "checkpoint-0.pth.tar"))
    assert torch.equal(backbone.net.conv1[0].weight, net.conv1[0].weight)


class Acting:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.mkdir, (), r"posix\.mkdir"),
        (os.system, ("touch ",), r"posix\.system"),
        (exec, ("import os; os.mkdir(PLACE)",), r"(__builtin__|builtins)\.exec"),
        (open, (), r"_?io\.open"),
    ],
)
def test_a_call_beside_the_weights_is_refused_by_name_and_not_run(tmp_path, function, arguments, named, zipped):
    mark = tmp_path / "ran"
    given = tuple(text.replace("PLACE", repr(str(mark))) + ("" if "PLACE" in text else str(mark)) for text in arguments)
    if function is open:
        given = (str(mark), "w")
    content = {"state_dict": {"w": torch.ones(1)}, "settings": Acting(function, *(given or (str(mark),)))}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    try:
        with pytest.raises(WholeModelError, match=named):
            load_weights_file(tmp_path / "w.pth")
    finally:
        assert not mark.exists()


@pytest.mark.parametrize("function", [pathlib.Path.mkdir, functools.partial(torch.save, 1), np.save])
def test_other_calls_beside_the_weights_are_not_made(tmp_path, function):
    settings = Acting(function, tmp_path / "ran", *([1] if function is np.save else []))
    torch.save({"state_dict": {"w": torch.ones(1)}, "settings": settings}, tmp_path / "w.pth")
    assert torch.equal(unwrap_state_dict(load_weights_file(tmp_path / "w.pth"))["w"], torch.ones(1))
    assert not list(tmp_path.glob("ran*"))


@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_a_whole_model_in_place_of_its_weights_is_refused_by_name(tmp_path, key):
    model = nn.Linear(1, 1)
    torch.save({key: model, "epoch": 1} if key else model, tmp_path / "w.pth")
    with pytest.raises(
        WholeModelError, match=r"refused, because it holds the object torch\.nn\.modules\.linear\.Linear"
    ):
        load_weights_file(tmp_path / "w.pth")


def test_a_damaged_number_of_the_memo_takes_no_memory():
    content = b"\x80\x02}r" + (1 << 24).to_bytes(4, "little") + b"."  # a dict that is to be remembered as number 2**24
    tracemalloc.start()
    try:
        assert plain_pickle.load(io.BytesIO(content)) == {}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
