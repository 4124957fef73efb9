"""Text embeddings of short texts by a frozen pretrained encoder, averaged over prompt templates.

Letters: K texts, W channels of the encoder.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.checkpoint.packaged_part import weights_digest
from d2road.modeling.text.pretrained_encoders import TextTower, load_text_tower
from d2road.modeling.text.unknown_token import unknown_id
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

SLOT = "{}"  # of a template, where the text goes
TOGETHER = 256  # prompts that pass through an encoder at once
MOST_TOKENS = 64  # of a prompt, or fewer where the encoder takes fewer


class TextEmbeddings(NamedTuple):
    """vectors (K, W) of length 1, and encoder_sha256 (32,) uint8 of the weights that they come from."""

    vectors: Tensor
    encoder_sha256: Tensor


@torch.no_grad()
def embed_texts(
    source: str, texts: Sequence[str], templates: Sequence[str] = (SLOT,), download: bool = False
) -> TextEmbeddings:
    """Embed texts, each as the mean of its prompts' unit embeddings, brought to length 1.

    A prompt's embedding is the pooled output of models that were trained with one (CLIP: of the end of the text, and
    its projection), else the mean of its tokens, as sentence encoders are trained. The encoder is let go afterwards.

    Args:
        source: see `load_encoder`; models of image and text give their text tower.
        templates: prompts with "{}" where the text goes.
    Raises:
        FileNotFoundError, CheckpointError: as `load_encoder`. DataError: the encoder knows no word of a text.
    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, section
    3.1.4 (ensembles of prompts).
    """
    tower = load_text_tower(source, download)
    tower.encoder.eval()
    for text in texts:
        _require_known(tower, text, source)
    prompts = [template.replace(SLOT, text) for text in texts for template in templates]
    pooled = torch.cat([_pool(tower, prompts[i : i + TOGETHER]) for i in range(0, len(prompts), TOGETHER)])
    vectors = F.normalize(F.normalize(pooled, dim=-1).view(len(texts), len(templates), -1).mean(1), dim=-1)
    parts = [tower.encoder.parameters(), *([tower.projection.parameters()] if tower.projection else [])]
    logger.info("%d texts embedded by %s, %d channels", len(texts), source, vectors.shape[1])
    return TextEmbeddings(vectors, weights_digest(chain(*parts)))


def _require_known(tower: TextTower, text: str, source: str) -> None:
    encoding = tower.tokenizer.encode(text)
    unknown = unknown_id(tower.tokenizer)
    words = [i for i, special in zip(encoding.ids, encoding.special_tokens_mask) if not special]
    if not words or all(i == unknown for i in words):
        raise DataError(f"the text encoder {source!r} knows no word of {text!r}: take other words or another encoder")


def _pool(tower: TextTower, prompts: Sequence[str]) -> Tensor:
    """Embeddings (N, W) of prompts, of any length."""
    limit = getattr(tower.encoder.config, "max_position_embeddings", None) or MOST_TOKENS
    tower.tokenizer.enable_truncation(min(MOST_TOKENS, limit - 2))  # RoBERTa counts from behind the padding's place
    tower.tokenizer.enable_padding(pad_id=tower.encoder.config.pad_token_id or 0)
    encodings = tower.tokenizer.encode_batch(list(prompts))
    ids, mask = (torch.tensor([getattr(e, name) for e in encodings]) for name in ("ids", "attention_mask"))
    output = tower.encoder(input_ids=ids, attention_mask=mask)
    pooled = getattr(output, "pooler_output", None)
    if pooled is None:
        weight = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
        pooled = (output.last_hidden_state * weight).sum(1) / weight.sum(1)
    return (tower.projection(pooled) if tower.projection else pooled).float()
