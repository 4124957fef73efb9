"""The token that stands for words that a tokenizer does not know."""

import json

from tokenizers import Tokenizer


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that words get which a tokenizer does not know; None where it spells them out, as bytes do."""
    model = json.loads(tokenizer.to_str())["model"]
    if isinstance(model.get("unk_id"), int):  # of unigrams
        return model["unk_id"]
    return tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None
