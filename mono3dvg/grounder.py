"""Mono3DVG, the registered meta-architecture: images and sentences in, losses or the boxes that are meant out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn

from d2road.data.camera_files import camera_list
from d2road.export.graph import ExportGraph, ExportOptions
from d2road.modeling.bfloat16 import Bfloat16Inference
from d2road.modeling.padding import by_padded_size
from d2road.structures import Camera
from d2road.structures.camera_batch import SceneGeometry
from d2road.utils.aliases import rename_stored_weights
from d2road.utils.errors import ConfigError
from mono3dvg.build import build_parts
from mono3dvg.criterion import GroundingCriterion, read_targets
from mono3dvg.data.model_inputs import PLACEHOLDER_TEXT, objects_of
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.dense_head import DenseHead, RawMaps, ReferHead, covered_cells, decode_peaks, gather_each
from mono3dvg.detection.labelled_candidates import candidates_of_objects
from mono3dvg.detection.objects import Objects
from mono3dvg.detection.query_head import DecodeContext, Proposals, QueryHead, RawQueries, decode_queries
from mono3dvg.export.grounder_graph import export_graph
from mono3dvg.fusion.fusion_neck import FusionNeck, NeckOutput, channels_last
from mono3dvg.grounder_options import InferenceOptions, InputOptions, TrainingOptions
from mono3dvg.grounder_state import GrounderState
from mono3dvg.grounding_features import (
    Detections,
    FusedFeatures,
    ImageBatch,
    ImageFeatures,
)
from mono3dvg.inference import answer_scores, expressions_in_chunks, select_answers
from mono3dvg.relation.relation_features import RelationFeatures, compute_relation_features
from mono3dvg.relation.relation_layer import RelationLayer, RelationOutput
from mono3dvg.text.text_features import TextFeatures
from mono3dvg.training_outputs import training_outputs
from mono3dvg.training_stages import keep_submodules, training_stage


@META_ARCH_REGISTRY.register()
class Mono3DVG(Bfloat16Inference, nn.Module):
    """Monocular 3D visual grounding: finds the objects that sentences mean, one, several or none.

        image ----> encode_image ---------+-----------------> detect --+
                                          v                    ^       v
        sentence -> encode_text -------> fuse -----------------+-> score_candidates -> select

    What stands where is read from the image once; maps that are fused with a sentence say where it may be meant, and a
    layer that compares the candidates decides. See `from_config` for the parts.

    Args:
        backbone: feature pyramid.
        text_encoder: sentences to `TextFeatures`.
        neck: fuses; dense_head: detections; refer_head: referral map; relation: compares candidates, or None.
        query_head: in place of these two, which are then None.
        state: classes and threshold, kept in checkpoints.
        inputs, inference, training: see there.
    """

    default_mapper = "Mono3DVGMapper"
    rounded_parts = ("backbone", "text_encoder", "neck")  # boxes and scores are computed in full from what they give

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        text_encoder: nn.Module,
        neck: FusionNeck,
        dense_head: DenseHead,
        refer_head: ReferHead | None,
        relation: RelationLayer | None,
        query_head: QueryHead | None,
        state: GrounderState,
        inputs: InputOptions,
        inference: InferenceOptions,
        training: TrainingOptions,
    ):
        super().__init__()
        self.backbone, self.text_encoder, self.neck = backbone, text_encoder, neck
        self.dense_head, self.refer_head, self.relation = dense_head, refer_head, relation
        self.query_head, self.state = query_head, state
        self.inputs, self.inference, self.training_options = inputs, inference, training
        self.stage = training_stage(training.stage)
        self.criterion = GroundingCriterion(
            inputs.priors_hwl, inputs.stride, inputs.ry_frame, training.match_iou, training.loss_weights
        )
        for name, part in self.named_children():
            if self.stage.trained and name not in self.stage.trained:
                part.requires_grad_(False)
        self.register_load_state_dict_pre_hook(rename_stored_weights)
        if self.stage.saves_trained_only:
            self.register_state_dict_post_hook(keep_submodules((*self.stage.trained, "state")))
        self.priors_hwl: Tensor
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("priors_hwl", torch.tensor(inputs.priors_hwl), persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(inputs.pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(inputs.pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of __init__ from a config; see `build.build_parts`."""
        return build_parts(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def score_threshold(self) -> float:
        """Boxes from this score on are the answer: the threshold chosen on validation data, if there was any."""
        return self.state.score_threshold

    def take_results(self, results: Mapping[str, Any]) -> None:
        """Keep the threshold of an evaluation, to be saved with the weights."""
        for task in (results.get("grounding"), *(part.get("grounding") for part in results.values() if part)):
            if task:
                self.state.set_threshold(task["score_threshold"])
                return

    def export_graph(self, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
        """All stages as one graph; see `d2road.engine.meta_arch.ExportsGraph` and `mono3dvg.export`."""
        return export_graph(self, cfg, images, options)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of INPUT.FORMAT, `camera`, a Camera in its pixels,
                `expressions`, a list of {"id", "text"} that may be empty or left out; `height`, `width` of the output
                (default: the input's). In training also `instances` with gt_boxes, gt_classes, gt_boxes3d, gt_has_3d
                and perhaps gt_ignore, and in each expression `targets`, positions in it.
        Returns:
            in training the weighted losses by name; else per image {"groundings": [...]}, a dict for each expression:
            expression_id; of the M candidates, best first, boxes (M, 7), rows x, y, z, h, w, l, ry as the data has them
            (camera frame, m, rad), scores (M,), boxes_xyxy (M, 4) pixels of the output, classes (M,); words, spans (of
            characters) and relevance of each, lists. Those from `score_threshold` on are the answer.
        Raises:
            DataError: no camera, an empty or overlong sentence, targets that the image does not have.
        """
        if self.training:
            targets = read_targets(batched_inputs, self.device, self.stage.sentences)
            return self.criterion(training_outputs(self, batched_inputs, targets), targets)
        return by_padded_size(self.answer, batched_inputs, self.backbone)

    def answer(self, batched_inputs: list[dict]) -> list[dict]:
        """`forward` in testing, for images that are padded to one size."""
        answers: list[dict] = [{"groundings": []} for _ in batched_inputs]
        image = self.encode_image(batched_inputs)
        for asked in expressions_in_chunks(batched_inputs, image.batch.sizes, self.inference.sentences_per_chunk):
            text = self.encode_text([e.text for e in asked], [e.place for e in asked])
            fused = self.fuse(image, text, torch.tensor([e.image for e in asked], device=self.device))
            found = self.detect(image, fused)
            scored = self.score_candidates(fused, found)
            for expression, answer in zip(
                asked, select_answers(found.candidates, *scored, text, asked, self.inference)
            ):
                answers[expression.image]["groundings"].append(answer)
        return answers

    # --- the stages of a forward pass ---

    def preprocess(self, batched_inputs: list[dict]) -> ImageBatch:
        """Normalise, pad to one size and batch; cameras and grounds as the model believes them."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        if self.inputs.ablate_input == "image":
            images = [torch.zeros_like(image) for image in images]
        batch = ImageList.from_tensors(images, self.backbone.size_divisibility)
        cameras = [c if self.inputs.use_given_ground else Camera(c.P) for c in camera_list(batched_inputs)]
        scene = SceneGeometry.from_list(cameras, self.device)
        sizes_hw = torch.tensor(batch.image_sizes, dtype=torch.float32, device=self.device)
        return ImageBatch(batch.tensor, self.colors(batch.tensor), batch.image_sizes, sizes_hw, scene)

    def colors(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) as colours from 0 to 1."""
        return ((pixels * self.pixel_std + self.pixel_mean) / 255).clamp(0, 1)

    def encode_image(self, inputs: list[dict] | ImageBatch, padded: bool = False) -> ImageFeatures:
        """All that does not depend on sentences: maps, detections and the candidates that these hold.

        `padded` leaves room for all candidates that there can be, see `decode_peaks`.
        """
        image = self.encode_maps(inputs)
        image.peaks = self.detected_peaks(image, padded)
        image.relation = self.relation_features(image.peaks, image.batch) if self.relation is not None else None
        return image

    def encode_maps(self, inputs: list[dict] | ImageBatch) -> ImageFeatures:
        """Maps of the backbone and raw detections, of inputs as they come or preprocessed."""
        batch = inputs if isinstance(inputs, ImageBatch) else self.preprocess(inputs)
        with self.inference_autocast(self.device):
            maps = self.backbone(channels_last(batch.pixels))
        maps = [self.in_full(maps[name]) for name in self.inputs.in_features]
        height, width = maps[0].shape[2:]
        covered = covered_cells(batch.sizes_hw, (height, width), self.inputs.stride, self.device)
        return ImageFeatures(batch, maps, self.dense_head(maps[0]), covered)

    @torch.no_grad()
    def detected_peaks(self, image: ImageFeatures, padded: bool = False) -> Candidates:
        """Peaks of the detections of B images as candidates; `padded` as for `encode_image`."""
        options = self.inference
        return decode_peaks(
            image.raw, image.batch.scene, image.batch.sizes_hw, self.inputs.stride, self.priors_hwl,
            self.inputs.ry_frame, top_k=options.top_k, threshold=options.min_heat, nms_2d=options.nms_2d,
            nms_bev=options.nms_bev, padded=padded, covered=image.covered,
        ).detach()  # fmt: skip

    def encode_text(self, texts: Sequence[str], places: Sequence[str] | None = None) -> TextFeatures:
        """Words of N sentences, before any image; `places` is what messages call each."""
        ablated = self.inputs.ablate_input == "sentence"
        with self.inference_autocast(self.device):
            text = self.text_encoder([PLACEHOLDER_TEXT] * len(texts) if ablated else list(texts), places)
        relevance = None if text.relevance is None else self.in_full(text.relevance)
        return replace(text, features=self.in_full(text.features), relevance=relevance)

    def fuse(self, image: ImageFeatures, text: TextFeatures, image_of: Tensor) -> FusedFeatures:
        """Words of N sentences, fused with the maps of their images (N,)."""
        with self.inference_autocast(self.device):
            fused = self.neck(image.maps, image_of, text.features, text.mask, text.relevance, image.covered)
        fused = NeckOutput(*(self.in_full(part) for part in (fused.map, fused.words, fused.sentence)))
        refer = self.refer_head(fused.map) if self.refer_head is not None else None
        return FusedFeatures(fused.map, replace(text, features=fused.words), fused.sentence, refer, image_of)

    def detect(self, image: ImageFeatures, fused: FusedFeatures) -> Detections:
        """Candidates of N sentences: the peaks of their images, or what queries that start there find."""
        assert image.peaks is not None
        if self.query_head is None:
            return Detections(image.peaks.for_each(fused.image_of), image.relation)
        queries, context = self.run_queries(image, fused)
        candidates, referral = decode_queries(queries[-1], context, self.inference.min_heat)
        return Detections(candidates, referral=referral)

    def score_candidates(self, fused: FusedFeatures, found: Detections) -> tuple[Tensor, Tensor | None]:
        """Logits (N, K) of whether each candidate is meant, and (N,) of whether any is, where a head says so."""
        if found.referral is not None:
            return found.referral, None
        if found.relation is not None:
            scores = self.relate(fused, found.candidates.cells, found.relation)
            return scores.answers[-1], scores.presence
        assert fused.refer is not None
        return fused.refer.flatten(1).gather(1, found.candidates.cells), None

    # --- what inference and training share ---

    def relation_features(self, candidates: Candidates, batch: ImageBatch) -> RelationFeatures:
        """Geometry and colours of the candidates of B images, once for all sentences."""
        return compute_relation_features(candidates, batch.scene, batch.sizes_hw, self.inputs.ry_frame, batch.colors)

    def relate(self, fused: FusedFeatures, cells: Tensor, features: RelationFeatures) -> RelationOutput:
        """The relation layer on candidates at cells (N, K) of N sentences; features are of their B images."""
        assert self.relation is not None
        return self.relation(features, fused.image_of, gather_each(fused.map, cells), fused.text)

    def run_queries(self, image: ImageFeatures, fused: FusedFeatures) -> tuple[list[RawQueries], DecodeContext]:
        """Outputs of the decoder stages for queries that start at the peaks, and what decoding them needs."""
        assert self.query_head is not None and image.peaks is not None
        sizes, scene = image.batch.sizes_hw[fused.image_of], image.batch.scene[fused.image_of]
        proposals = Proposals.of(image.raw, image.peaks)[fused.image_of]
        queries = self.query_head(fused.map, fused.text.features, fused.text.mask, sizes, proposals)
        width = image.raw.heat.shape[-1]
        return queries, DecodeContext(scene, sizes, width, self.inputs.stride, self.priors_hwl, self.inputs.ry_frame)

    def labelled_candidates(
        self, objects: Sequence[Objects], batch: ImageBatch, raw: RawMaps | None = None, jitter: float = 0.0
    ) -> Candidates:
        """Labelled objects as candidates, with the attributes that the dense head finds; without it, of the labels."""
        stride = self.inputs.stride
        height, width = raw.heat.shape[2:] if raw is not None else (-(-n // stride) for n in batch.pixels.shape[2:])
        given = candidates_of_objects(
            objects, batch.scene, len(self.priors_hwl), (height, width), stride, self.inputs.ry_frame,
            attributes=raw is None and self.dense_head.num_attributes > 0, jitter=jitter,
        )  # fmt: skip
        if raw is None or not self.dense_head.num_attributes:
            return given
        return replace(given, attributes=raw.attributes_at(given.cells).detach().float().sigmoid())

    @torch.no_grad()
    def refer_objects(self, batched_inputs: list[dict]) -> list[list[Tensor]]:
        """How sure the model is of labelled objects: per image and expression (M,) probabilities of being meant, in
        the order of its `instances`; NaN for objects that are no candidates (ignored, or without 3D box).

        Raises:
            ConfigError: a model with queries, which judge nothing but what they find themselves.
        """
        if self.query_head is not None:
            raise ConfigError("MODEL.MONO3DVG.HEAD is 'query': queries cannot judge labelled objects")
        image = self.encode_maps(batched_inputs)
        objects = [objects_of(x) for x in batched_inputs]
        given = self.labelled_candidates(objects, image.batch, image.raw)
        features = self.relation_features(given, image.batch) if self.relation is not None else None
        found: list[list[Tensor]] = [[] for _ in batched_inputs]
        for asked in expressions_in_chunks(batched_inputs, image.batch.sizes, self.inference.sentences_per_chunk):
            text = self.encode_text([e.text for e in asked], [e.place for e in asked])
            fused = self.fuse(image, text, torch.tensor([e.image for e in asked], device=self.device))
            candidates = given[fused.image_of]
            sure = answer_scores(candidates, *self.score_candidates(fused, Detections(candidates, features)), 0.0)
            for row, expression in zip(sure.masked_fill(~candidates.valid, torch.nan), asked):
                found[expression.image].append(row[: len(objects[expression.image])])
        return found
