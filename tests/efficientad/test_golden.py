"""Parity with nelson1425/EfficientAD on recorded inputs (golden vectors), small networks."""

import pytest
import torch

from efficientad.autoencoder import ConvAutoencoder
from efficientad.calibration import Moments, Quantiles, finish_map, maps_for_quantiles, normalise_map, resize_maps
from efficientad.networks import Networks
from efficientad.pdn import PDN
from efficientad.weights import autoencoder_names, pdn_names, subset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def golden(shared_dir):
    return torch.load(shared_dir / "golden" / "efficientad_small.pt", weights_only=True)


@pytest.fixture(scope="module")
def networks(golden):
    """The reference's networks with its weights, in eval mode, with the statistics of its training pictures."""
    state = {name: value.float() for name, value in golden["state_dict"].items()}
    networks = Networks(PDN("small", 384), PDN("small", 768), ConvAutoencoder()).eval()
    networks.teacher.load_state_dict(pdn_names(subset(state, "teacher."), "golden"))
    networks.student.load_state_dict(pdn_names(subset(state, "student."), "golden"))
    networks.autoencoder.load_state_dict(autoencoder_names(subset(state, "autoencoder."), "golden"))
    moments = Moments()
    with torch.no_grad():
        for image in images(golden["train"]):
            moments.update(networks.teacher(image[None]))
    networks.teacher_mean, networks.teacher_std = moments.result()
    return networks


def images(pictures):
    return (pictures.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture(scope="module")
def quantiles(golden, networks):
    """[[start, end] of student-teacher, of autoencoder]"""
    found = []
    with torch.no_grad():
        maps = [networks.raw_maps(image[None]) for image in images(golden["val"])]
    for part in range(2):
        values = Quantiles()
        for raw in maps:
            values.update(maps_for_quantiles(raw[:, part : part + 1], "nelson1425", 4, (256, 256)))
        found.append(values.result((0.9, 0.995)))
    return torch.tensor(found)


def test_teacher_statistics(golden, networks):
    assert torch.allclose(networks.teacher_mean, golden["teacher_mean"], atol=1e-5)
    assert torch.allclose(networks.teacher_std, golden["teacher_std"], atol=1e-5)


def test_map_quantiles(golden, quantiles):
    expected = golden["quantiles"]
    pairs = [[expected["st_start"], expected["st_end"]], [expected["ae_start"], expected["ae_end"]]]
    assert torch.allclose(quantiles, torch.tensor(pairs), atol=1e-4, rtol=1e-4)


def test_maps_and_score(golden, networks, quantiles):
    with torch.no_grad():
        raw = networks.raw_maps(images(golden["test"]))
    maps = normalise_map(raw, quantiles[:, 0].view(2, 1, 1), quantiles[:, 1].view(2, 1, 1))
    assert torch.allclose(maps[:, :1], golden["map_st"], atol=1e-4)
    assert torch.allclose(maps[:, 1:], golden["map_ae"], atol=1e-4)
    combined = maps.mean(1, keepdim=True)
    assert torch.allclose(combined, golden["map_combined"], atol=1e-4)
    full = resize_maps(finish_map(combined, "nelson1425", 4), (256, 256))
    assert torch.allclose(full, golden["map_full"], atol=1e-4)
    assert torch.allclose(full.amax((1, 2, 3)), golden["score"], atol=1e-4)


def test_losses(golden, networks):
    pictures = images(golden["train"])
    with torch.no_grad():
        losses = networks.losses(pictures[:1], pictures[1:2], pictures[2:3])
    for name, expected in golden["losses_eval_mode"].items():
        assert losses[f"loss_{name}"].item() == pytest.approx(expected.item(), rel=1e-5), name
