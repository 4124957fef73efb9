"""Bad input through the whole way, from files to the Trainer and back: told in words, before it costs a training."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine.hooks import CallbackHook

from d2road.engine import Trainer, evaluate
from efficientad import calibration
from efficientad.modeling.pdn import PDN
from tests.factories.anomaly_models import SIDE, image_of, narrow_networks, small_cfg, write_category


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture
def category(tmp_path):
    """A category of its own, to break."""
    return write_category(tmp_path / "data", num_train=4, num_test=2)


def cfg_of(category: Path, *pairs):
    return small_cfg(
        *("OUTPUT_DIR", str(category.parent / "out"), "DATASETS.TRAIN", (f"mvtec:{category}",)),
        *("DATASETS.TEST", (f"mvtec:{category}:test",), "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", ()),
        *("TEST.ANOMALY.BOOTSTRAP", 0, *pairs),
    )


def trainer_of(cfg, steps: list[int]) -> Trainer:
    """A trainer that counts its steps."""
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([CallbackHook(after_step=lambda t: steps.append(t.iter))])
    return trainer


def train(cfg) -> dict:
    return trainer_of(cfg, []).train()


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def refused_before_a_step(cfg, kind: type[Exception], words: str) -> None:
    steps: list[int] = []
    with pytest.raises(kind, match=words):
        trainer_of(cfg, steps).train()
    assert not steps and not list(Path(cfg.OUTPUT_DIR).glob("model_*.pth"))


def test_missing_category(category):
    shutil.rmtree(category / "train")
    refused_before_a_step(cfg_of(category), FileNotFoundError, r"train/good \(images to train on\) does not exist")


def test_missing_mask_and_mask_of_another_size(category):
    cfg = cfg_of(category)
    mask = files(category / "ground_truth" / "blot")[0]
    cv2.imwrite(str(mask), np.zeros((SIDE, SIDE // 2), np.uint8))
    with pytest.raises(ValueError, match=rf"{mask.name} is {SIDE // 2}x{SIDE}, image .* is {SIDE}x{SIDE}"):
        train(cfg)
    # The training is not lost: evaluated with the mask repaired, the model is the one that was trained.
    assert (category.parent / "out" / "model_final.pth").is_file()
    mask.unlink()
    cfg.MODEL.WEIGHTS = str(category.parent / "out" / "model_final.pth")
    with pytest.raises(FileNotFoundError, match=r"test/blot/000\.png has no mask: expected"):
        evaluate(cfg)
    cv2.imwrite(str(mask), np.full((SIDE, SIDE), 255, np.uint8))
    assert np.isfinite(evaluate(cfg)["anomaly"]["image_auroc"])


def test_one_training_image(category):
    for path in files(category / "train" / "good")[1:]:
        path.unlink()
    refused_before_a_step(cfg_of(category), ValueError, "there is 1 good image .* at least 2 are needed")
    # With images of their own to calibrate with, one is enough.
    shutil.copytree(category / "test" / "good", category / "validation" / "good")
    assert np.isfinite(train(cfg_of(category))["anomaly"]["image_auroc"])


def test_no_validation_image(category):
    (category / "validation" / "good").mkdir(parents=True)
    refused_before_a_step(cfg_of(category), ValueError, r"validation/good \(images to calibrate with\) holds no image")
    shutil.rmtree(category / "validation")
    cfg = cfg_of(category, "DATASETS.CALIBRATION", ("mvtec:/nowhere/tiles:validation",))
    refused_before_a_step(cfg, FileNotFoundError, "/nowhere/tiles")


def test_one_validation_image_and_puad(category):
    refused_before_a_step(
        cfg_of(category, "MODEL.EFFICIENT_AD.PUAD.ENABLED", True), ValueError, "PUAD standardises .* there is 1: name"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_to_calibrate_with_that_cannot_be_read(category, workers):
    shutil.copytree(category / "test" / "good", category / "validation" / "good")
    path = files(category / "validation" / "good")[1]
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    cfg = cfg_of(category, "DATALOADER.NUM_WORKERS", workers)
    refused_before_a_step(cfg, ValueError, rf"(?s){path.name}.* cannot be read as an image")


def test_nan_in_a_image(category):
    cv2.imwrite(str(category / "train" / "good" / "100.tiff"), np.full((SIDE, SIDE), np.nan, np.float32))
    refused_before_a_step(cfg_of(category), ValueError, r"100\.tiff has 16384 pixel\(s\) that are NaN or infinite")


def test_grey_and_sixteen_bit_images(category):
    rng = np.random.default_rng(0)
    for number, folder in enumerate(("train/good", "test/good", "test/good")):
        grey = image_of(rng)[:, :, 0]
        cv2.imwrite(str(category / folder / f"{100 + number}.png"), grey)
        cv2.imwrite(str(category / folder / f"{200 + number}.png"), grey.astype(np.uint16) * 257)
    assert np.isfinite(train(cfg_of(category))["anomaly"]["aupro"])


def test_black_images(category):
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    for folder in ("train/good", "test/good"):
        cv2.imwrite(str(category / folder / "100.png"), black)
    results = train(cfg_of(category))["anomaly"]
    assert np.isfinite([results["image_auroc"], results["good_threshold"]]).all(), "one among others"
    for path in files(category / "train" / "good"):
        cv2.imwrite(str(path), black)
    cfg = cfg_of(category, "OUTPUT_DIR", str(category.parent / "black"))
    refused_before_a_step(cfg, ValueError, "channels are constant over all training images.*all of one colour")


def test_a_training_whose_maps_cannot_be_calibrated_is_not_lost(category, monkeypatch):
    cfg = cfg_of(category)
    monkeypatch.setattr(calibration, "check_quantiles", refuse)
    with pytest.raises(ValueError, match="are equal"):
        train(cfg)
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert saved["iteration"] == cfg.SOLVER.MAX_ITER - 1
    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    with pytest.raises(ValueError, match="not calibrated"):
        evaluate(cfg)


def refuse(start: float, end: float, name: str) -> None:
    raise ValueError(f"those of the {name} map are equal")


def test_checkpoint_of_another_autoencoder(category):
    cfg = cfg_of(category)
    train(cfg)
    weights = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    other = cfg_of(category, "MODEL.EFFICIENT_AD.AUTOENCODER", "softmax_attention", "MODEL.WEIGHTS", weights)
    words = "AUTOENCODER is linear_attention in the checkpoint and softmax_attention in the config"
    with pytest.raises(ValueError, match=words):
        evaluate(other)
    with pytest.raises(ValueError, match=words):  # also to go on from it
        Trainer(other).resume_or_load(resume=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no weights", "truncated or not a weights file"),
        ({"conv1.weight": torch.zeros(2, 3, 4, 4)}, "not the weights of a PDN"),
        ("medium", "this is a medium teacher, the config says small"),
    ],
)
def test_teacher_of_a_wrong_size_or_format(category, content, words):
    path = category.parent / "teacher.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(PDN("medium", 8, False).state_dict() if content == "medium" else content, path)
    refused_before_a_step(cfg_of(category, "MODEL.EFFICIENT_AD.TEACHER", str(path)), ValueError, words)
