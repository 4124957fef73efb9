"""Parity with nelson1425/EfficientAD on recorded inputs (golden vectors), through the registered detector."""

import pytest
import torch
from detectron2.modeling import build_model

from efficientad.calibration import measure_maps, measure_teacher
from efficientad.checkpoint.foreign_models import Parts, fill
from efficientad.checkpoint.weight_names import autoencoder_names, pdn_names, subset
from tests.factories.anomaly_models import small_cfg

CONV = ("MODEL.EFFICIENT_AD.AUTOENCODER", "conv", "MODEL.EFFICIENT_AD.OUT_CHANNELS", 384)


@pytest.fixture(scope="module")
def golden(shared_dir):
    return torch.load(shared_dir / "golden" / "efficientad_small.pt", weights_only=True)


def inputs(images):
    """Recorded images in 0 to 1 as the mapper gives them, one a batch."""
    return [[{"image": image.float() * 255, "height": 256, "width": 256}] for image in images]


@pytest.fixture(scope="module")
def model(golden):
    """The reference's weights, calibrated here on its images."""
    model = build_model(small_cfg(*CONV, "INPUT.IMAGE_SIZE", "(256, 256)")).eval()
    state = {name: value.float() for name, value in golden["state_dict"].items()}
    networks = [pdn_names(subset(state, f"{part}."), "golden") for part in ("teacher", "student")]
    fill(model, Parts(*networks, autoencoder_names(subset(state, "autoencoder."), "golden"), "golden"))
    measure_teacher(model, inputs(golden["train"]), "golden")
    measure_maps(model, inputs(golden["val"]))
    return model


@pytest.fixture(scope="module")
def results(model, golden):
    return model([entry for batch in inputs(golden["test"]) for entry in batch])


def test_teacher_statistics(golden, model):
    assert torch.allclose(model.networks.teacher_mean, golden["teacher_mean"], rtol=0, atol=1e-5)
    assert torch.allclose(model.networks.teacher_std, golden["teacher_std"], rtol=0, atol=1e-5)


def test_map_quantiles(golden, model):
    expected = golden["quantiles"]
    pairs = [[expected["st_start"], expected["st_end"]], [expected["ae_start"], expected["ae_end"]]]
    assert torch.allclose(model.state.map_quantiles, torch.tensor(pairs), rtol=0, atol=1e-4)


def test_quantiles_of_the_histogram(golden, model):
    exact = model.state.map_quantiles.clone()
    measure_maps(model, inputs(golden["val"]), method="histogram")
    assert torch.allclose(model.state.map_quantiles, exact, rtol=2e-4)
    measure_maps(model, inputs(golden["val"]))


def test_maps_and_score(golden, results):
    for number, result in enumerate(results):
        for ours, theirs in (
            ("map_student_teacher", "map_st"),
            ("map_autoencoder", "map_ae"),
            ("anomaly_map", "map_full"),
        ):
            assert torch.allclose(result[ours], golden[theirs][number, 0], rtol=0, atol=1e-4), ours
        assert result["anomaly_score"].item() == pytest.approx(golden["score"][number].item(), abs=1e-4)
        combined = (result["map_student_teacher"] + result["map_autoencoder"]) / 2
        assert torch.allclose(combined, golden["map_combined"][number, 0], rtol=0, atol=1e-4)


def test_losses(golden, model):
    """In eval mode, so that nothing is random: image 0 for the student, 1 for the autoencoder, 2 as the penalty."""
    images = [model.preprocess_image(entry)[None] for (entry,) in inputs(golden["train"])]
    with torch.no_grad():
        losses = model.networks.losses(*images)
    for name, expected in golden["losses_eval_mode"].items():
        assert losses[f"loss_{name}"].item() == pytest.approx(expected.item(), rel=1e-5), name
