"""The registered meta-architecture: images and sentences in, losses or the boxes that are meant out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn

from d2road.data.camera_files import camera_list
from d2road.structures import Camera
from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry
from d2road.utils.errors import ConfigError
from mono3dvg.build import build_parts
from mono3dvg.criterion import LESSON_PARTS, training_losses
from mono3dvg.data.model_inputs import NOTHING_SAID, objects_of, place_of
from mono3dvg.detection.candidates import Candidates, covered_cells, decode, from_objects
from mono3dvg.detection.dense_head import final_scores, gather_each
from mono3dvg.detection.objects import Objects
from mono3dvg.detection.query_head import Proposals, RawQueries, Setting
from mono3dvg.detection.query_head import decode as decode_queries
from mono3dvg.grounder_state import ModelState
from mono3dvg.grounding_features import Heard, Seen, words_of
from mono3dvg.relation.relation_features import Facts, describe
from mono3dvg.relation.relation_layer import Thoughts
from mono3dvg.text.token_features import Words


def _without_words(model: nn.Module, state_dict: dict, prefix: str, metadata: dict) -> None:
    """A lesson in boxes leaves out what it does not teach: models of any text encoder and fusion start from it."""
    kept = (*LESSON_PARTS["boxes"], "state")
    for name in [n for n in state_dict if n.startswith(prefix) and n[len(prefix) :].partition(".")[0] not in kept]:
        del state_dict[name]


@META_ARCH_REGISTRY.register()
class Mono3DVG(nn.Module):
    """Finds the objects that sentences mean: one, several or none, in 3D.

    What stands where is read from the image once; maps that hear a sentence say where it may be meant, and a layer that
    compares the candidates decides. See `from_config` for the parts.

    Args:
        backbone: feature pyramid; in_features: names of its maps, fine to coarse.
        stride: of the first of them, pixels.
        text_encoder, text_filter: sentences to `Words`; text_filter may be None.
        neck: fuses; head: detections; refer_head: referral map; relation: compares candidates, or None. query_head: in
            place of these two, which are then None.
        state: classes and threshold, kept in checkpoints.
        priors_hwl: (C, 3) m. ry_frame: "camera" or "ground".
        use_given_ground: whether the planes of the cameras are used.
        jitter, match_iou: of the candidates in training.
        loss_weights: by name.
        decoding: options of `candidates.decode`.
        heat_exponent, min_score: of answers; chunk: sentences that are fused together in testing.
        ignores: "" or what the model is not told, "sentence" or "image".
        lesson: "" or what alone is learned, "labels" or "boxes", see `learning`: all else stays as it is.
    """

    default_mapper = "Mono3DVGMapper"

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        in_features: Sequence[str],
        stride: int,
        text_encoder: nn.Module,
        text_filter: nn.Module | None,
        neck: nn.Module,
        head: nn.Module,
        refer_head: nn.Module | None,
        relation: nn.Module | None,
        query_head: nn.Module | None,
        state: ModelState,
        priors_hwl: Sequence[Sequence[float]],
        ry_frame: str,
        use_given_ground: bool,
        jitter: float,
        match_iou: float,
        loss_weights: dict[str, float],
        decoding: dict[str, Any],
        heat_exponent: float,
        min_score: float,
        chunk: int,
        ignores: str,
        lesson: str,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        super().__init__()
        self.backbone, self.in_features, self.stride = backbone, tuple(in_features), stride
        self.text_encoder, self.text_filter, self.neck = text_encoder, text_filter, neck
        self.dense_head, self.refer_head, self.relation = head, refer_head, relation
        self.query_head, self.state = query_head, state
        self.ry_frame, self.use_given_ground = ry_frame, use_given_ground
        self.jitter, self.match_iou, self.loss_weights = jitter, match_iou, dict(loss_weights)
        self.decoding, self.heat_exponent, self.min_score = dict(decoding), heat_exponent, min_score
        self.chunk, self.ignores, self.lesson = chunk, ignores, lesson
        if lesson:
            for name, part in self.named_children():
                if name not in LESSON_PARTS[lesson]:
                    part.requires_grad_(False)
        if lesson == "boxes":
            self.register_state_dict_post_hook(_without_words)
        self.register_buffer("priors_hwl", torch.tensor(priors_hwl), persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of __init__ from a config; see `build.build_parts`."""
        return build_parts(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def score_threshold(self) -> float:
        """Boxes from this score on are the answer: the threshold chosen on validation data, if there was any."""
        return self.state.score_threshold

    def take_results(self, results: dict) -> None:
        """Keep the threshold of an evaluation, to be saved with the weights."""
        for task in (results.get("grounding"), *(part.get("grounding") for part in results.values() if part)):
            if task:
                self.state.set_threshold(task["score_threshold"])
                return

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
            ValueError: no camera, an empty or overlong sentence, targets that the image does not have.
        """
        if self.training:
            return training_losses(self, batched_inputs)
        return self._answers(self.see(batched_inputs), batched_inputs)

    def see(self, batched_inputs: list[dict]) -> Seen:
        """All that does not depend on sentences."""
        images = self.preprocess(batched_inputs)
        maps = self.backbone(images.tensor.contiguous(memory_format=torch.channels_last))
        maps = [maps[name] for name in self.in_features]
        scene = self.scene_of(batched_inputs)
        return Seen(maps, self.dense_head(maps[0]), scene, images.image_sizes, self.colors(images.tensor))

    def scene_of(self, batched_inputs: list[dict]) -> SceneGeometry:
        """Cameras and grounds of a batch, as the model believes them."""
        cameras = camera_list(batched_inputs)
        if not self.use_given_ground:
            cameras = [Camera(c.P) for c in cameras]
        return SceneGeometry(Cameras.from_list(cameras, self.device), Grounds.from_list(cameras, self.device))

    def preprocess(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad to one size and batch."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        if self.ignores == "image":
            images = [torch.zeros_like(image) for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def hear(self, seen: Seen, texts: Sequence[str], image_of: Tensor, places: Sequence[str] | None = None) -> Heard:
        """Words of N sentences, fused with the maps of their images (N,); `places` is what messages call each."""
        words = self.read(texts, places)
        inside = covered_cells(seen.sizes, seen.map_hw, self.stride, seen.device)
        fused = self.neck(seen.maps, image_of, words.features, words.mask, words.relevance, inside)
        return Heard(fused, words, self.refer_head(fused.map) if self.refer_head else None, image_of)

    def read(self, texts: Sequence[str], places: Sequence[str] | None = None) -> Words:
        """Words of N sentences, before any image."""
        texts = [NOTHING_SAID] * len(texts) if self.ignores == "sentence" else list(texts)
        words = self.text_encoder(texts, places)
        if self.text_filter is not None:
            words.features, words.relevance = self.text_filter(words.features, words.mask)
        return words

    def describe(self, candidates: Candidates, seen: Seen) -> Facts:
        """Geometry and paint of the candidates, once for all sentences."""
        return describe(candidates, seen.scene, seen.sizes_hw(), self.ry_frame, seen.colors)

    def colors(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) from 0 to 1 of normalised images."""
        return ((images * self.pixel_std + self.pixel_mean) / 255).clamp(0, 1)

    def compare(self, heard: Heard, candidates: Candidates, facts: Facts | None) -> Tensor:
        """(N, K) logits of whether each candidate of an image is meant by each of its N sentences; facts are for the
        relation layer."""
        if self.relation is None:
            return heard.refer.flatten(1).gather(1, candidates.cells[heard.image_of])
        return self.think(heard, candidates, facts).answers[-1]

    def think(self, heard: Heard, candidates: Candidates, facts: Facts) -> Thoughts:
        """What the relation layer makes of the candidates of each image and its N sentences."""
        features = gather_each(heard.fused.map, candidates.cells[heard.image_of])
        words = replace(heard.words, features=heard.fused.words)
        return self.relation(facts, heard.image_of, candidates.traits, features, words)

    def labelled(self, objects: Sequence[Objects], seen: Seen, jitter: float = 0.0) -> Candidates:
        """Labels as candidates, see `from_objects`; what they look like is seen."""
        given = from_objects(
            objects, seen.scene, len(self.priors_hwl), seen.map_hw, self.stride, self.ry_frame, jitter=jitter
        )
        return replace(given, looks=seen.raw.looks_at(given.cells).detach().float().sigmoid())

    @torch.no_grad()
    def peaks(self, seen: Seen) -> Candidates:
        """What the heads find now."""
        return decode(
            seen.raw, seen.scene, seen.sizes, self.stride, self.priors_hwl, self.ry_frame, **self.decoding
        ).detach()

    def ask(self, seen: Seen, heard: Heard, peaks: Candidates) -> tuple[list[RawQueries], Setting]:
        """What queries that start at the peaks say, by stages, and what their numbers are about."""
        image_of, sizes = heard.image_of, seen.sizes_hw()[heard.image_of]
        proposals = Proposals.of(seen.raw, peaks)[image_of]
        said = self.query_head(heard.fused.map, heard.fused.words, heard.words.mask, sizes, proposals)
        width = seen.map_hw[1]
        return said, Setting(seen.scene[image_of], sizes, width, self.stride, self.priors_hwl, self.ry_frame)

    # --- answers ---

    def _answers(self, seen: Seen, batched_inputs: list[dict]) -> list[dict]:
        peaks = self.peaks(seen)
        facts = self.describe(peaks, seen) if self.relation else None
        outputs: list[dict] = [{"groundings": []} for _ in batched_inputs]
        scale = [
            (x.get("width", size[1]) / size[1], x.get("height", size[0]) / size[0])
            for x, size in zip(batched_inputs, seen.sizes)
        ]
        for heard, asked in self._in_chunks(seen, batched_inputs):
            if self.query_head is None:
                candidates, logits = peaks[heard.image_of], self.compare(heard, peaks, facts)
            else:
                said, setting = self.ask(seen, heard, peaks)
                candidates, logits = decode_queries(said[-1], setting, self.decoding["threshold"])
            scores = final_scores(candidates.heat, logits, self.heat_exponent)
            for n, (image, expression) in enumerate(asked):
                answer = self._answer(candidates, n, scores[n], scale[image])
                outputs[image]["groundings"].append(
                    {"expression_id": expression.get("id"), **answer, **words_of(heard.words, n)}
                )
        return outputs

    def _answer(self, candidates: Candidates, n: int, scores: Tensor, scale: tuple[float, float]) -> dict:
        kept = torch.where(candidates.valid[n] & (scores >= self.min_score))[0]
        kept = kept[scores[kept].argsort(descending=True, stable=True)]
        return {
            "boxes": candidates.rows[n, kept],
            "scores": scores[kept],
            "boxes_xyxy": candidates.boxes_xyxy[n, kept] * scores.new_tensor([*scale, *scale]),
            "classes": candidates.classes[n, kept],
        }

    def _in_chunks(self, seen: Seen, batched_inputs: list[dict]) -> Iterator[tuple[Heard, list[tuple[int, dict]]]]:
        """All sentences, `chunk` at a time: as heard, and the image and the expression of each."""
        asked = [(b, e) for b, x in enumerate(batched_inputs) for e in x.get("expressions", ())]
        for start in range(0, len(asked), self.chunk):
            part = asked[start : start + self.chunk]
            texts = [e.get("text") for _, e in part]
            places = [place_of(e, batched_inputs[b]) for b, e in part]
            yield self.hear(seen, texts, torch.tensor([b for b, _ in part], device=self.device), places), part

    @torch.no_grad()
    def refer_objects(self, batched_inputs: list[dict]) -> list[list[Tensor]]:
        """How sure the model is of labelled objects: per image and expression (M,) probabilities of being meant, in
        the order of its `instances`; NaN for objects that are no candidates (ignored, or without 3D box).

        Raises:
            ValueError: a model with queries, which judge nothing but what they find themselves.
        """
        if self.query_head is not None:
            raise ConfigError("MODEL.MONO3DVG.HEAD is 'query': queries cannot judge labelled objects")
        seen = self.see(batched_inputs)
        objects = [objects_of(x).to(self.device) for x in batched_inputs]
        given = self.labelled(objects, seen)
        facts = self.describe(given, seen)
        found: list[list[Tensor]] = [[] for _ in batched_inputs]
        for heard, asked in self._in_chunks(seen, batched_inputs):
            sure = self.compare(heard, given, facts).sigmoid().masked_fill(~given.valid[heard.image_of], torch.nan)
            for row, (image, _) in zip(sure, asked):
                found[image].append(row[: len(objects[image])])
        return found
