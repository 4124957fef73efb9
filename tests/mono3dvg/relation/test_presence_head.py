"""The presence head: whether a sentence means any candidate at all, and what that makes of each candidate's score."""

import pytest
import torch
import torch.nn.functional as F

from mono3dvg.relation.presence_head import PresenceHead, joint_scores

DIM = 16


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = PresenceHead(DIM).eval()
    torch.nn.init.normal_(head.output.weight)  # as after training: it begins at zero
    return head


def inputs(seed: int, sentences: int = 3, candidates: int = 6, words: int = 5):
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(sentences, candidates, DIM, generator=draw)
    answers = 3 * torch.randn(sentences, candidates, generator=draw)
    spoken = torch.randn(sentences, words, DIM, generator=draw)
    return states, answers, torch.ones_like(answers, dtype=torch.bool), spoken, torch.ones(sentences, words).bool()


def test_an_untrained_head_is_the_softmax_with_none():
    states, answers, valid, words, mask = inputs(1)
    found = PresenceHead(DIM)(states, answers, valid, words, mask)
    with_none = F.pad(answers, (1, 0)).softmax(-1)
    torch.testing.assert_close(torch.sigmoid(found), 1 - with_none[:, 0])


def test_order_and_padding_of_candidates_and_words_play_no_part(head):
    states, answers, valid, words, mask = inputs(2)
    before = head(states, answers, valid, words, mask)
    order = torch.randperm(6)
    torch.testing.assert_close(head(states[:, order], answers[:, order], valid, words, mask), before)
    wild = torch.full((3, 2, DIM), 1e3)
    padded = head(
        torch.cat([states, wild], dim=1), F.pad(answers, (0, 2), value=50.0), F.pad(valid, (0, 2)),
        torch.cat([words, wild], dim=1), F.pad(mask, (0, 2)),
    )  # fmt: skip
    torch.testing.assert_close(padded, before)


@pytest.mark.parametrize("candidates", [0, 2])
def test_without_candidates_the_answer_is_finite_and_low(head, candidates):
    states, answers, valid, words, mask = inputs(3, candidates=candidates)
    found = head(states, answers, torch.zeros_like(valid), words, mask)
    assert torch.isfinite(found).all() and (found < -10).all()
    assert torch.isfinite(joint_scores(answers.sigmoid(), found, torch.zeros_like(valid))).all()


def test_the_likeliest_candidate_has_the_probability_of_the_set():
    _, answers, valid, _, _ = inputs(4)
    valid[0, 4:] = False
    presence = torch.tensor([2.0, -1.0, 0.3])
    each = torch.sigmoid(answers)
    joint = joint_scores(each, presence, valid)
    best = torch.stack([row[kept].max() for row, kept in zip(each, valid)])
    wanted = torch.sigmoid(presence)[:, None] * each / best[:, None]
    torch.testing.assert_close(joint[valid], wanted[valid])
    torch.testing.assert_close(joint.masked_fill(~valid, 0).max(dim=1).values, torch.sigmoid(presence))
    assert ((joint <= torch.sigmoid(presence)[:, None] + 1e-6) | ~valid).all()


def test_a_set_can_be_empty_though_a_candidate_is_likely():
    """What a threshold on each candidate by itself cannot say."""
    presence, answers = torch.tensor([-3.0]), torch.tensor([[2.0, -2.0]])
    assert torch.sigmoid(answers).max() > 0.8
    assert joint_scores(answers.sigmoid(), presence, torch.ones(1, 2).bool()).max() < 0.05


def test_what_the_candidates_have_in_common_can_be_learned():
    """Presence by a state that answers do not show: the logits are the same for all sentences."""
    torch.manual_seed(1)
    head = PresenceHead(DIM)
    states, _, valid, words, mask = inputs(5, sentences=64)
    truth = (states[..., 0].mean(1) > 0).float()
    answers = torch.zeros(64, 6)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(head(states, answers, valid, words, mask), truth)
        loss.backward()
        optimizer.step()
    said = head(states, answers, valid, words, mask) > 0
    assert (said == (truth > 0)).float().mean() > 0.95
