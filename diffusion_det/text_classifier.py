"""Words as classes: region features against text embeddings of class names, in place of the last linear layer.

Letters: K classes, W channels of a text encoder, C of the decoder.

    logits = exp(logit_scale) * cos(region feature, project(text embedding)) + bias

The text side is computed once for a vocabulary and folded, so that what is left is a unit norm and a linear layer.
Source: Radford et al. (CLIP), ICML 2021, for cosine and temperature; Cheng et al., YOLO-World, CVPR 2024, section 3.3,
for the fold. Differs: the projection is on the side of the text, which makes the fold exact; the bias, one for all
classes, is the background of the focal loss.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.checkpoint.packaged_part import DIGEST
from d2road.utils.errors import CheckpointError, ConfigError
from d2road.utils.optional_packages import require_package
from diffusion_det.head import DiffusionHead

FIRST_SCALE, MAX_SCALE = 1 / 0.07, 100.0  # of CLIP


class TextClassifier(nn.Module):
    """Cosine classifier of region features by text embeddings, with a learned temperature and background bias.

    Args:
        dim: C.
        embeddings: (K, W) of the class words, of length 1; they are kept out of checkpoints.
        prior_prob: score of a feature that is like no class, to start from.
    """

    embeddings: Tensor
    folded_weight: Tensor | None
    folded_bias: Tensor | None

    def __init__(self, dim: int, embeddings: Tensor, prior_prob: float = 0.01):
        super().__init__()
        self.register_buffer("embeddings", embeddings, persistent=False)
        self.register_buffer("folded_weight", None, persistent=False)
        self.register_buffer("folded_bias", None, persistent=False)
        self.project = nn.Linear(embeddings.shape[1], dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        self.bias = nn.Parameter(torch.tensor(-math.log((1 - prior_prob) / prior_prob)))
        self.register_load_state_dict_pre_hook(lambda module, *_: module.unfold())

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight (K, C) and bias (K,) of the linear layer that this is behind a unit norm."""
        scale = self.logit_scale.clamp(max=math.log(MAX_SCALE)).exp()
        return scale * F.normalize(self.project(self.embeddings), dim=-1), self.bias.expand(len(self.embeddings))

    def forward(self, features: Tensor) -> Tensor:
        """(..., C) -> logits (..., K)."""
        weight, bias = self.folded_weight, self.folded_bias
        if weight is None or bias is None:
            weight, bias = self.linear()
        return F.linear(F.normalize(features, dim=-1), weight, bias)

    @torch.no_grad()
    def fold(self) -> None:
        """Compute the text side once, until the layer trains or loads weights again."""
        weight, bias = self.linear()
        self.folded_weight, self.folded_bias = weight.clone(), bias.clone()

    def unfold(self) -> None:
        """Compute the text side in every pass."""
        self.folded_weight = self.folded_bias = None

    def train(self, mode: bool = True) -> "TextClassifier":
        """As nn.Module's; what trains is not folded."""
        if mode:
            self.unfold()
        return super().train(mode)

    def set_embeddings(self, embeddings: Tensor) -> None:
        """Take other classes, (K', W); a folded layer is folded anew."""
        self.embeddings = embeddings.to(self.embeddings)
        if self.folded_weight is not None:
            self.fold()


