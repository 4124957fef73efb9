"""The detector: its contract, calibration, tiling, PUAD, and what it refuses."""

import copy

import pytest
import torch

from d2road.checkpoint import Checkpointer
from d2road.config import validate
from d2road.engine.meta_arch import prepare_for_inference
from efficientad.calibration import measure_maps, measure_teacher
from efficientad.inference.raw_maps import RawMaps
from efficientad.modeling.pdn import map_size
from tests.factories.anomaly_models import SIDE, build, calibrated, entries, narrow_networks, small_cfg


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def model():
    return calibrated()


def test_results_of_images_of_any_size(model):
    batch = entries(2) + entries(1, (140, 190), height=70, width=333) + entries(1)
    results = model(batch)
    for entry, result in zip(batch, results):
        assert result["anomaly_map"].shape == (entry["height"], entry["width"])
        assert result["anomaly_map"].dtype == torch.float32
        assert result["anomaly_score"] == result["anomaly_map"].max() and result["anomaly_score"].ndim == 0
        shape = map_size(*entry["image"].shape[-2:])
        assert result["map_student_teacher"].shape == result["map_autoencoder"].shape == shape
        assert result["teacher"] == "a random teacher"
    alone = [model([entry])[0] for entry in batch]
    for one, other in zip(results, alone):
        assert torch.allclose(one["anomaly_map"], other["anomaly_map"], atol=1e-4)
    twice = model([batch[0], batch[0]])
    assert torch.equal(twice[0]["anomaly_map"], twice[1]["anomaly_map"])


def test_uint8_images_and_missing_sizes(model):
    entry = {"image": torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)}
    as_float = {"image": entry["image"].float()}
    assert torch.equal(model([entry])[0]["anomaly_map"], model([as_float])[0]["anomaly_map"])
    assert model([]) == []


def test_folded_for_inference_until_it_changes(model):
    fast, images = copy.deepcopy(model), entries(2, seed=4)
    plain = prepare_for_inference(copy.deepcopy(model))
    fast.fold_for_inference()
    assert fast.inference.prepared and plain.inference.prepared and set(fast.state_dict()) == set(model.state_dict())
    for one, other in zip(fast(images), model(images)):
        assert torch.allclose(one["anomaly_map"], other["anomaly_map"], atol=1e-4)
    with torch.no_grad():
        fast.networks.teacher.conv1.weight.mul_(2)
    assert torch.allclose(fast(images)[0]["anomaly_map"], model(images)[0]["anomaly_map"], atol=1e-4)
    fast.train().eval()
    assert not torch.allclose(fast(images)[0]["anomaly_map"], model(images)[0]["anomaly_map"], atol=1e-2)
    fast.fold_for_inference()
    fast.load_state_dict(model.state_dict())
    assert torch.equal(fast(images)[0]["anomaly_map"], model(images)[0]["anomaly_map"])


def test_black_image_gives_a_finite_map(model):
    result = model([{"image": torch.zeros(3, SIDE, SIDE)}])[0]
    assert torch.isfinite(result["anomaly_map"]).all()


def test_calibrated_quantiles_are_0_and_a_tenth_on_the_calibration_images(model):
    images = entries(4, seed=1)
    for name in ("map_student_teacher", "map_autoencoder"):
        values = torch.cat([model([entry])[0][name].flatten() for entry in images])
        assert torch.allclose(torch.quantile(values, torch.tensor([0.9, 0.995])), torch.tensor([0.0, 0.1]), atol=1e-4)


def test_teacher_statistics_normalise_the_teacher(model):
    images = torch.stack([model.preprocess_image(entry) for entry in entries(4, seed=1)])
    features = model.networks.teacher_features(images)
    assert torch.allclose(features.mean((0, 2, 3)), torch.zeros(8), atol=1e-4)
    assert torch.allclose(features.std((0, 2, 3), correction=0), torch.ones(8), atol=1e-4)


@pytest.mark.parametrize("sizes", [[(SIDE, SIDE)] * 3, [(SIDE, SIDE), (SIDE, 160), (SIDE, SIDE)]])
def test_training_losses_of_a_batch(sizes):
    model = build("MODEL.EFFICIENT_AD.DROPOUT", 0.0).train()
    batch = [entries(1, size, seed=n)[0] for n, size in enumerate(sizes)]
    for entry in batch:
        entry["image_ae"] = entry["image"] * 0.9
        entry["image_penalty"] = entry["image"].flip(-1)
    losses = model(batch)
    names = {"loss_hard", "loss_penalty", "loss_autoencoder", "loss_student_autoencoder"}
    assert set(losses) == names and all(torch.isfinite(value) for value in losses.values())
    # The mean terms of a batch are the means of its images' terms.
    single = [model([entry]) for entry in batch]
    for name in names - {"loss_hard"}:
        assert losses[name].item() == pytest.approx(sum(s[name].item() for s in single) / 3, rel=1e-4)
    sum(losses.values()).backward()
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"student", "autoencoder"}
    del batch[0]["image_penalty"], batch[1]["image_penalty"], batch[2]["image_penalty"]
    assert set(model(batch)) == names - {"loss_penalty"}


