"""Predicting from files and arrays."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from PIL import ExifTags, Image

from d2road.config import make_cfg
from d2road.config import setup as config_setup
from d2road.engine import Predictor
from d2road.engine import predictor as predictor_module
from d2road.structures import Camera
from d2road.utils.errors import ConfigError, DataError
from tests.factories.tiny_system import make_data, tiny_cfg


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def cfg(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    cfg = tiny_cfg(data, folder, "MODEL.WEIGHTS", folder / "model.pth")
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    return cfg


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_sees_what_detectron2_sees(cfg, data, order):
    cfg.INPUT.FORMAT = order
    ours, theirs = Predictor(cfg, batch_size=2), DefaultPredictor(cfg)
    files = sorted((data / "val").glob("*.png"))[:3]
    seen = []
    for predictor in (ours, theirs):
        predictor.model.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    found = ours(files)
    for file in files:
        theirs(cv2.imread(str(file)))
    for mine, given in zip(seen[:3], seen[3:]):
        assert torch.equal(mine["image"], given["image"])
        assert (mine["height"], mine["width"]) == (given["height"], given["width"])
    assert len(found) == 3 and found[0]["instances"].image_size == (64, 48)
    assert found[0]["instances"].scores.device.type == "cpu"
    one = ours(cv2.imread(str(files[0])))
    assert torch.equal(one["instances"].scores, ours(str(files[0]))["instances"].scores)
    assert ours([]) == [] and ours.metadata.thing_classes == ["rectangle"]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_images_of_pillow_are_seen_as_their_file(cfg, tmp_path, mode):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 52, 3)).astype(np.uint8)
    image = (
        Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(pixels).convert(mode)
    )
    image.save(tmp_path / "image.png")
    predict = Predictor(cfg)
    prepared = [
        predict.prepare(source) for source in (image, Image.open(tmp_path / "image.png"), tmp_path / "image.png")
    ]
    assert all(torch.equal(one["image"], prepared[2]["image"]) for one in prepared)
    assert torch.equal(predict(image)["instances"].scores, predict([image])[0]["instances"].scores)


def test_a_turned_image_of_pillow_is_upright(cfg, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 52, 3)).astype(np.uint8))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(tmp_path / "image.png", exif=exif)
    by_file, by_image = (
        predictor_module.read_pixels(s) for s in (tmp_path / "image.png", Image.open(tmp_path / "image.png"))
    )
    assert by_file.shape == (52, 40, 3) and np.array_equal(by_file, by_image)


def test_weights_by_argument(cfg, tmp_path):
    state = build_model(cfg).state_dict()
    averages = {"updates": 1, "weights": {"head.bias": torch.full((6,), 5.0)}}
    torch.save({"model": state, "ema": averages}, tmp_path / "training.pth")
    assert (Predictor(cfg, tmp_path / "training.pth").model.head.bias == 5).all()
    plain = cfg.clone()
    plain.MODEL_EMA.ENABLED = False
    assert torch.equal(Predictor(plain, tmp_path / "training.pth").model.head.bias, state["head.bias"])


def test_extra_inputs_reach_the_model(cfg):
    predictor = Predictor(cfg)
    seen = []
    predictor.model.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    image = np.full((10, 20, 3), 200, np.uint8)
    predictor(image, K="a calibration")
    assert seen[0]["K"] == "a calibration" and seen[0]["image"].dtype == torch.float32


def test_the_camera_is_that_of_the_resized_image(cfg):
    predictor = Predictor(cfg)
    seen = []
    predictor.model.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    camera = Camera(np.array([[50.0, 0, 9], [0, 40, 6], [0, 0, 1]]), np.array([0, -1.0, 0, 5]))
    predictor(np.full((10, 20, 3), 200, np.uint8), camera)
    height, width = seen[0]["image"].shape[1:]
    assert (height, width) != (10, 20)
    point = np.array([0.3, 0.2, 7.0])
    expected = camera.project(point)[0] * [width / 20, height / 10]
    assert seen[0]["camera"].project(point)[0] == pytest.approx(expected)
    assert seen[0]["camera"].height_m == 5


def test_bad_input(cfg, tmp_path):
    predictor = Predictor(cfg)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg .*does not exist"):
        predictor(tmp_path / "none.jpg")
    whole = tmp_path / "whole.jpg"
    cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"cut\.jpg .*cannot be read"):  # OpenCV would fill the rest with grey
        predictor(tmp_path / "cut.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.jpg .*cannot be read"):
        predictor(str(tmp_path / "text.jpg"))
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"expected an image of shape \(H, W, 3\), uint8"):
            predictor(wrong)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        Predictor(cfg, tmp_path / "none.pth")


def test_from_a_config_file(cfg, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text("MODEL:\n  META_ARCHITECTURE: TinyDetector\n  NO_SUCH_KEY: 1\n")
    with pytest.raises(ValueError, match="NO_SUCH_KEY"):
        Predictor(tmp_path / "tiny.yaml")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        Predictor(tmp_path / "none.yaml")
    fill = {"TinyDetector": lambda config: setattr(config.INPUT, "MIN_SIZE_TEST", 32)}
    monkeypatch.setattr(config_setup, "_FINALIZERS", fill)
    keys = {"TINY": CfgNode({"DROPOUT": 0.0, "NORM": True, "POISON": ""})}
    monkeypatch.setattr(predictor_module, "make_cfg", lambda path, opts: _with_keys(make_cfg(path, opts), keys))
    (tmp_path / "tiny.yaml").write_text("MODEL:\n  META_ARCHITECTURE: TinyDetector\n  DEVICE: cuda\n")
    found = Predictor(tmp_path / "tiny.yaml", cfg.MODEL.WEIGHTS)
    assert found.cfg.INPUT.MIN_SIZE_TEST == 32 and found.metadata is None
    image = np.zeros((64, 64, 3), np.uint8)
    assert found.prepare(image)["image"].shape == (3, 32, 32)


def _with_keys(cfg: CfgNode, keys: dict) -> CfgNode:
    cfg.MODEL.update(keys)
    return cfg


def test_equal_pixels_give_equal_results_whatever_they_are_called(repo_dir, tmp_path, monkeypatch):
    """By absolute and relative path, copied, as PNG of itself, as array, and among others; with shipped weights."""
    image = tmp_path / "a" / "x.jpg"
    image.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    cv2.imwrite(str(image), cv2.resize(pixels, (160, 96), interpolation=cv2.INTER_CUBIC))
    decoded = cv2.imread(str(image))
    (tmp_path / "copy.jpeg").write_bytes(image.read_bytes())
    cv2.imwrite(str(tmp_path / "same.png"), decoded)
    config = str(repo_dir / "configs/diffusion_det/toy_roadside/demo.yaml")
    predict = Predictor(config, "zoo:diffusion_det_toy", batch_size=2)
    monkeypatch.chdir(image.parent)
    turned = np.ascontiguousarray(decoded.transpose(1, 0, 2))
    given = [image, "x.jpg", "./x.jpg", tmp_path / "copy.jpeg", tmp_path / "same.png", decoded]
    found = [predict(each)["instances"] for each in given]
    among = predict([turned, decoded, decoded])
    found += [among[1]["instances"], among[2]["instances"]]
    assert len(found[0]) > 0 and len({len(each) for each in found}) == 1
    for each in found[1:]:
        torch.testing.assert_close(each.scores, found[0].scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(each.pred_boxes.tensor, found[0].pred_boxes.tensor, atol=1e-2, rtol=0)
    assert not torch.equal(predict(decoded, image_id=5)["instances"].scores[:1], found[0].scores[:1])


def test_what_is_found_in_an_image_does_not_depend_on_its_batch(repo_dir):
    """Shipped models of anomalies and of boxes, on images of two sizes in every order."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((60, 90), (90, 60), (60, 90))]
    images = [cv2.GaussianBlur(image, (0, 0), 4) for image in images]
    cases = (
        ("efficientad/toy_loco/patchcore.yaml", "zoo:patchcore_fasteners", lambda found: found["anomaly_map"]),
        ("diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy", lambda found: found["instances"].scores),
    )
    for config, weights, values in cases:
        predict = Predictor(str(repo_dir / "configs" / config), weights)
        alone = [values(predict(image)) for image in images]
        predict.batch_size = 3
        for order in ((0, 1, 2), (2, 0, 1)):
            among = predict([images[index] for index in order])
            for index, found in zip(order, among):
                torch.testing.assert_close(values(found), alone[index], atol=2e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="2 cameras for 3 images"):
        predict(images, [None, None])


def test_the_camera_of_another_resolution_is_refused(cfg):
    """KITTI's own camera with its image, and with the image at half its size."""
    predictor, camera = Predictor(cfg), Camera(np.array([[721.5, 0, 609.6], [0, 721.5, 172.9], [0, 0, 1]]))
    assert "camera" in predictor.prepare(np.zeros((375, 1242, 3), np.uint8), camera)
    with pytest.raises(
        DataError, match=r"image of about 1219x346\. Scale the first two rows of the projection by 0\.52"
    ):
        predictor.prepare(np.zeros((188, 621, 3), np.uint8), camera)


def test_a_model_without_words_takes_no_classes(cfg):
    predict = Predictor(cfg)
    with pytest.raises(ConfigError, match="cannot take other classes"):
        predict.set_classes(["car"])
