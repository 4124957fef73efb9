"""Sentences that people said: the 1,163 commands of Talk2Car's validation part through the text side."""

import json

import pytest
import torch

from mono3dvg.text.text_encoder import TextEncoder
from mono3dvg.text.text_filter import TextFilter


@pytest.fixture(scope="module")
def commands(request):
    shared_dir = request.getfixturevalue("shared_dir")
    path = shared_dir / "data" / "talk2car" / "val_commands.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = [entry["command"] for entry in json.loads(path.read_text(encoding="utf-8"))["commands"]]
    assert len(found) == 1163
    return found


def whole(words, texts) -> None:
    """All words are there and nothing else: the tokens cover every character but spaces."""
    for text, tokens, spans, mask in zip(texts, words.tokens, words.spans, words.mask):
        assert tokens == [text[start:end] for start, end in spans] and int(mask.sum()) == len(tokens) > 0
        covered = {i for start, end in spans for i in range(start, end)}
        assert {i for i, letter in enumerate(text) if not letter.isspace()} <= covered


def test_all_commands_pass_encoder_and_filter(commands, caplog):
    """With a tokenizer learned from the first hundred; each is what it is alone."""
    torch.manual_seed(0)
    encoder = TextEncoder(16, "scratch", frozen=False, width=16, layers=1, heads=2, vocab_size=500).eval()
    encoder.learn_tokenizer(commands[:100])
    words_filter = TextFilter(16, heads=2, head_dim=8, state_dim=8).eval()
    count = 0
    with torch.no_grad():
        for start in range(0, len(commands), 64):
            texts = commands[start : start + 64]
            words = encoder(texts)
            whole(words, texts)
            mixed, relevance = words_filter(words.features, words.mask)
            assert torch.isfinite(mixed).all() and (mixed[~words.mask] == 0).all()
            assert (relevance[words.mask] > 0).all() and (relevance <= 1).all()
            alone = encoder(texts[-1:])
            single, _ = words_filter(alone.features, alone.mask)
            torch.testing.assert_close(mixed[-1][words.mask[-1]], single[0], atol=1e-5, rtol=1e-5)
            count += len(texts)
    assert count == 1163 and not caplog.records  # none was cut


def test_all_commands_are_words_to_roberta(commands, shared_dir):
    """RoBERTa's own tokenizer takes every one; a few pass the network in its full size, with random weights."""
    folder = shared_dir / "data" / "roberta_tokenizer"
    encoder = TextEncoder(8, str(folder), random_init=True).eval()
    encodings = encoder._tokenize(commands, [str(i) for i in range(len(commands))])
    assert all(not e.overflowing for e in encodings)
    longest = sorted(commands, key=len)[-2:]
    with torch.no_grad():
        words = encoder(longest)
    whole(words, longest)
    assert torch.isfinite(words.features).all()
