"""Another text encoder in a trained grounder: what is fitted, on which words, and that all else stays."""

import pytest
import torch

from benchmarks.mono3dvg import text_alignment
from benchmarks.mono3dvg.grounding_study import save_weights
from benchmarks.mono3dvg.text_alignment import fit_ridge, paired_words, shared_characters, swap_text_encoder
from d2road.engine import Trainer, load_weights
from mono3dvg.text.text_encoder import TextEncoder
from tests.factories.grounders import make_data, tiny_cfg
from tests.factories.text_encoders import save_bert

TEXTS = ["the car", "car the car", "the car the"]


def test_ridge_regression_is_that_of_scikit_learn():
    Ridge = pytest.importorskip("sklearn.linear_model").Ridge
    torch.manual_seed(0)
    x, y = torch.randn(50, 6).double() + 3, torch.randn(50, 2).double()
    penalty = 0.3 * float((x - x.mean(0)).square().sum(0).mean())
    expected = Ridge(alpha=penalty, solver="cholesky").fit(x.numpy(), y.numpy())
    weight, bias = fit_ridge(x, y, 0.3)
    torch.testing.assert_close(weight, torch.from_numpy(expected.coef_))
    torch.testing.assert_close(bias, torch.from_numpy(expected.intercept_))


def test_words_are_paired_by_the_characters_that_they_share(tmp_path):
    small = TextEncoder(8, "scratch", frozen=False, width=16, layers=1, heads=2, vocab_size=300).eval()
    small.learn_tokenizer(["the car"] * 3)
    bert = TextEncoder(8, str(save_bert(tmp_path)), max_tokens=32).eval()
    words, pieces = bert.encode(["the car"]), small.encode(["the car"])
    shared = shared_characters(words, pieces, 0)
    assert shared.shape == (2, len(pieces.tokens[0])) and shared.sum(1).tolist() == [3, 3]
    inputs, targets, held_out = paired_words(bert, small, ["the car"])
    assert inputs.shape == (2, 16) and held_out.all()  # the first of five sentences
    mean = (shared / shared.sum(1, keepdim=True)) @ pieces.features[0]
    torch.testing.assert_close(targets.float(), (mean - small.norm.bias) / small.norm.weight)


def test_words_of_the_same_encoder_are_their_own_features(tmp_path):
    bert = TextEncoder(8, str(save_bert(tmp_path)), max_tokens=32).eval()
    inputs, targets, held_out = paired_words(bert, bert, TEXTS)
    torch.testing.assert_close(targets.float(), bert.norm(bert.project(inputs.float())))
    assert held_out.tolist() == [True] * 2 + [False] * 6


def test_all_but_the_text_encoder_stays(repo_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(text_alignment, "training_sentences", lambda cfg: TEXTS)
    data = make_data(tmp_path)
    former_cfg = tiny_cfg(repo_dir, data, tmp_path / "former", "MODEL.WEIGHTS", tmp_path / "former.pth")
    former = Trainer.build_model(former_cfg)
    former.text_encoder.learn_deferred()
    save_weights(former, tmp_path / "former.pth")
    encoder = ("MODEL.MONO3DVG.TEXT.ENCODER", save_bert(tmp_path / "bert"), "MODEL.MONO3DVG.TEXT.MAX_TOKENS", 32)
    cfg = tiny_cfg(repo_dir, data, tmp_path / "new", *encoder)
    found = swap_text_encoder(cfg, former_cfg, tmp_path / "start.pth")
    assert found["words"] > 0 and found["r2"] < 1
    model = Trainer.build_model(cfg)
    load_weights(cfg, model, str(tmp_path / "start.pth"))
    before, after = former.state_dict(), model.state_dict()
    for name in set(before) & set(after):
        if not name.startswith("text_encoder.") or name.startswith(("text_encoder.filter.", "text_encoder.norm.")):
            assert torch.equal(before[name], after[name]), name
