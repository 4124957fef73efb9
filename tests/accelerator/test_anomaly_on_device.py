"""EfficientAD and PatchCore on a pretended accelerator: nothing is waited for."""

import pytest
import torch

from tests.accelerator.conftest import on_device
from tests.factories.anomaly_models import build, calibrated, entries, narrow_networks
from tests.factories.bank_models import fitted

NODE = "MODEL.EFFICIENT_AD."
BIG = ("INPUT.IMAGE_SIZE", (256, 256))
VARIANTS = {
    "as published": (),
    "medium": (NODE + "SIZE", "medium"),
    "softmax attention": (NODE + "AUTOENCODER", "softmax_attention"),
    "convolutions": (NODE + "AUTOENCODER", "conv", *BIG),
    "PUAD": (NODE + "PUAD.ENABLED", True),
    "tiles": (NODE + "TILING.ENABLED", True, NODE + "TILING.TILE", (128, 128), *BIG),
}


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def inputs_for(opts, seed=0):
    """Images of the size that the options ask for."""
    return entries(2, side=256 if "INPUT.IMAGE_SIZE" in opts else 128, seed=seed)


@pytest.mark.parametrize("opts", VARIANTS.values(), ids=VARIANTS)
def test_inference_waits_for_nothing_and_finds_the_same(opts, accelerator):
    model, batch = calibrated(*opts, batches=[[entry] for entry in inputs_for(opts, seed=1)]), inputs_for(opts)
    with torch.no_grad():
        expected = model(batch)
        with on_device(model, accelerator):
            model(batch)  # reads once what the checkpoint says of itself
            with accelerator.measured() as cost:
                found = model(batch)
    assert not cost.waits, cost
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours["anomaly_map"].cpu(), theirs["anomaly_map"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours["anomaly_score"].cpu(), theirs["anomaly_score"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("opts", VARIANTS.values(), ids=VARIANTS)
def test_a_training_step_waits_for_nothing(opts, accelerator):
    others = inputs_for(opts, seed=1)
    batch = [x | {"image_ae": y["image"], "image_penalty": y["image"]} for x, y in zip(inputs_for(opts), others)]
    model = build(*opts).train()
    torch.manual_seed(0)
    expected = {name: value.item() for name, value in model(batch).items()}
    with on_device(model, accelerator):
        torch.manual_seed(0)
        with accelerator.measured() as cost:
            losses = model(batch)
            sum(losses.values()).backward()
        assert not cost.waits, cost
        found = {name: value.item() for name, value in losses.items()}
    assert found == {name: pytest.approx(value, rel=1e-3) for name, value in expected.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype, accelerator):
    model, batch = calibrated(), entries(2)
    with torch.no_grad():
        expected = model(batch)
        with on_device(model, accelerator), torch.autocast(accelerator.device.type, dtype):
            found = model(batch)
            losses = model.train()(batch)
    assert all(torch.isfinite(value.cpu()) for value in losses.values())
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs["anomaly_map"].abs().max().item()
        difference = (ours["anomaly_map"].float().cpu() - theirs["anomaly_map"]).abs().max().item()
        assert difference < 100 * torch.finfo(dtype).eps * scale


def test_patchcore_works_on_a_device(accelerator, tmp_path):
    model, batch = fitted(tmp_path), entries(2)
    with torch.no_grad():
        expected = model(batch)
        with on_device(model, accelerator):
            found = model(batch)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours["anomaly_map"].cpu(), theirs["anomaly_map"], atol=1e-3, rtol=1e-3)
