"""The relation layer: order of candidates and padding play no part, wild predictions do no harm; features are true."""

import cv2
import numpy as np
import pytest
import torch

from mono3dvg.detection.labelled_candidates import candidates_of_objects
from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.attribute_modules import MAX_COUNT, encode_count
from mono3dvg.relation.color_features import NUM_COLOR_FEATURES, color_features, color_names
from mono3dvg.relation.relation_features import (
    NUM_PAIRWISE_FEATURES,
    NUM_UNARY_FEATURES,
    PAIRWISE_FEATURES,
    UNARY_FEATURES,
    column_of,
    compute_relation_features,
)
from mono3dvg.relation.relation_layer import RelationLayer
from mono3dvg.text.text_features import TextFeatures
from tests.factories.dense_heads import MAP_HW, SIZE_HW, STRIDE, image_world, objects_of, scene_of

DIM = 24


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return RelationLayer(in_dim=DIM, num_traits=3, dim=16, layers=2, heads=2, pair_dim=8).eval()


def labelled_scene(*counts: int, ry_frame: str = "ground"):
    """Candidates of images with so many objects, and their scene."""
    worlds = [image_world(seed, count=max(count, 1), ry_frame=ry_frame) for seed, count in enumerate(counts)]
    scene = scene_of([w.camera_list[0] for w in worlds])
    objects = [objects_of(w)[torch.arange(count)] for w, count in zip(worlds, counts)]
    return candidates_of_objects(objects, scene, 3, MAP_HW, STRIDE, ry_frame), scene


def run(layer, candidates, scene, features, words, mask, image_of):
    found = compute_relation_features(candidates, scene, torch.tensor([SIZE_HW] * len(candidates.valid)), "ground")
    sentences = TextFeatures(words, mask, [], [], torch.full(mask.shape, torch.nan))
    return layer(found, image_of, features, sentences).answers[-1]


def text(seed: int, sentences: int, length: int = 6):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(sentences, length, DIM, generator=generator)
    return words, torch.ones(sentences, length, dtype=torch.bool)


def test_order_of_candidates_plays_no_part(layer):
    candidates, scene = labelled_scene(7, 7)
    image_of = torch.tensor([0, 1, 1])
    words, mask = text(0, 3)
    features = torch.randn(3, 7, DIM)
    before = run(layer, candidates, scene, features, words, mask, image_of)
    order = torch.randperm(7)
    shuffled = candidates.take(order.expand(2, -1))
    after = run(layer, shuffled, scene, features[:, order], words, mask, image_of)
    torch.testing.assert_close(after, before[:, order], atol=1e-5, rtol=1e-5)
    assert before.std() > 1e-3


def test_padding_of_candidates_and_words_changes_nothing(layer):
    """An image and a sentence alone, and in a batch with longer ones, with rubbish in the padding."""
    candidates, scene = labelled_scene(3, 8)
    words, mask = text(1, 2, 9)
    mask[0, 4:] = False
    words[0, 4:] = 1e3
    features = torch.randn(2, 8, DIM)
    candidates.rows[0, 3:] = 1e8
    candidates.boxes_xyxy[0, 3:] = -1e6
    features[0, 3:] = 1e3
    together = run(layer, candidates, scene, features, words, mask, torch.tensor([0, 1]))
    alone, own = labelled_scene(3)
    single = run(layer, alone, own, features[:1, :3], words[:1, :4], mask[:1, :4], torch.tensor([0]))
    torch.testing.assert_close(together[:1, :3], single, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(together).all()


def test_no_candidates_and_no_words(layer):
    candidates, scene = labelled_scene(0)
    words, mask = text(2, 1)
    logits = run(layer, candidates, scene, torch.randn(1, 1, DIM), words, ~mask, torch.tensor([0]))
    assert logits.shape == (1, 1) and torch.isfinite(logits).all()
    none = run(layer, candidates, scene, torch.randn(0, 1, DIM), words[:0], mask[:0], torch.zeros(0, dtype=torch.long))
    assert none.shape == (0, 1)


def test_words_features_and_other_candidates_matter_and_get_gradients(layer):
    candidates, scene = labelled_scene(5)
    words, mask = text(3, 1)
    words.requires_grad_()
    features = torch.randn(1, 5, DIM, requires_grad=True)
    logits = run(layer, candidates, scene, features, words, mask, torch.tensor([0]))
    logits[0, 0].backward()
    assert (words.grad.abs().amax(-1) > 0).all() and (features.grad.abs().amax(-1) > 0).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)


def test_tables_of_features_name_each_once():
    for table in (UNARY_FEATURES, PAIRWISE_FEATURES):
        assert len({feature.name for feature in table}) == len(table)
    candidates, scene = labelled_scene(3)
    found = compute_relation_features(candidates, scene, torch.tensor([SIZE_HW]), "ground")
    assert found.pairwise.shape[-1] == NUM_PAIRWISE_FEATURES and found.unary.shape[-1] == NUM_UNARY_FEATURES + 3
    with pytest.raises(KeyError):
        column_of(PAIRWISE_FEATURES, "nothing")


def pairwise(name: str) -> int:
    return column_of(PAIRWISE_FEATURES, name)


