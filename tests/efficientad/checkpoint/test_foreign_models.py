"""Importing models of nelson1425 and anomalib, written here in their formats, and calibrating own ones anew."""

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.cli.convert import main
from d2road.config import make_cfg
from efficientad.checkpoint.weight_names import NELSON_AUTOENCODER, NELSON_INDICES
from tests.factories.anomaly_models import narrow_networks, small_cfg, write_category

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.EFFICIENT_AD.OUT_CHANNELS", "8"]


class LightningSettings:
    """Stands for what Lightning stores beside the weights."""


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_category(tmp_path_factory.mktemp("data"), 4, 1) / "train" / "good"


def conv_model(seed=0, size="small"):
    torch.manual_seed(seed)
    pairs = (
        "MODEL.EFFICIENT_AD.AUTOENCODER",
        "conv",
        "INPUT.IMAGE_SIZE",
        "(256, 256)",
        "MODEL.EFFICIENT_AD.SIZE",
        size,
    )
    return build_model(small_cfg(*pairs)).eval()


def anomalib_state(model):
    networks = model.networks
    state = {f"model.teacher.{k}": v for k, v in networks.teacher.state_dict().items()}
    state |= {f"model.student.{k}": v for k, v in networks.student.state_dict().items()}
    state |= {f"model.ae.{k}": v for k, v in networks.autoencoder.state_dict().items()}
    state |= {"model.mean_std.mean": torch.rand(1, 8, 1, 1), "model.mean_std.std": torch.rand(1, 8, 1, 1) + 0.5}
    for number, name in enumerate(("qa_st", "qb_st", "qa_ae", "qb_ae")):
        state[f"model.quantiles.{name}"] = torch.tensor(0.25 + 0.5 * number)
    return state


def nelson_module(names, state):
    """A pickled nn.Sequential with weights at the numbered places."""
    layers = [nn.Identity() for _ in range(max(names) + 1)]
    for index, name in names.items():
        weight = state[f"{name}.weight"]
        layers[index] = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:])
        layers[index].load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
    return nn.Sequential(*layers)


def nelson_folder(folder, model):
    folder.mkdir()
    numbers = {index: f"conv{n}" for n, index in enumerate(NELSON_INDICES["small"], 1)}
    for part, names in (("teacher", numbers), ("student", numbers), ("autoencoder", NELSON_AUTOENCODER)):
        state = model.networks.get_submodule(part).state_dict()
        torch.save(nelson_module(names, state), folder / f"{part}_final.pth")
    return folder


def load(path):
    model = build_model(make_cfg(str(path.with_suffix(".yaml")))).eval()
    Checkpointer(model).load(str(path), require="all")
    return model


def same_networks(a, b):
    ours, theirs = a.networks.state_dict(), b.networks.state_dict()
    return all(torch.equal(ours[k], theirs[k]) for k in ours if not k.startswith("teacher_"))


@pytest.mark.parametrize("extra", [{}, {"hyper_parameters": LightningSettings()}])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_anomalib_checkpoint_is_ready_to_predict(tmp_path, extra, size):
    source = conv_model(size=size)
    state = anomalib_state(source)
    torch.save({"state_dict": state, "epoch": 3, **extra}, tmp_path / "model.ckpt")
    out = tmp_path / "out.pth"
    assert main(["--source", "anomalib", str(tmp_path / "model.ckpt"), str(out), *SMALL]) == 0
    model = load(out)
    assert same_networks(model, source)
    assert torch.equal(model.networks.teacher_std, state["model.mean_std.std"].flatten())
    assert torch.equal(model.state.map_quantiles, torch.tensor([[0.25, 0.75], [1.25, 1.75]]))
    result = model([{"image": torch.rand(3, 256, 256) * 255, "height": 50, "width": 60}])[0]
    assert result["anomaly_map"].shape == (50, 60) and "anomaly_threshold" not in result
    assert result["teacher"].startswith("model.ckpt")


