"""The stages of the grounder as modules that take and return tensors alone: image, sentence, scoring.

    image, camera --> ImagePart ----+
                                    +--> ScoringPart --> scores
    tokens ---------> SentencePart -+

An image is encoded once for all sentences: what the image part returns does not depend on them, and the fusion with a
sentence is a part of the scoring. `WholeGrounder` is all three in one.

Letters: N sentences, S tokens with special ones, K candidates with padding, D channels.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from d2road.export.shortest_edge_resize import ShortestEdgeResize, normalize_padded, size_tensor
from d2road.export.traceable_operations import traceable_operations
from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.scene_tensors import scene_of_tensors
from mono3dvg.detection.candidates import Candidates
from mono3dvg.grounder_options import InferenceOptions, InputOptions
from mono3dvg.grounding_features import Detections, FusedFeatures, ImageBatch, ImageFeatures
from mono3dvg.inference import answer_scores
from mono3dvg.relation.relation_features import RelationFeatures
from mono3dvg.text.text_features import TextFeatures

UNUSED = cast(Any, None)  # a field that no later stage looks at
CAMERA = ("images", "projection", "ground_plane")
TOKENS = ("token_ids", "attention_mask", "special_tokens_mask", "log_numbers")
BOXES = ("boxes_3d", "boxes", "classes", "heat", "valid")
RELATION = ("unary", "pairwise", "precedes", "offset_m", "distance_m")
WORDS = ("words", "word_mask", "word_numbers", "relevance")


class StagedGrounder(Protocol):
    """What of `Mono3DVG` the parts are made of; see there."""

    backbone: Any
    text_encoder: Any
    relation: Any
    inputs: InputOptions
    inference: InferenceOptions
    pixel_mean: Tensor
    pixel_std: Tensor

    def colors(self, pixels: Tensor) -> Tensor: ...

    def encode_image(self, inputs: ImageBatch, padded: bool = False) -> ImageFeatures: ...

    def fuse(self, image: ImageFeatures, text: TextFeatures, image_of: Tensor) -> FusedFeatures: ...

    def detect(self, image: ImageFeatures, fused: FusedFeatures) -> Detections: ...

    def score_candidates(self, fused: FusedFeatures, found: Detections) -> tuple[Tensor, Tensor | None]: ...


class ImagePart(nn.Module):
    """Maps, candidates and their relation features of one image of any size.

    Args:
        model: in eval mode.
        resize: to the size that the model takes, with the backbone's divisor.
        channels: "RGB" or "BGR", the order that the model takes.
    """

    input_names = CAMERA

    def __init__(self, model: StagedGrounder, resize: ShortestEdgeResize, channels: str):
        super().__init__()
        self.model, self.resize, self.channels = model, resize, channels
        relation = RELATION if model.relation is not None else ()
        maps = tuple(f"map_{level}" for level in range(len(model.inputs.in_features)))
        self.output_names = (*BOXES, "cells", *relation, "covered", *maps)

    def forward(self, images: Tensor, projection: Tensor, ground_plane: Tensor) -> tuple[Tensor, ...]:
        """Encode an image.

        Args:
            images: (1, H, W, 3) uint8, RGB.
            projection: (3, 4) of the camera, in pixels of the image.
            ground_plane: (4,) a, b, c, d with a x + b y + c z + d = 0 in the camera frame; four zeros for none.
        Returns:
            boxes_3d (K, 7), boxes (K, 4) in pixels of the image, classes, heat, valid and cells (K,) of the candidates;
            their relation features, covered and the maps as `ImageFeatures` has them, the former without the axis of
            images.
        """
        model = self.model
        pixels, size_hw = self.resize(images.permute(0, 3, 1, 2))
        pixels = pixels if self.channels == "RGB" else pixels.flip(1)
        pixels = normalize_padded(pixels, size_hw, model.pixel_mean, model.pixel_std)
        before = torch.stack([size_tensor(side) for side in (images.shape[2], images.shape[1])]).to(torch.float32)
        after = size_hw.flip(0).to(torch.float32)  # width and height
        scene = self._scene(projection, ground_plane, after / before)
        batch = ImageBatch(pixels, model.colors(pixels), UNUSED, after.flip(0)[None], scene)
        seen = model.encode_image(batch, padded=True)
        found = seen.peaks
        assert found is not None
        boxes = found.boxes_xyxy * (before / after).repeat(2)
        parts = [found.rows, boxes, found.classes, found.heat, found.valid, found.cells]
        if seen.relation is not None:
            parts += [getattr(seen.relation, name) for name in RELATION]
        return (*(part[0] for part in parts), seen.covered, *seen.maps)

    def _scene(self, projection: Tensor, ground_plane: Tensor, scale: Tensor) -> SceneGeometry:
        rows = torch.cat([scale, torch.ones_like(scale[:1])])
        plane = ground_plane if self.model.inputs.use_given_ground else ground_plane * 0
        return scene_of_tensors((projection * rows[:, None])[None], plane[None])


class SentencePart(nn.Module):
    """Words of N sentences, filtered."""

    input_names, output_names = TOKENS, WORDS

    def __init__(self, model: StagedGrounder):
        super().__init__()
        self.encoder = model.text_encoder

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor, special_tokens_mask: Tensor, log_numbers: Tensor
    ) -> tuple[Tensor, ...]:
        """Encode tokens (N, S); the names are those of the tokenizers library, which fills sentences up at their end.

        Args:
            log_numbers: (N, S) logarithm of the number in figures that a token is a part of; NaN for other tokens.
        Returns:
            words (N, S, D), word_mask, word_numbers and relevance (N, S): words come first.
        """
        is_word = (attention_mask != 0) & (special_tokens_mask == 0)
        count = token_ids.shape[1]
        order = (torch.arange(count, device=token_ids.device) + (~is_word) * count).argsort(dim=1)
        mask = is_word.gather(1, order)
        words = self.encoder.embed(token_ids, attention_mask, order, mask)
        relevance = mask.to(words.dtype)
        if self.encoder.filter is not None:
            words, relevance = self.encoder.filter(words, mask)
        return words, mask, log_numbers.gather(1, order), relevance


class ScoringPart(nn.Module):
    """How well N sentences fit the candidates of one image."""

    def __init__(self, model: StagedGrounder, image_names: tuple[str, ...]):
        super().__init__()
        self.model = model
        unneeded = set(BOXES) - {"heat", "valid"}
        self.image_names = tuple(name for name in image_names if name not in unneeded)
        self.input_names = (*self.image_names, *WORDS)
        self.has_presence = model.relation is not None and model.relation.presence is not None
        self.output_names = ("scores", "presence") if self.has_presence else ("scores",)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Scores (N, K); and, where a head says so, the probability (N,) that any candidate is meant."""
        given = dict(zip(self.input_names, inputs, strict=True))
        words, mask, numbers, relevance = (given[name] for name in WORDS)
        image = self._image(given)
        image_of = torch.zeros_like(mask[:, 0], dtype=torch.long)
        fused = self.model.fuse(image, TextFeatures(words, mask, UNUSED, UNUSED, numbers, relevance), image_of)
        found = self.model.detect(image, fused)
        logits, presence = self.model.score_candidates(fused, found)
        scores = answer_scores(found.candidates, logits, presence, self.model.inference.heat_exponent)
        return (scores,) if presence is None else (scores, presence.sigmoid())

    def _image(self, given: dict[str, Tensor]) -> ImageFeatures:
        heat, valid, cells = (given[name][None] for name in ("heat", "valid", "cells"))
        peaks = Candidates(
            boxes_xyxy=UNUSED, rows=UNUSED, classes=UNUSED, class_probs=UNUSED, attributes=UNUSED, heat=heat,
            std=UNUSED, cells=cells, valid=valid,
        )  # fmt: skip
        relation = None
        if self.model.relation is not None:
            relation = RelationFeatures(**{name: given[name][None] for name in RELATION}, valid=valid)
        maps = [tensor for name, tensor in given.items() if name.startswith("map_")]
        return ImageFeatures(UNUSED, maps, UNUSED, given["covered"], peaks, relation)