def test_pairwise_features_are_true():
    """Order from left to right, by distance and size, as numpy finds them in the levelled frame."""
    candidates, scene = labelled_scene(8)
    found = compute_relation_features(candidates, scene, torch.tensor([SIZE_HW]), "ground")
    rows = candidates.rows[0].double().numpy()
    camera_rows = rows[:, :3] @ scene.ground.frame()[0].double().numpy()
    away = np.hypot(camera_rows[:, 0], camera_rows[:, 2])
    middle = candidates.boxes_xyxy[0][:, [0, 2]].mean(1).numpy()
    sign = lambda values: np.sign(values[None] - values[:, None])  # noqa: E731
    np.testing.assert_array_equal(np.sign(found.pairwise[0, ..., pairwise("right_of_middle")]), sign(middle))
    np.testing.assert_array_equal(np.sign(found.pairwise[0, ..., pairwise("farther")]), sign(away))
    longer = np.sign(found.pairwise[0, ..., pairwise("longer")])
    np.testing.assert_array_equal(longer, sign(rows[:, 5].astype(np.float32)))
    gap = np.linalg.norm(camera_rows[None, :, [0, 2]] - camera_rows[:, None, [0, 2]], axis=-1)
    np.testing.assert_allclose(found.pairwise[0, ..., pairwise("apart_far")], np.tanh(gap / 25), atol=1e-4)
    np.testing.assert_allclose(found.unary[0, :, column_of(UNARY_FEATURES, "distance")], away / 50, atol=1e-4)
    orders = {"near": away, "far": -away, "left": middle, "right": -middle, "long": -rows[:, 5], "tall": -rows[:, 3]}
    for key, values in orders.items():
        before = found.precedes[0, ..., RANK_KEYS.index(key)].numpy()
        values = values.astype(np.float32)
        np.testing.assert_array_equal(before > 0.5, values[None] < values[:, None])
    np.testing.assert_allclose(found.offset_m[0].norm(dim=-1), gap, atol=1e-3)


def test_features_are_bounded_for_wild_predictions():
    candidates, scene = labelled_scene(4)
    candidates.rows[0, 0] = torch.tensor([1e6, -1e6, 1e-6, 1e4, 0.0, 1e4, 100.0])
    candidates.rows[0, 1] = candidates.rows[0, 2]
    found = compute_relation_features(candidates, scene, torch.tensor([SIZE_HW]), "ground")
    assert found.pairwise.abs().max() <= 4 and torch.isfinite(found.unary).all() and found.unary.abs().max() < 30


def test_counts_are_told_apart():
    code = encode_count(torch.arange(0.0, MAX_COUNT + 3))
    assert torch.equal(code.argmax(1)[: MAX_COUNT + 1], torch.arange(MAX_COUNT + 1))
    assert (
        torch.equal(code[: MAX_COUNT + 1].sum(1), torch.ones(MAX_COUNT + 1)) and (code[MAX_COUNT + 1 :, -1] == 1).all()
    )
    torch.testing.assert_close(encode_count(torch.tensor(2.25))[:5], torch.tensor([0, 0, 0.75, 0.25, 0]))


def test_color_features_are_the_mean_colour_of_patches():
    """Of nine patches of a box's middle, whatever else is in the batch; wild boxes are finite."""
    colors = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    image = torch.rand(2, 3, 40, 48)
    image[:, :, 11:29, 12:36] = colors.repeat_interleave(6, 2).repeat_interleave(8, 3)
    box = torch.tensor([[8.0, 8, 40, 32], [-9e9, 0, torch.nan, 9e9]]).expand(2, 2, 4)
    colors_found = color_features(box, image)
    assert colors_found.shape == (2, 2, NUM_COLOR_FEATURES) and colors_found.isfinite().all()
    # Samples at the seam between two patches mix them.
    torch.testing.assert_close(colors_found[:, 0].view(2, -1, 3, 3)[:, :3], 2 * colors - 1, atol=0.15, rtol=0)
    torch.testing.assert_close(color_features(box[:1], image[:1]), colors_found[:1])


def test_colors_have_the_hue_of_opencv_and_name_greys():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    names = color_names(image)[0]
    torch.testing.assert_close(names.sum(0), torch.ones(16, 16))
    hue = cv2.cvtColor(image[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2HSV)[..., 0] / 60
    circle = torch.polar(torch.ones(6), torch.arange(6) * torch.pi / 3)
    found = (names[:6] / names[:6].sum(0) * circle[:, None, None]).sum(0).angle() / torch.pi * 3
    off = (found - torch.from_numpy(hue) + 3) % 6 - 3
    assert off.abs().max() < 0.05  # the chord between two hues is not the arc
    grey = color_names(torch.full((1, 3, 1, 1), 0.25).expand(1, 3, 1, 1))[0, :, 0, 0]
    assert grey.tolist() == [0.0] * 6 + [0.0, 1.0, 0.0, 0.0, 0.0]
    red = color_names(torch.tensor([0.9, 0.05, 0.05]).view(1, 3, 1, 1))[0, :, 0, 0]
    assert red.argmax() == 0 and red[0] > 0.9


def test_without_pixels_color_features_are_zero():
    candidates, scene = labelled_scene(4)
    sizes, image = torch.tensor([SIZE_HW]), torch.rand(1, 3, *SIZE_HW)
    with_pixels = compute_relation_features(candidates, scene, sizes, "ground", image).unary
    without = compute_relation_features(candidates, scene, sizes, "ground").unary
    colors = slice(NUM_UNARY_FEATURES - NUM_COLOR_FEATURES, NUM_UNARY_FEATURES)
    assert (without[..., colors] == 0).all() and with_pixels[..., colors].std() > 0.05
    with_pixels[..., colors] = 0
    torch.testing.assert_close(with_pixels, without)