def test_nelson_folder_needs_the_flag_and_calibration(tmp_path, good, capsys, caplog):
    source = conv_model()
    folder, out = nelson_folder(tmp_path / "run", source), tmp_path / "sub" / "out.pth"
    call = ["--source", "nelson1425", str(folder), str(out), *SMALL]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert "runs what is in the file" in said and "--unsafe-pickle" in said and not out.exists()
    assert main([*call, "--unsafe-pickle"]) == 0
    assert "NOT calibrated" in caplog.text
    model = load(out)
    assert same_networks(model, source)
    with pytest.raises(ValueError, match="--calibrate-on"):
        model([{"image": torch.rand(3, 256, 256)}])
    assert main([*call, "--unsafe-pickle", "--calibrate-on", str(good)]) == 0
    model = load(out)
    result = model([{"image": torch.rand(3, 256, 256) * 255}])[0]
    assert torch.isfinite(result["anomaly_map"]).all() and "anomaly_threshold" in result
    assert model.networks.teacher_std.min() > 0 and not (model.networks.teacher_std == 1).all()


def test_own_model_calibrated_for_another_compat(tmp_path, good, capsys):
    out = tmp_path / "nelson.pth"
    folder = nelson_folder(tmp_path / "run", conv_model())
    assert (
        main(["--source", "nelson1425", str(folder), str(out), *SMALL, "--unsafe-pickle", "--calibrate-on", str(good)])
        == 0
    )
    config = ["--source", "own", "--config-file", str(out.with_suffix(".yaml")), "--calibrate-on", str(good)]
    again = tmp_path / "paper.pth"
    assert main([*config, str(out), str(again), "MODEL.EFFICIENT_AD.COMPAT", "paper"]) == 0
    model, before = load(again), load(out)
    assert model.compat == "paper" and same_networks(model, before)
    assert torch.equal(model.networks.teacher_mean, before.networks.teacher_mean)
    model([{"image": torch.rand(3, 256, 256) * 255}])
    assert main(["--source", "own", str(out), str(again)]) == 2
    assert "--config-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: torch.save({"state_dict": {"model.x": torch.zeros(1)}}, path), "it has no teacher, student, ae"),
        (lambda path: path.write_bytes(b"abc"), "not a weights file"),
        (lambda path: None, "no weights file"),
    ],
)
def test_wrong_files(tmp_path, capsys, make, said):
    make(tmp_path / "model.ckpt")
    assert main(["--source", "anomalib", str(tmp_path / "model.ckpt"), str(tmp_path / "o.pth"), *SMALL]) == 2
    assert said in capsys.readouterr().err


def test_other_wrong_input(tmp_path, capsys):
    torch.save({"state_dict": anomalib_state(conv_model())}, tmp_path / "model.ckpt")
    call = ["--source", "anomalib", str(tmp_path / "model.ckpt")]
    assert main([*call, str(tmp_path / "o.pth"), *SMALL, "MODEL.EFFICIENT_AD.SIZE", "medium"]) == 2
    assert "this is a small teacher" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "o.pth"), *SMALL, "MODEL.EFFICIENT_AD.AUTOENCODER", "linear_attention"]) == 2
    assert "published autoencoder" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "o.onnx"), *SMALL]) == 2
    assert "ends with .pth" in capsys.readouterr().err
    assert main(["--source", "nelson1425", str(tmp_path), str(tmp_path / "o.pth")]) == 2
    assert "teacher_final.pth" in capsys.readouterr().err


def test_nothing_inside_an_anomalib_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"state_dict": anomalib_state(conv_model()), "hyper_parameters": Evil()}, tmp_path / "model.ckpt")
    assert main(["--source", "anomalib", str(tmp_path / "model.ckpt"), str(tmp_path / "o.pth"), *SMALL]) == 2
    assert not (tmp_path / "ran").exists()
