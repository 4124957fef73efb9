"""Folders of encoders that transformers saved, whole, incomplete and damaged: right features, or one error."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPConfig,
    CLIPModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    ViTConfig,
    ViTModel,
)

from d2road.utils.errors import CheckpointError, D2RoadError, DataError
from mono3dvg.text.text_encoder import TextEncoder

WORDS = [
    "the",
    "a",
    "car",
    "red",
    "blue",
    "left",
    "right",
    "of",
    "in",
    "front",
    "truck",
    "person",
    "bus",
    "white",
    "van",
    "is",
    "that",
    "on",
    "road",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
LOST = "encoder.layer.1.output.dense.weight"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"


def save_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)


def save_bert(folder: Path, **options) -> Path:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=60, max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(folder, **options)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def bert(tmp_path) -> Path:
    return save_bert(tmp_path / "bert")


@pytest.fixture(autouse=True)
def nothing_asks(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))


def change_weights(folder: Path, change) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def change_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_vocabulary(folder: Path, words: list[str]) -> None:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    change_json(folder / TOKENIZER, lambda content: content["model"].update(vocab=vocabulary))


def drop_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def make_custom(folder: Path) -> None:
    ran = folder.parent / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')\n")
    change_json(folder / "config.json", lambda c: c.update(model_type="mine", auto_map={"AutoConfig": "mine.Mine"}))


def make_pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


DAMAGE = {
    "no tokenizer files": (drop_tokenizer, "has no file of a tokenizer"),
    "an empty vocabulary": (lambda f: replace_vocabulary(f, []), "knows no words, special tokens alone"),
    "a vocabulary beyond the embedding": (lambda f: replace_vocabulary(f, [f"w{i}" for i in range(90)]), "60 rows"),
    "a missing weight": (lambda f: change_weights(f, lambda s: s.pop(LOST)), rf"lack 1 of 39 parameters \({LOST}\)"),
    "weights of another shape": (lambda f: change_weights(f, lambda s: s.update({LOST: torch.zeros(3, 3)})), LOST),
    "weights that are NaN": (lambda f: change_weights(f, lambda s: s[LOST].fill_(float("nan"))), rf"NaN.*{LOST}"),
    "weights cut off": (lambda f: cut(f / WEIGHTS), rf"{WEIGHTS}: "),
    "a pointer for weights": (lambda f: (f / WEIGHTS).write_text(LFS), rf"{WEIGHTS} is a pointer of git-lfs"),
    "a pointer for a tokenizer": (lambda f: (f / TOKENIZER).write_text(LFS), rf"{TOKENIZER} is a pointer of git-lfs"),
    "a pipe for weights": (make_pipe, rf"{WEIGHTS} is no regular file"),
    "a config cut off": (lambda f: cut(f / "config.json"), r"config\.json is not JSON"),
    "a tokenizer cut off": (lambda f: cut(f / TOKENIZER), "cannot read the text encoder"),
    "code of its own": (make_custom, "custom code"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_folder_that_is_not_whole_ends_in_one_error(bert, kind):
    damage, said = DAMAGE[kind]
    damage(bert)
    with pytest.raises(D2RoadError, match=said) as caught:
        TextEncoder(8, str(bert), max_tokens=32)
    assert str(bert) in str(caught.value) and not (bert.parent / "ran").exists()


def test_a_missing_shard_is_named(tmp_path):
    folder = save_bert(tmp_path / "bert", max_shard_size="20KB")
    shard = sorted(folder.glob("model-*"))[1]
    assert TextEncoder(8, str(folder), max_tokens=32) is not None
    shard.unlink()
    with pytest.raises((FileNotFoundError, CheckpointError), match=shard.name):
        TextEncoder(8, str(folder), max_tokens=32)


@pytest.mark.parametrize("kind", ["clip", "vit"])
def test_models_that_are_no_text_encoders_are_named(tmp_path, kind):
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    image = {**small, "image_size": 32, "patch_size": 16}
    model = (
        CLIPModel(CLIPConfig(text_config={**small, "vocab_size": 60}, vision_config=image))
        if kind == "clip"
        else ViTModel(ViTConfig(**image))
    )
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match=f"holds a model '{kind}', which is no text encoder"):
        TextEncoder(8, str(tmp_path), max_tokens=32)


@pytest.mark.parametrize("saved", [T5Model, T5EncoderModel])
def test_the_encoder_half_of_a_model_is_read_whole_or_alone(tmp_path, saved):
    torch.manual_seed(0)
    config = T5Config(vocab_size=60, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    model = saved(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = TextEncoder(8, str(tmp_path), max_tokens=32).eval()
    ids = torch.tensor([encoder.ready_tokenizer().encode("the red car").ids])
    with torch.no_grad():
        expected = model.get_encoder()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(encoder.encoder(input_ids=ids).last_hidden_state, expected)


def test_sentences_of_another_language_are_told(bert, caplog):
    encoder = TextEncoder(8, str(bert), max_tokens=32)
    assert not torch.equal(*encoder(["the red car", "the blue van"]).features[:, 1])
    with pytest.raises(DataError, match=r"sentence 1: no word of 'ein rotes Auto' is known"):
        encoder(["the red car", "ein rotes Auto"])
    encoder = TextEncoder(8, str(bert), max_tokens=32)
    for _ in range(12):
        encoder(["the red car on the Strasse", "the blue van"])
    assert caplog.text.count("tokens are unknown") == 1 and "Strasse" in caplog.text
    with pytest.raises(DataError, match=r"of \d+ tokens are unknown"):
        for _ in range(60):
            encoder(["car Strasse links hinten Weg"])