@pytest.mark.parametrize("kind", ["conv", "softmax_attention", "gated_linear_attention", "relu_linear_attention"])
@pytest.mark.parametrize("bottleneck", [0, 256])
@pytest.mark.parametrize("padding", [False, True])
def test_every_kind_trains_and_detects(kind, bottleneck, padding):
    keys = ("AUTOENCODER", kind, "BOTTLENECK", bottleneck, "PADDING", padding)
    pairs = [f"MODEL.EFFICIENT_AD.{key}" if n % 2 == 0 else key for n, key in enumerate(keys)]
    side = 256 if kind == "conv" else SIDE
    model = build("INPUT.IMAGE_SIZE", f"({side}, {side})", *pairs)
    assert sum(model.train()(entries(1, side)).values()) > 0
    result = model.eval().detect(entries(1, side))[0]
    assert result["map_autoencoder"].shape == ((side // 4,) * 2 if padding else (side // 4 - 8,) * 2)


# --- calibration state ---


def test_uncalibrated_models_refuse_with_the_cure():
    model = build().eval()
    with pytest.raises(ValueError, match=r"not calibrated.*train_net\.py.*--calibrate-on"):
        model(entries(1))


def test_checkpoints_carry_the_calibration(model, tmp_path):
    Checkpointer(model, str(tmp_path)).save("model_final")
    path = str(tmp_path / "model_final.pth")
    other = build(seed=9).eval()
    Checkpointer(other).load(path, require="all")
    assert torch.equal(other(entries(1))[0]["anomaly_map"], model(entries(1))[0]["anomaly_map"])
    assert other.state.teacher_name == "a random teacher"
    changed = build("MODEL.EFFICIENT_AD.COMPAT", "paper").eval()
    Checkpointer(changed).load(path, require="all")
    with pytest.raises(ValueError, match=r"calibrated for COMPAT nelson1425.*config says COMPAT paper"):
        changed(entries(1))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("AUTOENCODER", "softmax_attention", "linear_attention in the checkpoint and softmax_attention"),
        ("AUTOENCODER", "conv", "AUTOENCODER is linear_attention"),
        ("BOTTLENECK", 256, "BOTTLENECK is 64 in the checkpoint and 256"),
        ("SIZE", "medium", "SIZE is small"),
        ("PADDING", True, "PADDING is False"),
    ],
)
def test_checkpoint_of_another_network_is_refused(model, tmp_path, key, value, said):
    Checkpointer(model, str(tmp_path)).save("model_final")
    size = ("INPUT.IMAGE_SIZE", "(256, 256)")
    other = build(f"MODEL.EFFICIENT_AD.{key}", value, *size)
    with pytest.raises(ValueError, match=f"another network.*{said}"):
        Checkpointer(other).load(str(tmp_path / "model_final.pth"), require="parameters")


def test_degenerate_images():
    grey = [[{"image": torch.full((3, SIDE, SIDE), 90.0)}] for _ in range(3)]
    model = build()
    with pytest.raises(ValueError, match="8 of 8 channels are constant"):
        measure_teacher(model, grey, "x")
    measure_teacher(model, [entries(2)], "x")
    model.eval()
    model.networks.raw_maps = None
    with pytest.raises(ValueError, match="no good validation image"):
        measure_maps(model, [])


def test_equal_map_values_are_refused(monkeypatch):
    model = build()
    measure_teacher(model, [entries(2)], "x")
    raw = RawMaps(torch.ones(1, 2, 24, 24), [(0, 0, SIDE, SIDE)], (SIDE, SIDE))
    monkeypatch.setattr(model, "raw_maps", lambda images: iter([raw]))
    with pytest.raises(ValueError, match=r"student-teacher map.*are equal"):
        measure_maps(model, [entries(2)])
    assert not model.state.calibrated_for


def test_measuring_leaves_the_mode_as_it_was():
    model = build().train()
    measure_teacher(model, [entries(2)], "x")
    measure_maps(model, [entries(2)])
    assert model.training and not model.networks.teacher.training


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.full((3, SIDE, SIDE), float("nan")), "a.png.*NaN"),
        (torch.zeros(1, SIDE, SIDE), r"expected \(3, height, width\)"),
        (torch.zeros(3, 100, 300), "at least 128 x 128"),
    ],
)
def test_bad_images(model, image, said):
    entry = {"image": image, "file_name": "a.png"}
    with pytest.raises(ValueError, match=said):
        model([entry])
    with pytest.raises(ValueError, match=said):
        copy.deepcopy(model).train()([entry])


def test_jittered_image_of_another_size():
    entry = {**entries(1)[0], "image_ae": torch.zeros(3, SIDE, SIDE + 4)}
    with pytest.raises(ValueError, match="image_ae is"):
        build().train()([entry])


# --- tiling, PUAD ---

