"""Teachers from files of different origin, and the ways in which a file can be wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from d2road.config import make_cfg
from d2road.model_zoo import shipped_entries
from d2road.utils.text_tensors import decode, encode
from efficientad.checkpoint.teacher_files import checksum, load_teacher
from efficientad.checkpoint.weight_names import NELSON_INDICES
from efficientad.modeling.pdn import PDN
from tests.factories.anomaly_models import image_of


def narrow(size="small", channels=6):
    """A teacher of the right layers and few channels."""
    from tests.factories.anomaly_models import narrow_networks

    with narrow_networks():
        return PDN(size, channels)


def numbered(network):
    """Its weights as nelson1425 names them."""
    names = {f"conv{n}": str(index) for n, index in enumerate(NELSON_INDICES[network.size], 1)}
    return {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in network.state_dict().items()}


def save(path, content):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize(
    "wrap",
    [
        numbered,
        lambda net: net.state_dict(),
        lambda net: {"state_dict": {f"model.teacher.{k}": v for k, v in net.state_dict().items()}},
        lambda net: {"model": {f"networks.teacher.{k}": v for k, v in net.state_dict().items()}},
        lambda net: {f"module.{k}": v for k, v in numbered(net).items()},
        lambda net: {k: v.half() for k, v in net.state_dict().items()},
    ],
)
def test_teachers_of_every_origin(tmp_path, size, wrap):
    torch.manual_seed(0)
    source, target = narrow(size), narrow(size)
    label = load_teacher(target, save(tmp_path / "teacher.pth", wrap(source)))
    assert all(
        torch.allclose(a, b, atol=1e-3) for a, b in zip(source.state_dict().values(), target.state_dict().values())
    )
    assert label.startswith("teacher.pth (")


def test_equal_weights_have_equal_labels(tmp_path):
    source = narrow()
    labels = [
        load_teacher(narrow(), save(tmp_path / "t.pth", wrap)) for wrap in (numbered(source), source.state_dict())
    ]
    assert labels[0] == labels[1] == f"t.pth ({checksum(source.state_dict())})"
    assert load_teacher(narrow(), "random") == "random"


def test_a_teacher_that_says_where_it_is_from(tmp_path):
    state = {f"teacher.{k}": v for k, v in narrow().state_dict().items()} | {"teacher_label": encode("from lite0")}
    assert load_teacher(narrow(), save(tmp_path / "t.pth", {"model": state})).startswith("from lite0 (")


def test_wrong_size_channels_and_shapes(tmp_path):
    path = save(tmp_path / "teacher_medium.pth", numbered(narrow("medium")))
    with pytest.raises(ValueError, match=r"teacher_medium\.pth: this is a medium teacher.*SIZE medium"):
        load_teacher(narrow("small"), path)
    with pytest.raises(ValueError, match="has 6 channels, the config says 9.*OUT_CHANNELS 6".replace(".*", r".*")):
        load_teacher(narrow("medium", 9), path)
    with pytest.raises(ValueError, match=r"conv1\.weight is \(16, 3, 4, 4\), expected \(128, 3, 4, 4\)"):
        load_teacher(PDN("small", 6), save(tmp_path / "narrow.pth", narrow().state_dict()))


def test_wrong_formats(tmp_path):
    with pytest.raises(FileNotFoundError, match="make teacher"):
        load_teacher(narrow(), str(tmp_path / "gone.pth"))
    with pytest.raises(ValueError, match=r"TEACHER is empty.*random"):
        load_teacher(narrow(), "")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"truncated or not a weights file"):
        load_teacher(narrow(), str(tmp_path / "text.pth"))
    path = save(tmp_path / "resnet.pth", {"layer1.0.conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"not the weights of a PDN.*teacher_small\.pth"):
        load_teacher(narrow(), path)
    path = save(tmp_path / "teacher_final.pth", nn.Sequential(nn.Conv2d(3, 4, 4)))
    with pytest.raises(ValueError, match=r"d2road convert --source nelson1425"):
        load_teacher(narrow(), path)
    damaged = narrow().state_dict()
    damaged["conv2.bias"][0] = float("nan")
    with pytest.raises(ValueError, match=r"conv2\.bias has values that are NaN"):
        load_teacher(narrow(), save(tmp_path / "nan.pth", damaged))


def test_texts_in_tensors():
    assert decode(encode("")) == "" and decode(encode("Lehrer für Ä")) == "Lehrer für Ä"
    assert decode(encode("x" * 500 + "end")).endswith("end")


@pytest.mark.parametrize("name", [name for name in shipped_entries() if "teacher" in name])
def test_shipped_teachers_describe_an_image(name):
    """Their channels vary over an image by about as much as what they were distilled from: deviations of one."""
    teacher = PDN("narrow", 384)
    assert load_teacher(teacher, f"zoo:{name}").startswith("PDN distilled from EfficientNet-Lite0 (")
    image = torch.from_numpy(image_of(np.random.default_rng(0), 128)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        features = teacher.eval()((image - 0.45) / 0.225)
    spread = features.std(dim=(0, 2, 3))
    assert torch.isfinite(features).all() and features.shape[1] == 384 and 0.05 < float(spread.median()) < 3


@pytest.mark.parametrize("name", ["own_images", "mvtec_ad/screw", "mvtec_loco/breakfast_box", "visa/candle"])
def test_configs_to_begin_with_have_a_teacher_that_is_there_and_fits(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = make_cfg(f"efficientad/{name}.yaml").MODEL.EFFICIENT_AD
    assert load_teacher(PDN(node.SIZE, node.OUT_CHANNELS), node.TEACHER).startswith("PDN distilled from")
    assert "photographs" not in node.TEACHER  # whose images are for non-commercial research


@pytest.mark.parametrize("name", ["screw_small", "screw_medium", "screw_published"])
def test_configs_of_published_teachers_say_what_to_fetch(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = make_cfg(f"efficientad/mvtec_ad/{name}.yaml").MODEL.EFFICIENT_AD
    with pytest.raises(FileNotFoundError, match=rf"fetch teacher_{node.SIZE}\.pth of .*nelson1425"):
        load_teacher(PDN(node.SIZE, node.OUT_CHANNELS), node.TEACHER)
