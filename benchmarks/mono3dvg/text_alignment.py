"""A trained grounder with another text encoder: its words are brought to those of the former one by least squares.

Both encoders read the training sentences. A linear map from the hidden states of the new one to the word features of
the former one, before their norm's affine map, is fitted in closed form (ridge regression); words are paired by the
characters that they cover. Filter, fusion and relation layer then understand most of the new words from the start.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from benchmarks.mono3dvg.grounding_study import load_trained, save_weights
from d2road.engine import Trainer
from mono3dvg.grounder import Mono3DVG
from mono3dvg.text.text_encoder import TextEncoder
from mono3dvg.text.text_features import TextFeatures
from mono3dvg.text.training_sentences import training_sentences

SENTENCES, CHUNK = 4000, 64
RIDGE = 1e-4  # of the mean variance of the inputs
HELD_OUT = 5  # one sentence of so many says how good the fit is


def swap_text_encoder(cfg: CfgNode, former_cfg: CfgNode, path: Path) -> dict[str, float]:
    """Write the weights of a trained grounder with the text encoder of `cfg` in place of its own.

    Args:
        cfg, former_cfg: of the new model and of the trained one, whose MODEL.WEIGHTS are taken; they differ in
            MODEL.MONO3DVG.TEXT alone. path: the file to write.
    Returns:
        r2: share of the variance of held-out word features that the fit explains; words: that it was fitted on.
    """
    torch.manual_seed(cfg.SEED)
    former, model = load_trained(former_cfg, Path(former_cfg.MODEL.WEIGHTS)), Trainer.build_model(cfg).eval()
    assert isinstance(model, Mono3DVG)
    texts = sorted(set(training_sentences(cfg)))
    texts = [texts[i] for i in np.random.default_rng(cfg.SEED).permutation(len(texts))[:SENTENCES]]
    inputs, targets, held_out = paired_words(model.text_encoder, former.text_encoder, texts)
    weight, bias = fit_ridge(inputs[~held_out], targets[~held_out], RIDGE)
    errors = inputs[held_out] @ weight.T + bias - targets[held_out]
    variance = (targets[held_out] - targets[held_out].mean(0)).square().sum()
    kept = {name: value for name, value in former.state_dict().items() if not name.startswith("text_encoder.")}
    model.load_state_dict(kept, strict=False)
    model.text_encoder.project.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    model.text_encoder.norm.load_state_dict(former.text_encoder.norm.state_dict())
    if model.text_encoder.filter is not None:
        model.text_encoder.filter.load_state_dict(former.text_encoder.filter.state_dict())
    save_weights(model, path)
    return {"r2": float(1 - errors.square().sum() / variance), "words": int((~held_out).sum())}


@torch.no_grad()
def paired_words(new: TextEncoder, former: TextEncoder, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Words of the new encoder that some of the former one cover.

    Returns:
        (M, W) hidden states of the new one; (M, D) normalised features of the former one, means over the words that
        share characters, weighted by how many; (M,) bool, of held-out sentences.
    """
    inputs, targets, held_out = [], [], []
    hidden: list[Tensor] = []
    handle = new.project.register_forward_pre_hook(lambda _, given: hidden.append(given[0]))
    for start in range(0, len(texts), CHUNK):
        chunk, held = texts[start : start + CHUNK], [(start + i) % HELD_OUT == 0 for i in range(CHUNK)]
        found, wanted = new.encode(chunk), former.encode(chunk)
        features = (wanted.features - former.norm.bias) / former.norm.weight
        for row in range(len(chunk)):
            shared = shared_characters(found, wanted, row)
            covered = shared.sum(1) > 0
            weights = shared[covered] / shared[covered].sum(1, keepdim=True)
            inputs.append(hidden[-1][row, : len(shared)][covered])
            targets.append(weights @ features[row, : shared.shape[1]])
            held_out += [held[row]] * int(covered.sum())
    handle.remove()
    return torch.cat(inputs).double(), torch.cat(targets).double(), torch.tensor(held_out)


def shared_characters(first: TextFeatures, second: TextFeatures, row: int) -> Tensor:
    """(S, T) how many characters each word of the one has in common with each of the other, in sentence `row`."""
    ends = [torch.tensor(words.spans[row]) for words in (first, second)]
    low = torch.maximum(ends[0][:, None, 0], ends[1][None, :, 0])
    high = torch.minimum(ends[0][:, None, 1], ends[1][None, :, 1])
    return (high - low).clamp(min=0).float()


def fit_ridge(inputs: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Ridge regression with an intercept that is not shrunk.

    Args:
        inputs: (M, W), targets: (M, D), 64-bit. ridge: of the mean variance of the inputs.
    Returns:
        weight (D, W), bias (D,): targets are about inputs @ weight.T + bias.
    """
    means = inputs.mean(0), targets.mean(0)
    x, y = inputs - means[0], targets - means[1]
    gram = x.T @ x
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, x.T @ y).T
    return weight, means[1] - weight @ means[0]