class Vocabulary(nn.Module):
    """Class words and the frozen text encoder that embeds them, which a checkpoint knows by the SHA-256 of its weights.

    Args:
        source, templates, download: see `embed_texts`.
        words: of the classes, in their order.
    Raises:
        ConfigError: see `checked_words`. FileNotFoundError, D2RoadError: as `embed_texts`.

    Attributes:
        vectors: (K, W) of the words, at first.
    """

    encoder_sha256: Tensor

    def __init__(self, source: str, words: Sequence[str], templates: Sequence[str] = ("{}",), download: bool = False):
        super().__init__()
        self.source, self.templates, self.download = source, tuple(templates), download
        self.vectors, digest = self._embed(words)
        self.register_buffer("encoder" + DIGEST, digest)
        self.register_load_state_dict_pre_hook(_require_same_encoder)

    def embed(self, words: Sequence[str]) -> Tensor:
        """(K', W) of other words, by the encoder of the training.

        Raises:
            As the constructor; CheckpointError: the encoder has changed.
        """
        vectors, digest = self._embed(words)
        _compare(self, self.encoder_sha256, digest)
        return vectors

    def _embed(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        words = checked_words(words)
        for package in ("tokenizers", "transformers"):
            require_package(package, "grounding", "MODEL.DiffusionDet.CLASSIFIER text")
        from d2road.modeling.text.text_embeddings import embed_texts

        return embed_texts(self.source, words, self.templates, self.download)


def _require_same_encoder(module: Any, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    stored = state.get(f"{prefix}encoder{DIGEST}")
    if stored is not None:
        _compare(module, stored, module.encoder_sha256)


def _compare(vocabulary: Vocabulary, stored: Tensor, own: Tensor) -> None:
    if torch.equal(stored.cpu(), own.cpu()):
        return
    theirs, ours = (bytes(digest.cpu().numpy()).hex()[:12] for digest in (stored, own))
    raise CheckpointError(
        f"the classifier was trained with a text encoder of SHA-256 {theirs}..., and {vocabulary.source!r} has "
        f"{ours}...: name the encoder of the training in MODEL.DiffusionDet.TEXT.ENCODER"
    )


def checked_words(words: Sequence[str]) -> list[str]:
    """Class words without white space around them.

    Raises:
        ConfigError: none, an empty one, or one that comes twice.
    """
    problems = word_problems(words)
    if problems:
        raise ConfigError(f"class words {list(words)[:20]}: {'; '.join(problems)}")
    return [word.strip() for word in words]


def word_problems(words: Sequence[str]) -> list[str]:
    """What is wrong with class words."""
    if isinstance(words, str):
        return [f"expected a list of texts, got one text; [{words!r}] is a list of one"]
    if not words:
        return ["there is none, expected one or more"]
    if not all(isinstance(word, str) and word.strip() for word in words):
        return ["one is empty or no text"]
    plain = [" ".join(word.split()).lower() for word in words]
    twice = sorted({word for word in plain if plain.count(word) > 1})
    return [f"{', '.join(map(repr, twice))} comes twice"] if twice else []


def use_text_classifiers(head: DiffusionHead, embeddings: Tensor, prior_prob: float) -> None:
    """Let every stage of a decoder classify by text embeddings (K, W) instead of by its linear layer."""
    for stage in head.get_submodule("head_series").children():
        linear: Any = stage.class_logits
        classifier = TextClassifier(linear.in_features, embeddings, prior_prob)
        classifier.requires_grad_(linear.weight.requires_grad)
        stage.class_logits = classifier


class ClassifiesByText:
    """What DiffusionDet inherits so that its classes may be words, see `d2road.engine.meta_arch.NamesClasses`.

    Attributes:
        vocabulary: None where the classes are those of a linear layer.
    """

    vocabulary: Vocabulary | None

    def set_classes(self, words: Sequence[str]) -> None:
        """Find these from now on: texts, whose order numbers the classes.

        Raises:
            ConfigError: the classifier is linear; poses are estimated, which are learned by class; or the words are
                none, empty or come twice.
        """
        model: Any = self
        if self.vocabulary is None:
            raise ConfigError(
                "MODEL.DiffusionDet.CLASSIFIER is 'linear', whose classes are those of its training: other words need "
                "a model that was trained with CLASSIFIER text, see docs/diffusion_det.md"
            )
        if model.pose is not None:
            raise ConfigError(
                "MODEL.DiffusionDet.POSE.ENABLED is True, and sizes in 3D are learned by class: set it to False to "
                "find other words in 2D"
            )
        vectors = self.vocabulary.embed(words)
        for classifier in self.text_classifiers():
            classifier.set_embeddings(vectors)
        model.criterion.num_classes, model.criterion.unseen = len(vectors), []
        if model.graphs is not None:
            model.graphs.forget()

    def fold_for_inference(self) -> None:
        """Fold text embeddings into linear layers; nothing where the layers are linear."""
        for classifier in self.text_classifiers():
            classifier.fold()

    def text_classifiers(self) -> list[TextClassifier]:
        """Those of all decoder stages; none where the layers are linear."""
        model: Any = self
        return [module for module in model.head.modules() if isinstance(module, TextClassifier)]
