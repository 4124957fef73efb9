"""Whether weights belong to a model is judged by its parameters; wrappers of other programs are seen through."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn
from torch.optim.swa_utils import AveragedModel

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.config_hint import config_hint
from d2road.checkpoint.fit import match, without_wrappers
from d2road.utils.errors import CheckpointError


def model(classes=3):
    layers = {"body": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "frozen": FrozenBatchNorm2d(4)}
    return nn.ModuleDict({**layers, "head": nn.Linear(4, classes)})


def filled(value, classes=3):
    net = model(classes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def load(net, content, path, **options):
    torch.save(content, path)
    checkpointer = Checkpointer(net)
    checkpointer.load(str(path), **options)
    return checkpointer.report


@pytest.mark.parametrize("require", ["", "parameters", "all"])
@pytest.mark.parametrize("content", [{"model": {"foo": torch.ones(1)}}, {"backbone.foo": torch.ones(1)}])
def test_a_file_of_another_model_is_refused_whatever_buffers_fill_in(tmp_path, content, require):
    with pytest.raises(CheckpointError, match="none of its 1 weights has a name that the model knows"):
        load(model(), content, tmp_path / "w.pth", require=require)


WRAPPED = {
    "DataParallel": lambda net: nn.DataParallel(net).state_dict(),
    "torch.compile": lambda net: torch.compile(net).state_dict(),
    "torch.compile of DataParallel": lambda net: torch.compile(nn.DataParallel(net)).state_dict(),
    "compiled submodules": lambda net: compiled_parts(net).state_dict(),
    "AveragedModel": lambda net: AveragedModel(net).state_dict(),
    "a Lightning module": lambda net: {"state_dict": nn.ModuleDict({"model": net, "loss": nn.PReLU()}).state_dict()},
    "teacher and student": lambda net: nn.ModuleDict({"student": filled(7), "teacher": net}).state_dict(),
    "an average beside the model": lambda net: {"net": nn.ModuleDict({"ema": net, "step": nn.PReLU()}).state_dict()},
}


def compiled_parts(net):
    return nn.ModuleDict({name: torch.compile(part) for name, part in net.items()})


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrappers_of_other_programs_are_seen_through(tmp_path, wrapper):
    net = model()
    report = load(net, WRAPPED[wrapper](filled(5.0)), tmp_path / "w.pth", require="parameters")
    assert not report.missing and len(report.taken) == len(list(net.parameters())) + 2
    assert all(bool((parameter == 5).all()) for parameter in net.parameters())


def test_names_that_fit_as_they_are_keep_prefixes_that_look_like_wrappers():
    state = {"model.w": 1, "w": 2, "module.model.w": 3}
    assert without_wrappers(state, ["model.w"]) == (state, "")
    assert without_wrappers(state, ["other"]) == (state, "")


def test_weights_under_two_wrappers_are_a_guess_that_is_told(caplog):
    state, prefix = without_wrappers({"ema.w": 1, "student.w": 2}, ["w"])
    assert state == {"w": 1} and prefix == "ema."
    assert "lie under 'ema.' and under 'student.'" in caplog.text


@pytest.mark.parametrize(
    ("lost", "names"),
    [
        (("head.bias",), ("head.bias",)),
        (("norm.running_var",), ("norm.running_var",)),  # else features are divided by the initial ones
        (("norm.num_batches_tracked",), ()),
        (("frozen.running_mean", "frozen.running_var"), ()),  # Detectron2 fills them in: published files have none
    ],
)
def test_prediction_needs_every_parameter_and_statistic(tmp_path, lost, names):
    state = filled(5.0).state_dict()
    for name in lost:
        del state[name]
    report = load(model(), state, tmp_path / "w.pth")
    assert report.missing == names
    if names:
        with pytest.raises(CheckpointError, match=f"(?s)1 weights are missing.*{names[0]}: not in the file"):
            load(model(), state, tmp_path / "w.pth", require="parameters")
    else:
        load(model(), state, tmp_path / "w.pth", require="parameters")


def test_training_may_start_from_parts_and_is_told_which(tmp_path, caplog):
    state = {f"model.{name}": value for name, value in filled(5.0, classes=80).state_dict().items()}
    del state["model.norm.weight"]
    net = model()
    report = load(net, {"state_dict": {**state, "model.extra": torch.ones(1)}}, tmp_path / "w.pth")
    assert report.prefix == "model." and report.missing == ("norm.weight",) and report.unexpected == ("extra",)
    assert report.differing[0] == "head.weight: (80, 4) in the file, (3, 4) in the model"
    assert "1 of 8 parameters are not in the file and stay as initialised: norm.weight" in caplog.text
    assert "2 of 8 parameters have other shapes" in caplog.text and (net["body"].weight == 5).all()


def test_a_parameter_under_two_names_is_there_if_one_is():
    net = nn.ModuleDict({"embed": nn.Linear(2, 2, bias=False), "out": nn.Linear(2, 2, bias=False)})
    net["out"].weight = net["embed"].weight
    _, report = match(net, {"out.weight": torch.ones(2, 2)}, "w.pth")
    assert not report.missing


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({0: torch.ones(1)}, "names that are no text, such as 0"),
        ({"epoch": 3, "config": {"lr": 0.1}}, "no tensor, but epoch, config"),
        ({"model": "resnet50", "epoch": 3}, "no tensor, but model, epoch"),
    ],
)
def test_files_without_weights_are_told_by_what_they_hold(tmp_path, content, said):
    with pytest.raises(CheckpointError, match=said):
        load(model(), content, tmp_path / "w.pth")


def test_averages_of_other_programs_do_not_pass_for_own_ones(tmp_path):
    net = model()
    content = {"model": filled(5.0).state_dict(), "ema": filled(7.0).state_dict()}
    load(net, content, tmp_path / "w.pth", require="parameters", use_ema=True)
    assert (net["body"].weight == 5).all()


def test_where_weights_do_not_fit_their_config_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    beside = rf"its config is {tmp_path / 'config.yaml'}, so take --config-file {tmp_path / 'config.yaml'}"
    with pytest.raises(CheckpointError, match=f"another model; {beside}"):
        load(model(), {"model": {"foo": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"trained with .*; {beside}"):
        load(model(), {"model": model(classes=5).state_dict()}, tmp_path / "w.pth", require="parameters")
    with pytest.raises(CheckpointError, match=r"another model; its config is configs/mono3dvg/toy_gro"):
        Checkpointer(model()).load("zoo:mono3dvg_toy")
    assert config_hint("zoo:efficientad_teacher_narrow_own") == config_hint("zoo:none") == config_hint("w.pth") == ""
