"""Features of a frozen extractor as the teacher: its target, the student beside it, training, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2road.config.validate import find_problems
from d2road.engine import Predictor, evaluate
from d2road.modeling.backbone.packaged_weights import build_packaged_classifier
from d2road.utils.errors import CheckpointError, ConfigError
from efficientad.calibration import measure_teacher
from efficientad.inference.quantization import prepare_networks
from efficientad.modeling.extractor_teacher import FeatureCache
from efficientad.modeling.unet_student import UNetStudent
from efficientad.network_builder import build_networks
from efficientad.teacher_loading import fill_teacher
from tests.efficientad.test_training import run_cfg, train
from tests.factories.anomaly_models import build, calibrated, entries, small_cfg, write_category

SIDE = 256  # the autoencoder sees half of it
FEATURES = ("MODEL.EFFICIENT_AD.TEACHER", "features:efficientnet_lite0", "INPUT.IMAGE_SIZE", (SIDE, SIDE))


def filled(*pairs):
    model = build(*FEATURES, *pairs)
    label = fill_teacher(model.networks.teacher, small_cfg(*FEATURES).MODEL.EFFICIENT_AD)
    return model, label


@torch.no_grad()
def test_the_target_is_timms_features_averaged_enlarged_and_normalised():
    model, label = filled()
    assert label.startswith("features of EfficientNet-Lite0 (")
    images = [entry["image"] for entry in entries(3, SIDE, seed=2)]
    net = build_packaged_classifier("tf_efficientnet_lite0")

    def expected(image):
        x = net.bn1(net.conv_stem((image[None] - 127) / 128))
        maps = [x := block(x) for block in net.blocks]
        fine, coarse = (nn.AvgPool2d(3, 1, 1)(maps[i]) for i in (2, 4))
        return torch.cat([fine, F.interpolate(coarse, size=(SIDE // 8, SIDE // 8), mode="bilinear")], dim=1)

    targets = torch.cat([expected(image) for image in images])
    mean, std = targets.mean((0, 2, 3)), targets.std((0, 2, 3), correction=0)
    measure_teacher(model, [[{"image": image}] for image in images], label)
    found = model.networks.teacher_features(model.preprocess([{"image": image} for image in images]))
    torch.testing.assert_close(found, (targets - mean.view(-1, 1, 1)) / std.view(-1, 1, 1), atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_losses_are_those_of_the_images_at_half_their_size():
    model, _ = filled("MODEL.EFFICIENT_AD.DROPOUT", 0.0, "MODEL.EFFICIENT_AD.HARD_QUANTILE", 0.0)
    networks = model.networks
    networks.teacher_mean, networks.teacher_std = torch.randn(152), torch.rand(152) + 0.5
    images, jittered, penalty = (model.preprocess(entries(2, SIDE, seed=seed)) for seed in (3, 4, 5))
    found = networks.losses(images, jittered, penalty)
    half = [F.interpolate(x, scale_factor=0.5, mode="area") for x in (images, jittered, penalty)]
    student, student_ae, silent = (networks.student(x) for x in half)
    teacher, teacher_ae = networks.teacher_features(images), networks.teacher_features(jittered)
    autoencoder = networks.autoencoder(half[1], (SIDE // 8, SIDE // 8))
    assert float(found["loss_hard"]) == pytest.approx(float(F.mse_loss(student[:, :152], teacher)), rel=1e-4)
    assert float(found["loss_penalty"]) == pytest.approx(float(silent[:, :152].square().mean()), rel=1e-4)
    assert float(found["loss_autoencoder"]) == pytest.approx(float(F.mse_loss(autoencoder, teacher_ae)), rel=1e-4)
    expected = float(F.mse_loss(autoencoder, student_ae[:, 152:]))
    assert float(found["loss_student_autoencoder"]) == pytest.approx(expected, rel=1e-4)


def test_images_without_jitter_go_through_the_networks_once_with_the_same_losses():
    model, _ = filled("MODEL.EFFICIENT_AD.DROPOUT", 0.0)
    images = model.preprocess(entries(2, SIDE, seed=3))
    once, twice = model.networks.losses(images, images), model.networks.losses(images, images.clone())
    for name, value in once.items():
        torch.testing.assert_close(value, twice[name], rtol=1e-5, atol=1e-6)
    batch = [{**entry, "image_ae": entry["image"].clone()} for entry in entries(2, SIDE, seed=3)]
    prepared = model.preprocess_for_training(batch)
    assert prepared[0] is prepared[1]
    batch[0]["image_ae"] = batch[0]["image_ae"] * 0.9
    prepared = model.preprocess_for_training(batch)
    assert not torch.equal(prepared[0], prepared[1])


def test_features_of_training_images_are_computed_once_while_there_is_room():
    model, _ = filled("MODEL.EFFICIENT_AD.EXTRACTOR.CACHE_MB", 1)
    teacher, seen = model.networks.teacher, []
    teacher.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    images = model.preprocess(entries(2, SIDE))
    first = teacher.recurring(images)
    again = teacher.recurring(images.flip(0)).flip(0)
    assert torch.equal(first, again)
    torch.testing.assert_close(first, torch.cat([teacher(image[None]) for image in images]), rtol=5e-4, atol=1e-6)
    # 152 x 32 x 32 in half precision are 0.3 MB: three of four are kept.
    assert len(teacher.cache.features) == 2 and seen == [1, 1, 1, 1]
    more = model.preprocess(entries(2, SIDE, seed=1))
    assert torch.equal(teacher.recurring(more), teacher.recurring(more))
    assert len(teacher.cache.features) == 3 and seen == [1] * 7
    assert copy.deepcopy(model).networks.teacher.cache.features == {}
    none, calls = FeatureCache(0), []
    for _ in range(2):
        none.get(images[:1], lambda image: calls.append(1) or image)
    assert len(calls) == 2
    large = torch.full((1, 2), 1e6)  # beyond half precision: kept as it is
    cache = FeatureCache(100)
    assert torch.equal(cache.get(images[:1], lambda image: large), large)
    assert torch.equal(cache.get(images[:1], lambda image: images), large)


def test_features_are_not_rounded_by_mixed_precision():
    model, _ = filled()
    images = model.preprocess(entries(1, SIDE))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.networks.training_targets(images, [])
    assert torch.equal(mixed, model.networks.training_targets(images, []))


def test_without_an_autoencoder_both_maps_are_the_students(tmp_path):
    alone = ("MODEL.EFFICIENT_AD.AUTOENCODER", "none")
    networks = filled(*alone)[0].networks
    networks.hard_quantile = 0.0
    images, jittered = (torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    losses = networks.losses(images, jittered)
    target, half = networks.teacher_features(images), F.avg_pool2d(images, 2)
    error = (networks.student(half) - target).square()
    assert set(losses) == {"loss_hard"}
    torch.testing.assert_close(losses["loss_hard"], error.mean())
    with torch.no_grad():
        maps = networks.eval().raw_maps(images)
    torch.testing.assert_close(maps, error.detach().mean(1, keepdim=True).expand(-1, 2, -1, -1))
    cfg = run_cfg(write_category(tmp_path, side=SIDE), tmp_path / "out", *FEATURES, *alone, "INPUT.SYMMETRIES", True)
    assert not find_problems(cfg)
    _, results = train(cfg)
    weights = tmp_path / "out" / "model_final.pth"
    assert not any("autoencoder" in name for name in torch.load(weights, weights_only=True)["model"])
    cfg.MODEL.WEIGHTS = str(weights)
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    with pytest.raises(CheckpointError, match="AUTOENCODER is none in the checkpoint"):
        filled()[0].load_state_dict(torch.load(weights, weights_only=True)["model"])


def test_trains_is_calibrated_and_loaded_again(tmp_path):
    cfg = run_cfg(write_category(tmp_path, side=SIDE), tmp_path / "out", *FEATURES)
    assert not find_problems(cfg)
    _, results = train(cfg)
    weights = tmp_path / "out" / "model_final.pth"
    saved = torch.load(weights, weights_only=True)["model"]
    assert any(name.startswith("networks.teacher.extractor.") for name in saved)
    cfg.MODEL.WEIGHTS, cfg.MODEL.EFFICIENT_AD.EXTRACTOR.FEATURE_WEIGHTS = str(weights), "/gone/weights.pth"
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    found = Predictor(cfg)(str(next((tmp_path / "tiles" / "test" / "blot").glob("*.png"))))
    assert found["teacher"].startswith("features of EfficientNet-Lite0 (")
    assert found["map_student_teacher"].shape == found["map_autoencoder"].shape == (SIDE // 8, SIDE // 8)


def test_maps_of_images_of_any_size_and_of_tiles():
    batches = [[entry] for entry in entries(3, SIDE, seed=1)]
    model = calibrated(*FEATURES, "MODEL.EFFICIENT_AD.PUAD.ENABLED", True, batches=batches)
    entry = entries(1, (270, 331), height=100, width=120)[0]
    result = model([entry])[0]
    assert result["anomaly_map"].shape == (100, 120) and result["map_autoencoder"].shape == (34, 42)
    tiles = ("MODEL.EFFICIENT_AD.TILING.ENABLED", True, "INPUT.IMAGE_SIZE", (0, 0))
    result = calibrated(*FEATURES, *tiles, batches=batches)([entry])[0]
    assert result["anomaly_map"].shape == (100, 120) and torch.isfinite(result["anomaly_map"]).all()


def test_another_teacher_in_a_checkpoint_is_refused():
    features, pdn = build(*FEATURES), build("INPUT.IMAGE_SIZE", (SIDE, SIDE))
    with pytest.raises(CheckpointError, match="TEACHER is features:efficientnet_lite0 in the checkpoint and a PDN"):
        pdn.load_state_dict(features.state_dict())
    with pytest.raises(CheckpointError, match="TEACHER is a PDN in the checkpoint and features:efficientnet_lite0"):
        features.load_state_dict(pdn.state_dict())
    other = build(*FEATURES, "MODEL.EFFICIENT_AD.EXTRACTOR.LAYERS", ("s8",))
    with pytest.raises(CheckpointError, match=r"LAYERS is s8\+s16 in the checkpoint and s8 in the config"):
        other.load_state_dict(features.state_dict())


def test_what_cannot_be_is_said_before_anything_is_built():
    def problems(*pairs):
        return " ".join(find_problems(small_cfg(*FEATURES, *pairs)))

    assert not problems()
    assert "efficientnet_lite0" in problems("MODEL.EFFICIENT_AD.TEACHER", "features:efficientnet_litte0")
    assert "name some of them" in problems("MODEL.EFFICIENT_AD.EXTRACTOR.LAYERS", ("s3",))
    assert "odd number" in problems("MODEL.EFFICIENT_AD.EXTRACTOR.NEIGHBOURHOOD", 2)
    assert "teachers that are a PDN" in problems("INFERENCE.PRECISION", "int8")
    assert "at least 256 pixels" in problems("INPUT.IMAGE_SIZE", (128, 128))
    assert "square one" in problems("INPUT.SYMMETRIES", True, "INPUT.IMAGE_SIZE", (256, 320))
    pdn = find_problems(small_cfg("MODEL.EFFICIENT_AD.AUTOENCODER", "none"))
    assert "AUTOENCODER is 'none': choose one of" in " ".join(pdn) and "none needs TEACHER features:NAME" in " ".join(
        pdn
    )
    networks = build_networks(small_cfg(*FEATURES))
    with pytest.raises(ConfigError, match="features of an extractor"):
        prepare_networks(networks, "int8")
    assert prepare_networks(networks) is networks


def test_the_student_takes_images_of_any_size_and_computes_parts_of_its_channels():
    student = UNetStudent(6, dim=8)
    images = torch.randn(2, 3, 70, 93)
    whole = student(images)
    assert whole.shape == (2, 6, 18, 24)
    torch.testing.assert_close(student(images, slice(2, 5)), whole[:, 2:5], rtol=1e-5, atol=1e-6)
    # Beyond a PDN's 33 pixels: a change far from a cell reaches it.
    changed = images.clone()
    changed[..., 60:] += 5
    assert not torch.allclose(student(changed)[..., 5], whole[..., 5], atol=1e-6)
