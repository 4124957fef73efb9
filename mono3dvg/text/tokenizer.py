"""Tokenizers: one learned from sentences, fingerprints, and storage inside a tensor.

A byte-level BPE knows every script: what it has not seen falls apart into bytes. Stored with the weights as bytes in a
tensor, a checkpoint needs no file beside it.
"""

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError, ConfigError, DataError
from d2road.utils.input_files import read_text

try:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as error:
    raise ImportError("grounding needs transformers and tokenizers: pip install 'd2road[grounding]'") from error

# RoBERTa's order: the padding is 1.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
PAD_ID = 1
MIN_VOCABULARY = len(SPECIAL) + 256  # a token for each byte


def train_tokenizer(sentences: Iterable[str], vocab_size: int = 2000) -> Tokenizer:
    """Learn a byte-level BPE; the same sentences, in any order, give the same tokenizer.

    Letters are made lower case, which spans see through: they count characters of the sentence as it was written.

    Args:
        sentences: what it is learned from.
        vocab_size: largest number of tokens, 261 (bytes and special tokens) at least; few sentences give fewer.
    Raises:
        ValueError: no sentences, or a vocabulary that cannot hold all bytes.
    """
    lines = sorted(sentences)
    if not lines:
        raise DataError("train_tokenizer: got no sentences, expected those of the training data")
    if vocab_size < MIN_VOCABULARY:
        raise ConfigError(f"train_tokenizer: vocab_size is {vocab_size}, expected {MIN_VOCABULARY} at least")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is none.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no tokenizer {path}: training writes one beside the checkpoint")
    text = read_text(path, "tokenizer")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path} is no file of the tokenizers library: {error}") from error


def fingerprint(tokenizer: Tokenizer) -> str:
    """SHA-256 of what decides about tokens, in hexadecimal: not of padding and truncation, which callers set."""
    return hashlib.sha256(_text(tokenizer)).hexdigest()


def pack(tokenizer: Tokenizer, size: int) -> Tensor:
    """A tokenizer as `size` bytes, (size,) uint8, filled up with zeros.

    Raises:
        ValueError: it does not fit.
    """
    packed = zlib.compress(_text(tokenizer), 9)
    if len(packed) > size:
        raise CheckpointError(
            f"the tokenizer takes {len(packed)} bytes, {size} are kept for it: raise the vocabulary size"
        )
    return torch.frombuffer(bytearray(packed.ljust(size, b"\0")), dtype=torch.uint8).clone()


def unpack(packed: Tensor) -> Tokenizer | None:
    """The tokenizer of `pack`; None of nothing but zeros.

    Raises:
        ValueError: the bytes are damaged.
    """
    data = bytes(packed.cpu().numpy())
    if not any(data):
        return None
    try:
        # The stream ends by itself; what follows is filling.
        return Tokenizer.from_str(zlib.decompressobj().decompress(data).decode())
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"the tokenizer inside the checkpoint is damaged: {error}") from error


def _text(tokenizer: Tokenizer) -> bytes:
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return plain.to_str().encode()
