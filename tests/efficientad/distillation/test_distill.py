"""Distillation: descriptions against a plain PatchCore, offline features, and a teacher that EfficientAD takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from d2road.config import make_cfg, validate
from d2road.data import register_by_name
from d2road.engine import Trainer
from efficientad.checkpoint.teacher_files import load_teacher
from efficientad.distillation.patch_features import describe_patches
from efficientad.modeling.feature_extractors import build_extractor
from efficientad.modeling.pdn import PDN
from tests.factories.anomaly_models import SIDE, entries, narrow_networks, small_cfg, write_category

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "efficientad"


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def distill_cfg(*pairs):
    pairs = ["MODEL.EFFICIENT_AD.DISTILL.FEATURES", "efficientnet_lite0", "INPUT.AUTOENCODER_JITTER", (), *pairs]
    return small_cfg("MODEL.META_ARCHITECTURE", "TeacherDistillation", *pairs)


def patches_one_by_one(layers, channels, pooled):
    """Each patch cut out, enlarged between grids as whole patches, then averaged: the order of PatchCore."""
    height, width = layers[0].shape[-2:]
    columns = []
    for layer in layers:
        patches = F.unfold(layer, 3, padding=1).unflatten(2, layer.shape[-2:])
        if patches.shape[-2:] != (height, width):
            patches = F.interpolate(patches, (height, width), mode="bilinear", align_corners=False)
        rows = patches.flatten(2).transpose(1, 2)
        columns.append(torch.stack([F.adaptive_avg_pool1d(row, pooled) for row in rows]))
    rows = torch.stack(columns, 2).flatten(2)
    rows = torch.stack([F.adaptive_avg_pool1d(row, channels) for row in rows])
    return rows.transpose(1, 2).unflatten(2, (height, width))


@pytest.mark.parametrize("pooled", [16, 100])
def test_descriptions_are_patchcores(pooled):
    layers = [torch.randn(2, 5, 8, 6), torch.randn(2, 7, 4, 3)]
    expected = patches_one_by_one(layers, 9, pooled)
    assert torch.allclose(describe_patches(layers, 9, pooled), expected, atol=1e-5)


def test_lite0_features_are_those_of_the_classifier():
    """Against the network with its packaged weights, up to the stages of stride 8 and 16."""
    from d2road.modeling.backbone.packaged_weights import build_packaged_classifier

    images = torch.rand(1, 3, 64, 64) * 255
    fine, coarse = build_extractor("efficientnet_lite0")(images)
    assert fine.shape[-2:] == (8, 8) and coarse.shape[-2:] == (4, 4)
    net = build_packaged_classifier("tf_efficientnet_lite0")
    with torch.no_grad():
        x = net.bn1(net.conv_stem((images - 127) / 128))
        maps = [x := block(x) for block in net.blocks]
    assert torch.allclose(fine, maps[2], atol=1e-4) and torch.allclose(coarse, maps[4], atol=1e-4)


def test_wrong_feature_networks(tmp_path):
    with pytest.raises(ValueError, match=r"needs a file.*wide_resnet101_2-32ee1156\.pth.*efficientnet_lite0"):
        build_extractor("wide_resnet101")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        build_extractor("wide_resnet101", str(tmp_path / "gone.pth"))
    with pytest.raises(ValueError, match=r"'resnet18' does not exist.*efficientnet_lite2.*wide_resnet101"):
        build_extractor("resnet18")
    for key, value in (("INPUT.IMAGE_SIZE", (100, 128)), ("MODEL.EFFICIENT_AD.DISTILL.FEATURES", "x")):
        with pytest.raises(ValueError, match=key):
            validate(distill_cfg(key, value))


def test_a_distilled_teacher_is_taken_by_efficientad(tmp_path):
    category = write_category(tmp_path / "data", 5, 1)
    cfg = distill_cfg(
        *("DATASETS.TRAIN", (f"images:{category}",), "OUTPUT_DIR", str(tmp_path / "out")),
        *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 12, "SOLVER.BASE_LR", 0.005, "SOLVER.STEPS", ()),
    )
    validate(cfg)
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    model = trainer.bare_model
    images = entries(2)
    trainer.train()
    saved = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]
    assert not any("backbone" in name for name in saved)
    with torch.no_grad():
        errors = [float(x["distillation_error"]) for x in model.eval()(images)]
    assert np.isfinite(errors).all() and model.feature_std.min() > 0
    teacher = PDN("small", 8)
    label = load_teacher(teacher, str(tmp_path / "out" / "model_final.pth"))
    assert label.startswith("PDN distilled from EfficientNet-Lite0 (")
    assert torch.equal(teacher.conv1.weight, model.teacher.conv1.weight)


def test_distillation_learns():
    """On one image the error falls well below that of a silent teacher, which is about 1."""
    torch.manual_seed(0)
    model = build_model(distill_cfg()).train()
    model.grayscale = 0.0
    image = [{"image": F.interpolate(torch.rand(1, 3, 12, 12) * 255, SIDE, mode="bilinear")[0]}]
    features = model.describe(image[0]["image"][None])
    model.feature_mean.copy_(features.mean((0, 2, 3)))
    model.feature_std.copy_(features.std((0, 2, 3)))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = model(image)["loss_distill"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1, abs=0.2) and losses[-1] < 0.75


def test_a_part_of_an_image_has_the_error_of_its_own_patches():
    """Unpadded, on a part: the mean over the cells of the whole image that lie in it."""
    torch.manual_seed(0)
    crop = 2 * SIDE // 3 // 16 * 16
    keys = ("MODEL.EFFICIENT_AD.DISTILL.PADDING", False, "MODEL.EFFICIENT_AD.DISTILL.GRAYSCALE", 0.0)
    model = build_model(distill_cfg(*keys, "MODEL.EFFICIENT_AD.DISTILL.CROP", crop)).train()
    image = F.interpolate(torch.rand(1, 3, 12, 12) * 255, SIDE, mode="bilinear")[0]
    parts = [model.cropped(image) for _ in range(20)]
    assert {part.shape for part in parts} == {(3, crop, crop)} and len({float(part.sum()) for part in parts}) > 1
    part = parts[0]
    model.cropped = lambda image: part
    found = float(model([{"image": image}])["loss_distill"].detach())
    target = model.describe(part[None])[..., 4:-4, 4:-4]  # mean 0 and deviation 1 are not measured
    half = F.interpolate(part[None], size=[crop // 2] * 2, mode="bilinear", antialias=True)
    half = (half - model.pixel_mean) / model.pixel_std
    padded = PDN("small", model.teacher.out_channels, padding=True)
    padded.load_state_dict(model.teacher.state_dict())
    inner = padded(half)[..., 4:-4, 4:-4]
    assert found == pytest.approx(float((inner - target).square().mean().detach()), rel=1e-4)
    del model.cropped
    assert model.eval().cropped(image) is image
    for wrong in (100, 2 * SIDE):
        with pytest.raises(ValueError, match="CROP"):
            validate(distill_cfg("MODEL.EFFICIENT_AD.DISTILL.CROP", wrong))
    small = ("INPUT.IMAGE_SIZE", (64, 64), "MODEL.EFFICIENT_AD.DISTILL.PADDING")
    validate(distill_cfg(*small, True))
    with pytest.raises(ValueError, match=r"with DISTILL\.PADDING False multiples of 16 from 80"):
        validate(distill_cfg(*small, False))


def test_images_below_a_folder_without_masks(tmp_path):
    from detectron2.data import DatasetCatalog

    category = write_category(tmp_path, 3, 2)
    name = f"images:{category}"
    register_by_name(name)
    assert len(DatasetCatalog.get(name)) == 3 + 2 + 2
    register_by_name(f"images:{tmp_path}/gone")
    with pytest.raises(FileNotFoundError, match="gone"):
        DatasetCatalog.get(f"images:{tmp_path}/gone")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_configs_of_the_project_are_valid_but_for_their_data(path):
    cfg = make_cfg(str(path))
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.DATASETS.PENALTY_IMAGES = ""
    validate(cfg)
