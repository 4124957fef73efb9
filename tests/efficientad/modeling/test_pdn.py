"""PDN: sizes, receptive field, published names and counts; the published autoencoder and those of attention."""

import pytest
import torch
from torch import nn

from efficientad.checkpoint.weight_names import NELSON_AUTOENCODER, autoencoder_names, pdn_names, size_of
from efficientad.modeling.autoencoder import AUTOENCODERS, Positions, build_autoencoder
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import LAYERS, PDN, map_size
from tests.oracles.published_pdn import published_pdn

# Millions of parameters as published: teacher, student, autoencoder.
COUNTS = {"small": (2.69, 4.27), "medium": (8.03, 11.62)}


@pytest.mark.parametrize("size", COUNTS)
def test_equals_the_published_layers_with_their_weights(size):
    torch.manual_seed(0)
    reference, ours = published_pdn(size, 24), PDN(size, 24)
    ours.load_state_dict(pdn_names(reference.state_dict(), "reference"))
    images = torch.randn(2, 3, 41, 50)
    with torch.no_grad():
        assert torch.allclose(ours(images), reference(images), atol=1e-5)
        assert torch.allclose(ours(images, slice(5, 9)), reference(images)[:, 5:9], atol=1e-5)


@pytest.mark.parametrize("size", COUNTS)
def test_counts_are_the_published_ones(size):
    teacher, student = PDN(size, 384), PDN(size, 768)
    counts = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (teacher, student)]
    assert [round(count, 2) for count in counts] == list(COUNTS[size])


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("side", [33, 34, 35, 36, 64, 71])
def test_map_size(side, padding):
    small = PDN("small", 2, padding)
    for name in ("conv1", "conv2", "conv3"):  # narrow, for speed: the size does not depend on widths
        conv = small.get_submodule(name)
        setattr(small, name, nn.Conv2d(3 if name == "conv1" else 2, 2, conv.kernel_size, padding=conv.padding))
    small.conv4 = nn.Conv2d(2, 2, 4)
    found = small(torch.zeros(1, 3, side, 40)).shape[-2:]
    assert found == map_size(side, 40, padding)
    if not padding:
        assert found[0] == -(-side // 4) - 8
    assert map_size(256, 256, padding) == ((64, 64) if padding else (56, 56))


def test_a_cell_sees_33_pixels():
    network = PDN("small", 1).double()
    image = torch.randn(1, 3, 49, 49, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, 2, 1].backward()
    seen = image.grad.abs().sum((0, 1))
    rows, columns = (seen > 1e-12 * seen.max()).nonzero().T  # fewer products leave rounding beside them
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 40, 4, 36)


def test_too_small_a_image_and_unknown_size():
    with pytest.raises(ValueError, match="33 x 33"):
        map_size(32, 256)
    with pytest.raises(ValueError, match=r"narrow, small, medium"):
        PDN("large")


def test_names_of_other_models_are_refused():
    with pytest.raises(ValueError, match=r"file\.pth.*not the weights of a PDN.*layer1"):
        pdn_names({"layer1.weight": torch.zeros(1)}, "file.pth")
    with pytest.raises(ValueError, match="published autoencoder"):
        autoencoder_names({"stem.0.weight": torch.zeros(1)}, "file.pth")
    for size in LAYERS:
        assert size_of(PDN(size, 24).state_dict()) == (size, 24)


def test_published_autoencoder_takes_numbered_names():
    ours = build_autoencoder("conv")
    numbers = {name: index for index, name in NELSON_AUTOENCODER.items()}
    numbered = {}
    for name, value in ours.state_dict().items():
        layer, leaf = name.rsplit(".", 1)
        numbered[f"{numbers[layer]}.{leaf}"] = value
    assert list(autoencoder_names(numbered, "x")) == list(ours.state_dict())
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == 1.10


@pytest.mark.parametrize("kind", AUTOENCODERS.names())
@pytest.mark.parametrize("bottleneck", [64, 256, None])
def test_every_autoencoder_meets_the_teachers_map_and_trains(kind, bottleneck):
    torch.manual_seed(0)
    autoencoder = build_autoencoder(kind, 16, bottleneck, dim=16, heads=2)
    height = 256 if kind == "conv" else 132
    size = map_size(height, 280)
    out = autoencoder(torch.randn(2, 3, height, 280), size)
    assert out.shape == (2, 16, *size)
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in autoencoder.parameters())


@pytest.mark.parametrize("kind", [kind for kind in AUTOENCODERS.names() if kind != "conv"])
@pytest.mark.parametrize("shape", [(128, 128), (128, 200), (256, 256)])
def test_only_the_bottleneck_numbers_pass(kind, shape):
    """The output follows from the `bottleneck` numbers alone."""
    torch.manual_seed(0)
    autoencoder = build_autoencoder(kind, 8, 5, dim=16, heads=2).eval()
    seen = []
    autoencoder.squeeze.register_forward_hook(lambda module, args, out: seen.append(out))
    image = torch.randn(1, 3, *shape)
    with torch.no_grad():
        out = autoencoder(image, map_size(*shape))
        again = autoencoder.decode(seen[0], map_size(*shape))
        again = autoencoder.out(
            autoencoder.smooth(nn.functional.interpolate(again, map_size(*shape), mode="bilinear")).relu()
        )
    assert seen[0].shape == (1, 5)
    assert torch.allclose(out, again, atol=1e-6)


@pytest.mark.parametrize(("kind", "side", "cure"), [("conv", 255, "attention"), ("linear_attention", 127, "128")])
def test_images_that_are_too_small(kind, side, cure):
    with pytest.raises(ValueError, match=rf"(?s)got {side} x 300.*INPUT\.IMAGE_SIZE|{cure}"):
        build_autoencoder(kind)(torch.zeros(1, 3, side, 300), (56, 56))


def test_unknown_autoencoder_lists_the_known():
    with pytest.raises(ValueError, match="linear_attention"):
        build_autoencoder("attention")


def test_positions_of_the_same_place_agree_between_grids():
    positions = Positions(8)
    fine, coarse = positions((12, 9)), positions((4, 3))
    assert torch.allclose(fine[:, :, 1::3, 1::3], coarse, atol=1e-6)


def test_published_networks_together_have_the_published_size():
    for size, total in (("small", 8.06), ("medium", 20.74)):
        networks = Networks(PDN(size, 384), PDN(size, 768), build_autoencoder("conv"))
        assert sum(p.numel() for p in networks.parameters()) / 1e6 == pytest.approx(total, abs=0.011)


def test_student_must_match_the_teacher():
    with pytest.raises(ValueError, match="has 8 channels, expected 2 times the teacher's 8"):
        Networks(PDN("small", 8), PDN("small", 8), nn.Identity())
    with pytest.raises(ValueError, match="has 16 channels, expected 1 times the teacher's 8"):
        Networks(PDN("small", 8), PDN("small", 16), None)
