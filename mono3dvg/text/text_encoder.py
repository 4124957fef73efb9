"""Text encoder: a pretrained transformers encoder, or a small RoBERTa trained with the rest, and a token filter."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from d2road.checkpoint.packaged_part import fills_in
from d2road.checkpoint.weights import RANDOM
from d2road.export.sentence_tokens import log_numbers
from d2road.modeling.text.pretrained_encoders import check_vocabulary, load_encoder
from d2road.modeling.text.unknown_token import unknown_id
from d2road.utils.errors import CheckpointError, ConfigError, DataError
from mono3dvg.config import scan_options
from mono3dvg.text.length_groups import by_length
from mono3dvg.text.scratch_encoder import small_roberta
from mono3dvg.text.sentence_checks import UnknownWords, check_sentence
from mono3dvg.text.text_features import TextFeatures
from mono3dvg.text.text_filter import TextFilter
from mono3dvg.text.tokenizer import PAD_ID, fingerprint, load_tokenizer, pack, train_tokenizer, unpack
from mono3dvg.text.training_sentences import training_sentences

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

SCRATCH = "scratch"
OR_SCRATCH = ", or 'scratch', a small RoBERTa that is trained with the rest"
BYTES_PER_TOKEN = 32  # of a compressed tokenizer, with room to spare
FINGERPRINT = 32


class TextEncoder(nn.Module):
    """Encode each sentence by itself; a linear map and a norm bring its words to the width of the fusion.

    Where `filter` is set, it mixes the words of each sentence and gives each a relevance.

    Rule for long sentences: over `max_tokens` tokens the end is cut off with a warning that names the sentence; over
    1,000 words or 10,000 characters is an error.

    The tokenizer's fingerprint is stored with the weights; "scratch" stores the whole tokenizer, so that a checkpoint
    needs nothing else. Weights may leave a pretrained encoder out, see `d2road.checkpoint.packaged_part`.

    Args:
        dim: channels of the words.
        source: "scratch", or what `load_encoder` knows: a folder, "package:MODULE", a name on the hub.
        frozen: the pretrained encoder neither learns nor drops out; the linear map behind it learns all the same.
        max_tokens: of a sentence, with special tokens.
        random_init, download: see `load_encoder`.
        width, layers, heads, dropout, vocab_size: of the RoBERTa from scratch.
        tokenizer: of "scratch": a `tokenizer.json`, which must then be that of the weights; "" to learn one
            (`learn_tokenizer`) or to take that of the checkpoint.
    Raises:
        ValueError, FileNotFoundError: see `load_encoder`; sizes that do not fit; "scratch" cannot be frozen.
    """

    def __init__(
        self,
        dim: int,
        source: str = "roberta-base",
        frozen: bool = True,
        max_tokens: int = 128,
        random_init: bool = False,
        download: bool = False,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
        vocab_size: int = 2000,
        tokenizer: str | Path = "",
    ):
        super().__init__()
        self.source, self.frozen, self.max_tokens = source, frozen, max_tokens
        self.tokenizer: Tokenizer | None = None
        self.encoder: PreTrainedModel
        self.tokenizer_sha256: Tensor
        self.tokenizer_packed: Tensor
        self.unknown = UnknownWords(source)
        self.pinned = False  # the tokenizer was given: a checkpoint with another one is refused
        self._deferred: Callable[[], Sequence[str]] | None = None  # sentences, see `defer_tokenizer`
        self.register_buffer("tokenizer_sha256", torch.zeros(FINGERPRINT, dtype=torch.uint8))
        if source == SCRATCH:
            if frozen:
                raise ConfigError("a text encoder from 'scratch' cannot be frozen: its weights would stay random")
            self.encoder = small_roberta(width, layers, heads, dropout, vocab_size, max_tokens)
            self.register_buffer("tokenizer_packed", torch.zeros(BYTES_PER_TOKEN * vocab_size, dtype=torch.uint8))
            if tokenizer:
                self._take_tokenizer(load_tokenizer(tokenizer), pinned=True)
        else:
            self.encoder, found = load_encoder(source, random_init, download, OR_SCRATCH)
            self.encoder.requires_grad_(not frozen)
            self._take_tokenizer(found, pinned=True)
            fills_in(self, "encoder", self.encoder.state_dict, repr(source))
        self._check_length()
        self.project = nn.Linear(_width(self.encoder), dim)
        self.norm = nn.LayerNorm(dim)
        self.filter: TextFilter | None = None
        self.train(self.training)

    @property
    def pretrained(self) -> str:
        """What of the encoder was trained before, for tables; "none"."""
        return "none" if self.source == SCRATCH else self.source.rsplit("/", 1)[-1]

    @property
    def pad_id(self) -> int:
        """The token that fills sentences up."""
        return PAD_ID if self.source == SCRATCH else self.encoder.config.pad_token_id or 0

    def train(self, mode: bool = True) -> "TextEncoder":
        """A frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    # --- tokenizer ---

    def learn_tokenizer(self, sentences: Iterable[str]) -> None:
        """Learn the tokenizer of "scratch", unless it has one that was given; a checkpoint's replaces it later."""
        if self.source == SCRATCH and not self.pinned:
            self._take_tokenizer(train_tokenizer(sentences, self.encoder.config.vocab_size), pinned=False)

    def defer_tokenizer(self, sentences: Callable[[], Sequence[str]]) -> None:
        """Learn the tokenizer as `learn_tokenizer` does, but not before weights are loaded that bring none, or before
        a sentence comes. No sentences: there will be none without a checkpoint's."""
        self._deferred = sentences

    def learn_deferred(self) -> None:
        """Learn now what `defer_tokenizer` has put off, unless there is a tokenizer by now."""
        sentences = self._deferred() if self._deferred is not None and self.tokenizer is None else []
        self._deferred = None
        if sentences:
            self.learn_tokenizer(sentences)

    def save_tokenizer(self, path: str | Path) -> None:
        """Write `tokenizer.json`, to be read, compared, or named as `tokenizer`."""
        self.ready_tokenizer().save(str(path))

    def _take_tokenizer(self, tokenizer: Tokenizer, pinned: bool) -> None:
        check_vocabulary(tokenizer, len(self.encoder.get_input_embeddings().get_parameter("weight")), self.source)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer, self.pinned = tokenizer, pinned
        self.unknown.token = unknown_id(tokenizer)
        digest = bytearray.fromhex(fingerprint(tokenizer))
        self.tokenizer_sha256.copy_(torch.frombuffer(digest, dtype=torch.uint8))
        if self.source == SCRATCH:
            self.tokenizer_packed.copy_(pack(tokenizer, len(self.tokenizer_packed)))

    def ready_tokenizer(self) -> Tokenizer:
        """The tokenizer, which cuts sentences off at `max_tokens`.

        Raises:
            ConfigError: there is none yet.
        """
        self.learn_deferred()
        if self.tokenizer is None:
            raise ConfigError(
                "the text encoder has no tokenizer yet: call learn_tokenizer with the training sentences, load a "
                "checkpoint, or give a tokenizer file"
            )
        return self.tokenizer

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Take the checkpoint's tokenizer, or refuse it where another one was given.

        Raises:
            ValueError: the tokenizers differ, or that of the checkpoint is damaged.
        """
        digest = state_dict.get(prefix + "tokenizer_sha256")
        stored = None if digest is None else bytes(digest.cpu().numpy()).hex()
        own = fingerprint(self.tokenizer) if self.tokenizer is not None else ""
        if stored is not None and self.pinned and int(stored, 16) and stored != own:
            raise CheckpointError(
                f"the tokenizer of {self.source!r} (SHA-256 {own[:12]}...) does not match the weights, which were "
                f"trained with {stored[:12]}...: take the tokenizer file of that training"
                + (", or none: the checkpoint carries its own" if self.source == SCRATCH else "")
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
        packed = state_dict.get(prefix + "tokenizer_packed")
        if self.source != SCRATCH or self.pinned:
            return
        if packed is None or len(packed) != len(self.tokenizer_packed):
            packed = torch.zeros(0, dtype=torch.uint8)  # none
        tokenizer = unpack(packed)
        if tokenizer is None:
            self.learn_deferred()
            return
        if fingerprint(tokenizer) != stored:
            raise CheckpointError("the tokenizer inside the checkpoint is damaged: its SHA-256 is not the one stored")
        self._take_tokenizer(tokenizer, pinned=False)

    def _check_length(self) -> None:
        config = self.encoder.config
        limit = getattr(config, "max_position_embeddings", None) or self.max_tokens
        if getattr(self.encoder.get_input_embeddings(), "padding_idx", None) and "roberta" in config.model_type:
            limit -= config.pad_token_id + 1  # RoBERTa counts positions from behind the padding's
        if not 3 <= self.max_tokens <= limit:
            raise ConfigError(f"max_tokens is {self.max_tokens}, expected 3 to {limit}, what {self.source!r} can take")

    # --- sentences ---

    def forward(self, texts: Sequence[str], places: Sequence[str] | None = None) -> TextFeatures:
        """Encode and filter sentences, see `encode`; a relevance of each word comes from the filter."""
        text = self.encode(texts, places)
        if self.filter is not None:
            text.features, text.relevance = self.filter(text.features, text.mask)
        return text

    def encode(self, texts: Sequence[str], places: Sequence[str] | None = None) -> TextFeatures:
        """Encode sentences without the filter; the result of one does not depend on the others.

        Args:
            texts: N sentences, any script.
            places: what messages call each of them; None is "sentence 0" and so on.
        Raises:
            ValueError: a sentence without words or longer than any sentence is, with its place.
        """
        encodings = self._tokenize(texts, places or [f"sentence {index}" for index in range(len(texts))])
        device = self.project.weight.device
        ids = [torch.tensor(encoding.ids) for encoding in encodings]
        hidden = by_length(ids, self._read) if self.frozen else self._read(ids)
        kept = [torch.tensor(_words(encoding)) for encoding in encodings]
        chosen = pad_sequence(kept, batch_first=True).to(device)
        mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in kept], batch_first=True).to(device)
        features = self._bring(hidden, chosen, mask)
        spans = [[encoding.offsets[i] for i in _words(encoding)] for encoding in encodings]
        tokens = [[text[start:end] for start, end in row] for text, row in zip(texts, spans)]
        logs = [torch.tensor(log_numbers(text, row)) for text, row in zip(texts, spans)]
        numbers = pad_sequence(logs, batch_first=True, padding_value=torch.nan).to(device)
        return TextFeatures(features, mask, tokens, spans, numbers)

    def embed(self, ids: Tensor, attended: Tensor, chosen: Tensor, mask: Tensor) -> Tensor:
        """Features (N, T, D) of the words at `chosen` (N, T) among tokens (N, S); zero where `mask` (N, T) is False.

        Args:
            ids: (N, S) tokens, with special ones; attended: (N, S) 1 for these, 0 for what fills a sentence up.
        """
        return self._bring(self._hidden(ids, attended), chosen, mask)

    def _read(self, ids: Sequence[Tensor]) -> Tensor:
        """Hidden states (N, S, W) of the tokens of N sentences."""
        device = self.project.weight.device
        padded = pad_sequence(list(ids), batch_first=True, padding_value=self.pad_id).to(device)
        attended = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True).to(device)
        return self._hidden(padded, attended)

    def _hidden(self, ids: Tensor, attended: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encoder(input_ids=ids, attention_mask=attended).last_hidden_state

    def _bring(self, hidden: Tensor, chosen: Tensor, mask: Tensor) -> Tensor:
        hidden = hidden.gather(1, chosen.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return self.norm(self.project(hidden)).masked_fill(~mask.unsqueeze(-1), 0)

    def _tokenize(self, texts: Sequence[str], places: Sequence[str]) -> list[Encoding]:
        if not texts:
            raise ValueError("the text encoder got no sentences: leave images without sentences out")
        for text, place in zip(texts, places, strict=True):
            check_sentence(text, place)
        encodings = self.ready_tokenizer().encode_batch(list(texts))
        for encoding, text, place in zip(encodings, texts, places):
            if not _words(encoding):
                raise DataError(f"{place}: the tokenizer finds no word in {text!r}")
            self.unknown.check([encoding.ids[i] for i in _words(encoding)], text, place)
            if encoding.overflowing:
                end = encoding.offsets[_words(encoding)[-1]][1]
                logger.warning(
                    "%s has more than %d tokens: what follows %r is cut off", place, self.max_tokens, text[:end][-40:]
                )
        return encodings


def _words(encoding: Encoding) -> list[int]:
    """Positions of the tokens that are not special."""
    return [index for index, special in enumerate(encoding.special_tokens_mask) if not special]


def _width(encoder: "PreTrainedModel") -> int:
    return getattr(encoder.config, "hidden_size", None) or encoder.config.d_model


def build_text_encoder(cfg: CfgNode) -> TextEncoder:
    """The encoder of MODEL.MONO3DVG.TEXT, with the filter of MODEL.MONO3DVG.FILTER if that is enabled.

    A tokenizer from scratch is learned from the sentences of DATASETS.TRAIN, where they are at hand; where
    MODEL.WEIGHTS names a checkpoint, only if that brings none.
    """
    node, text = cfg.MODEL.MONO3DVG, cfg.MODEL.MONO3DVG.TEXT
    encoder = TextEncoder(
        node.DIM,
        text.ENCODER,
        frozen=text.FREEZE and text.ENCODER != SCRATCH,
        max_tokens=text.MAX_TOKENS,
        random_init=text.RANDOM_INIT,
        download=text.DOWNLOAD,
        width=text.WIDTH,
        layers=text.LAYERS,
        heads=text.ATTENTION_HEADS,
        dropout=text.DROPOUT,
        vocab_size=text.VOCAB_SIZE,
        tokenizer=text.TOKENIZER,
    )
    if text.ENCODER == SCRATCH and not text.TOKENIZER:
        encoder.defer_tokenizer(partial(training_sentences, cfg))
        if cfg.MODEL.WEIGHTS in ("", RANDOM):
            encoder.learn_deferred()
    if node.FILTER.ENABLED:
        encoder.filter = TextFilter(node.DIM, node.FILTER.GATE, **scan_options(node.SSD))
    return encoder