TILES = ("MODEL.EFFICIENT_AD.TILING.ENABLED", True, "MODEL.EFFICIENT_AD.TILING.TILE", f"({SIDE}, {SIDE})")


def test_a_image_of_one_tile_is_as_without_tiles():
    batches = [[entry] for entry in entries(3, seed=1)]
    whole, tiled = calibrated(batches=batches), calibrated(*TILES, batches=batches)
    image = entries(1, seed=7)
    assert torch.allclose(whole(image)[0]["anomaly_map"], tiled(image)[0]["anomaly_map"], atol=1e-5)


def test_tiles_of_large_images():
    model = calibrated(*TILES, batches=[entries(1, (200, 300), seed=1)])
    result = model(entries(1, (200, 300)))[0]
    assert result["anomaly_map"].shape == (200, 300)
    assert result["map_autoencoder"].shape == (200, 300)
    raw = next(model.raw_maps(model.preprocess(entries(1, (200, 300)))))
    assert raw.tiles.shape == (2 * 3, 2, 24, 24)
    # A blot shows in the map where it is, also on the seam between tiles.
    blot = entries(1, (200, 300))
    blot[0]["image"][:, 90:110, 140:160] = 2000.0
    difference = (model(blot)[0]["anomaly_map"] - result["anomaly_map"]).abs()
    y, x = divmod(int(difference.argmax()), 300)
    assert 70 < y < 130 and 120 < x < 180
    losses = model.train()(entries(2, (200, 300)))
    assert all(torch.isfinite(value) for value in losses.values())


def test_puad_adds_the_distance_of_mean_features():
    batches = [[entry] for entry in entries(6, seed=1)]
    model = calibrated("MODEL.EFFICIENT_AD.PUAD.ENABLED", True, batches=batches)
    good, red = entries(1, seed=2), entries(1, seed=2)
    red[0]["image"][0] += 300
    results = [model(image)[0] for image in (good, red)]
    assert results[0]["map_score"] == results[0]["anomaly_map"].max()
    assert results[1]["anomaly_score"] > results[0]["anomaly_score"] + 3
    with pytest.raises(ValueError, match="PUAD needs"):
        measure_maps(model, batches)


# --- config ---


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("MODEL.EFFICIENT_AD.SIZE", "large", "choose one of narrow, small, medium"),
        ("MODEL.EFFICIENT_AD.COMPAT", "nelson", "nelson1425"),
        ("MODEL.EFFICIENT_AD.AUTOENCODER", "attention", "linear_attention"),
        ("MODEL.EFFICIENT_AD.BOTTLENECK", -1, "0 for no bottleneck"),
        ("MODEL.EFFICIENT_AD.ATTENTION_HEADS", 3, "must divide"),
        ("MODEL.EFFICIENT_AD.DROPOUT", 1.0, "below|not including"),
        ("MODEL.EFFICIENT_AD.HARD_QUANTILE", 1.0, "not including 1"),
        ("MODEL.EFFICIENT_AD.CALIBRATION.QUANTILES", (0.9,), "two rising"),
        ("MODEL.EFFICIENT_AD.CALIBRATION.METHOD", "hist", "histogram"),
        ("MODEL.EFFICIENT_AD.CALIBRATION.FALSE_POSITIVE_RATE", 0.0, "between 0 and 1"),
        ("DATASETS.PENALTY_IMAGES", "/nowhere", "no folder"),
        ("INPUT.AUTOENCODER_JITTER", ("hue",), "brightness"),
        ("INPUT.AUTOENCODER_JITTER_RANGE", (1.2, 0.8), "rising"),
        ("INPUT.FORMAT", "BGR", "RGB"),
        ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0], "ImageNet"),
        ("INPUT.IMAGE_SIZE", (100, 200), "at least 128"),
        ("INPUT.IMAGE_SIZE", (256,), "two numbers"),
    ],
)
def test_wrong_keys_are_named_with_the_cure(key, value, said):
    with pytest.raises(ValueError, match=f"(?s){key}.*{said}"):
        validate(small_cfg(key, value))
    validate(small_cfg())


def test_conv_autoencoder_needs_256_pixels_and_tiles_are_checked():
    with pytest.raises(ValueError, match=r"at least 256 pixels.*attention autoencoders take 128"):
        validate(small_cfg("MODEL.EFFICIENT_AD.AUTOENCODER", "conv"))
    with pytest.raises(ValueError, match=r"TILING\.TILE.*at least 128"):
        validate(small_cfg(*TILES[:3], "(64, 64)", "INPUT.IMAGE_SIZE", "(0, 0)"))
    with pytest.raises(ValueError, match=r"TILING\.OVERLAP"):
        validate(small_cfg(*TILES, "MODEL.EFFICIENT_AD.TILING.OVERLAP", 1.0))


def test_no_bottleneck_by_null_or_zero():
    assert all(
        build("MODEL.EFFICIENT_AD.BOTTLENECK", value).networks.autoencoder.bottleneck is None for value in (None, 0)
    )
