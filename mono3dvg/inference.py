"""Inference: sentences in chunks, and the selection of answers among scored candidates.

Letters: B images, N sentences, K candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.tensor_record import TensorRecord
from d2road.utils.uploads import upload
from mono3dvg.data.model_inputs import place_of
from mono3dvg.detection.candidates import Candidates
from mono3dvg.grounder_options import InferenceOptions
from mono3dvg.relation.presence_head import joint_scores
from mono3dvg.text.text_features import TextFeatures


@dataclass(frozen=True)
class Expression:
    """A sentence about one image of a batch: text, image and id; what messages call it; from pixels of the network
    input to those of the output, (x, y)."""

    text: str
    image: int
    expression_id: object
    place: str
    scale: tuple[float, float]


def expressions_in_chunks(
    batched_inputs: Sequence[dict], sizes: Sequence[tuple[int, int]], size: int
) -> Iterator[list[Expression]]:
    """All sentences of a batch of images of `sizes` (height, width), `size` at a time."""
    expressions = []
    for b, (x, (height, width)) in enumerate(zip(batched_inputs, sizes)):
        scale = (x.get("width", width) / width, x.get("height", height) / height)
        expressions += [
            Expression(e.get("text"), b, e.get("id"), place_of(e, x), scale) for e in x.get("expressions", ())
        ]
    for start in range(0, len(expressions), size):
        yield expressions[start : start + size]


def final_scores(heat: Tensor, referral: Tensor, exponent: float = 0.5) -> Tensor:
    """Score of a box as the answer to a sentence.

    heat ** exponent * p ** (1 - exponent), p the probability of the referral: at 0.5 the geometric mean, high only if
    something stands there and it is meant. An exponent of 0 leaves the referral alone.

    Args:
        heat: (..., ) probability that an object stands there.
        referral: (..., ) logits.
    """
    log_score = exponent * heat.float().clamp(min=1e-8).log() + (1 - exponent) * F.logsigmoid(referral.float())
    return torch.exp(log_score)


def answer_scores(candidates: Candidates, logits: Tensor, presence: Tensor | None, exponent: float) -> Tensor:
    """(N, K) `final_scores`, beside each other where `presence` (N,), logits of whether any is meant, is known."""
    scores = final_scores(candidates.heat, logits, exponent)
    return scores if presence is None else joint_scores(scores, presence, candidates.valid)


@dataclass
class _Answers(TensorRecord):
    """What is told of K candidates of N sentences, (N, K, ...)."""

    rows: Tensor
    scores: Tensor
    boxes_xyxy: Tensor
    classes: Tensor


def select_answers(
    candidates: Candidates,
    logits: Tensor,
    presence: Tensor | None,
    text: TextFeatures,
    expressions: Sequence[Expression],
    options: InferenceOptions,
) -> list[dict]:
    """Answers of N sentences: their candidates from `min_score` on, best first, as `Mono3DVG.forward` returns them.

    Args:
        candidates: (N, K). logits: (N, K) of being meant.
        presence: (N,) logits of whether any is; None where no head says so.
    """
    scores = answer_scores(candidates, logits, presence, options.heat_exponent)
    relevance = text.token_relevance()
    answers = []
    shown = candidates.valid & (scores >= options.min_score)
    order = scores.masked_fill(~shown, -torch.inf).argsort(dim=1, descending=True, stable=True)
    scale = torch.tensor([[*e.scale, *e.scale] for e in expressions], dtype=candidates.boxes_xyxy.dtype)
    boxes = candidates.boxes_xyxy * upload(scale, scores.device)[:, None]
    ranked = _Answers(candidates.rows, scores, boxes, candidates.classes).take(order)
    for n, (expression, count) in enumerate(zip(expressions, shown.sum(1).tolist())):
        answers.append(
            {
                "expression_id": expression.expression_id,
                "boxes": ranked.rows[n, :count],
                "scores": ranked.scores[n, :count],
                "boxes_xyxy": ranked.boxes_xyxy[n, :count],
                "classes": ranked.classes[n, :count],
                "words": text.tokens[n],
                "spans": text.spans[n],
                "relevance": relevance[n] if relevance is not None else [1.0] * len(text.tokens[n]),
            }
        )
    return answers
