"""A small pretrained text encoder, for tests."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers


def save_bert(path: Path) -> Path:
    """A BERT of 16 channels with a tokenizer of two words, as transformers saves them."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "the": 2, "car": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    config = BertConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(path)
    return path


WORDS = ["a", "photo", "of", "the", "car", "truck", "red", "white", "blue", "big", "vehicle", "cyclist", "pedestrian"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def save_text_tower(path: Path, kind: str, seed: int = 0) -> Path:
    """A random text encoder of WORDS as transformers saves it: bert, roberta, or clip and blip with their images."""
    import transformers as t
    from tokenizers import processors

    torch.manual_seed(seed)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*MARKS, *WORDS])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text = {"vocab_size": 20, "max_position_embeddings": 24, "pad_token_id": 0, "bos_token_id": 2, **sizes}
    image = {**sizes, "image_size": 32, "patch_size": 16}
    make = {
        "bert": lambda: t.BertModel(t.BertConfig(**text)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**{**text, "pad_token_id": 1})),
        "clip": lambda: t.CLIPModel(
            t.CLIPConfig(text_config={**text, "eos_token_id": 3}, vision_config=image, projection_dim=12)
        ),
        "blip": lambda: t.BlipModel(
            t.BlipConfig(text_config={**text, "encoder_hidden_size": 16}, vision_config=image, projection_dim=12)
        ),
    }
    make[kind]().save_pretrained(path)
    return path
