"""The small RoBERTa that is trained with the rest: architecture of the text encoder "scratch"."""

from typing import TYPE_CHECKING

from d2road.utils.errors import ConfigError
from mono3dvg.text.tokenizer import PAD_ID

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def small_roberta(
    width: int, layers: int, heads: int, dropout: float, vocab_size: int, max_tokens: int
) -> "PreTrainedModel":
    """RoBERTa without a pooler, of random weights, for sentences of at most `max_tokens` tokens.

    Raises:
        ConfigError: the heads do not divide the width.
    """
    from transformers import RobertaConfig, RobertaModel

    if heads < 1 or width % heads:
        raise ConfigError(f"{heads} heads do not divide the text encoder's width {width}")
    config = RobertaConfig(
        vocab_size=vocab_size, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        max_position_embeddings=max_tokens + PAD_ID + 1, type_vocab_size=1, pad_token_id=PAD_ID, bos_token_id=0,
        eos_token_id=2,
    )  # fmt: skip
    return RobertaModel(config, add_pooling_layer=False)