class WholeGrounder(nn.Module):
    """All parts in one: an image and N sentences to the D candidates and their scores, without padding."""

    def __init__(self, image: ImagePart, sentence: SentencePart, scoring: ScoringPart):
        super().__init__()
        self.image, self.sentence, self.scoring = image, sentence, scoring
        self.input_names = (*image.input_names, *sentence.input_names)
        self.output_names = ("boxes_3d", "boxes", "classes", "heat", *scoring.output_names, "relevance")

    def forward(
        self,
        images: Tensor,
        projection: Tensor,
        ground_plane: Tensor,
        token_ids: Tensor,
        attention_mask: Tensor,
        special_tokens_mask: Tensor,
        log_numbers: Tensor,
    ) -> tuple[Tensor, ...]:
        """Arguments of the image part, then of the sentence part.

        Returns:
            boxes_3d (D, 7), boxes (D, 4), classes, heat (D,), surest detections first; scores (N, D); presence (N,)
            where a head says so; relevance (N, S) of the words, which come first.
        """
        with traceable_operations():
            seen = dict(zip(self.image.output_names, self.image(images, projection, ground_plane), strict=True))
            words = self.sentence(token_ids, attention_mask, special_tokens_mask, log_numbers)
            scores, *presence = self.scoring(*(seen[name] for name in self.scoring.image_names), *words)
        kept = seen["valid"].nonzero()[:, 0]
        found = (seen[name].index_select(0, kept) for name in ("boxes_3d", "boxes", "classes", "heat"))
        return (*found, scores.index_select(1, kept), *presence, words[-1])
