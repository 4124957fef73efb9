"""Choices by place and number: on sets that are certain the numbers are those of sorting."""

import numpy as np
import pytest
import torch

from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.attribute_modules import MAX_COUNT, SelectionModule, between_features, soft_rank
from mono3dvg.relation.relation_features import compute_relation_features
from tests.factories.dense_heads import SIZE_HW
from tests.mono3dvg.relation.test_relation_layer import labelled_scene

KEYS = {name: i for i, name in enumerate((*RANK_KEYS, "nearness", "number"))}


@pytest.fixture
def world():
    """Features of one image with nine objects, and their places over the ground."""
    candidates, scene = labelled_scene(9)
    features = compute_relation_features(candidates, scene, torch.tensor([SIZE_HW]), "ground")
    features.precedes = features.precedes.round()  # beyond doubt, however close
    return features


def test_places_are_those_of_sorting(world):
    members = torch.tensor([[1.0, 0, 1, 1, 0, 0, 1, 1, 0]])
    nobody = torch.zeros(1, 9)
    places = soft_rank(members, nobody, world)[0]
    for key in RANK_KEYS:
        before = world.precedes[0, ..., KEYS[key]]
        for i in range(9):
            expected = sum(before[i, j].item() for j in range(9) if j != i and members[0, j])
            assert places[i, KEYS[key]].item() == pytest.approx(expected)
        of_members = places[members[0] > 0, KEYS[key]]
        assert sorted(of_members.tolist()) == [0, 1, 2, 3, 4] or key in ("long", "tall")  # equals may be there
    assert (places[:, KEYS["number"]] == 5).all()


def test_nearness_leaves_the_anchor_out(world):
    members, anchor = torch.ones(1, 9), torch.zeros(1, 9)
    anchor[0, 4] = 1
    world.offset_m = world.offset_m * 100  # beyond doubt
    places = soft_rank(members, anchor, world)[0, :, KEYS["nearness"]]
    away = world.offset_m[0, 4].norm(dim=-1).numpy()
    others = [i for i in range(9) if i != 4]
    order = np.argsort(away[others])
    np.testing.assert_allclose(places[others][order], np.arange(8), atol=1e-3)
    assert places[4] > MAX_COUNT


def test_who_is_not_described_is_not_counted(world):
    """Many that hardly fit do not make one that does; padding is nobody."""
    described = torch.full((1, 9), -3.0)
    described[0, :2] = 4.0
    module = SelectionModule(4)
    with torch.no_grad():
        for layer in (module.order_head, module.rank_head):
            layer.weight.zero_(), layer.bias.zero_()
        module.order_head.bias[KEYS["number"]] = 50.0
        module.rank_head.bias[2] = 1.0  # "exactly two"
        none = torch.zeros(1, 9)
        read = torch.zeros(1, 4)
        assert module(read, described, none, world).min() > 0.98
        world.valid = world.valid & (torch.arange(9) != 1)
        assert module(read, described, none, world).max() < 0.02


def test_second_from_the_left(world):
    module = SelectionModule(4)
    described = torch.tensor([[9.0, -9, 9, 9, -9, -9, 9, 9, -9]])
    with torch.no_grad():
        for layer in (module.order_head, module.rank_head):
            layer.weight.zero_(), layer.bias.zero_()
        module.order_head.bias[KEYS["left"]] = 50.0
        module.rank_head.bias[1], module.rank_head.bias[-1] = 10.0, -5.0
        found = module(torch.zeros(1, 4), described, torch.zeros(1, 9), world)[0]
    before = world.precedes[0, ..., KEYS["left"]]
    members = (described[0] > 0).nonzero()[:, 0]
    second = [i for i in members.tolist() if before[i, members].sum() == 1]
    assert [i for i in members.tolist() if found[i] > 0] == second and len(second) == 1


def test_between_lies_on_either_side():
    place = torch.tensor([[0.0, 0], [10, 0], [5, 0.5], [5, 8], [15, 0]])
    offset = (place[None] - place[:, None])[None]
    anchor_probs = torch.tensor([[0.5, 0.5, 0, 0, 0]])
    spread = between_features(anchor_probs, offset)[0]
    assert spread[2, 0] < 0.02 and spread[2, 1] < -0.5  # between
    assert spread[3, 1] > 0.9 and spread[4, 0] > 0.99  # far beside, and behind one of them
    scaled = between_features(anchor_probs / 2, offset)[0]
    torch.testing.assert_close(scaled, spread)
    assert between_features(torch.zeros(1, 5), offset).isfinite().all()
