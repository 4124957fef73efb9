"""Sets of candidates side by side: the relation layer says of each what it says of it alone."""

import torch

from mono3dvg.relation.candidate_sets import CandidateSets, repeat_sentences
from mono3dvg.relation.color_features import color_features
from mono3dvg.relation.relation_features import compute_relation_features
from mono3dvg.relation.relation_layer import RelationLayer
from mono3dvg.text.text_features import TextFeatures
from tests.factories.dense_heads import SIZE_HW
from tests.mono3dvg.relation.test_relation_layer import DIM, labelled_scene, text


def test_two_sets_in_one_pass_are_scored_as_each_alone():
    torch.manual_seed(0)
    layer = RelationLayer(in_dim=DIM, num_traits=3, dim=16, layers=2, heads=2, pair_dim=8, presence=True).eval()
    first, scene = labelled_scene(3, 5)
    second = labelled_scene(8, 2)[0]
    image_of, (words, mask) = torch.tensor([1, 0, 1]), text(0, 3)
    sentences = TextFeatures(words, mask, [], [], torch.full(mask.shape, torch.nan))
    images, fused = torch.rand(2, 3, *SIZE_HW), torch.randn(2, 3, 8, DIM)  # by set
    sets = CandidateSets.of([first, second])
    assert sets.candidates.cells.shape == (4, 8) and sets.image_of.tolist() == [0, 1, 0, 1]
    rows, sizes = sets.rows_of(image_of), torch.tensor([SIZE_HW] * 4)
    assert rows.tolist() == [1, 0, 1, 3, 2, 3]
    joined = compute_relation_features(
        sets.candidates, scene[sets.image_of], sizes, "ground", images, sets.image_of
    )  # fmt: skip
    together = layer(joined, rows, fused.flatten(0, 1), repeat_sentences(sentences, 2))
    for number, candidates in enumerate((first, second)):
        count = candidates.cells.shape[1]
        features = compute_relation_features(candidates, scene, sizes[:2], "ground", images)
        alone = layer(features, image_of, fused[number, :, :count], sentences)
        own = slice(3 * number, 3 * number + 3)
        there = candidates.valid[image_of]
        found = together.answers[:, own, :count]
        torch.testing.assert_close(found[:, there], alone.answers[:, there], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.presence[own], alone.presence, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.mentioned[own], alone.mentioned, atol=1e-5, rtol=1e-4)


def test_one_set_is_as_it_was():
    candidates, _ = labelled_scene(3, 5)
    sets, (words, mask) = CandidateSets.of([candidates]), text(0, 2)
    assert sets.candidates is candidates and sets.rows_of(torch.tensor([1, 0])).tolist() == [1, 0]
    sentences = TextFeatures(words, mask, [], [], torch.full(mask.shape, torch.nan))
    assert repeat_sentences(sentences, 1) is sentences


def test_colors_of_rows_that_name_their_image():
    boxes, images = torch.tensor([[[2.0, 2, 20, 20]], [[5.0, 5, 30, 30]]]), torch.rand(2, 3, 40, 40)
    swapped = color_features(boxes.flip(0), images, torch.tensor([1, 0]))
    assert torch.equal(swapped, color_features(boxes, images).flip(0))
