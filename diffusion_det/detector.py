"""DiffusionDet, the registered meta-architecture: images in, losses or objects out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from d2road.data.camera_files import camera_list
from d2road.engine.meta_arch import SamplingSetting
from d2road.layers.graph_replay import GraphReplay
from d2road.modeling.bfloat16 import Bfloat16Inference
from d2road.modeling.padding import by_padded_size
from d2road.structures.camera_batch import SceneGeometry
from d2road.utils.aliases import rename_stored_weights
from d2road.utils.uploads import upload
from diffusion_det.box_prior import BoxPrior
from diffusion_det.build import build_parts
from diffusion_det.denoising import (
    Detections,
    GeneratorNoise,
    NoiseSource,
    SamplingOptions,
    denoise,
    denoise_as_published,
    image_generator,
    seeded_by_image,
    select_objects,
)
from diffusion_det.export_checks import draw_noise, export_graph
from diffusion_det.head import FINAL_LAYERS, DiffusionHead
from diffusion_det.losses import SetCriterion
from diffusion_det.matcher import Targets
from diffusion_det.noising import diffuse_boxes
from diffusion_det.output_pixels import in_output_pixels
from diffusion_det.pose.pose_estimator import PoseEstimator
from diffusion_det.pose.pose_losses import PoseTargets
from diffusion_det.proposals import LEARNED_LEVEL, Proposals
from diffusion_det.published_buffers import drop_published_buffers
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import NoisePath
from diffusion_det.text_classifier import ClassifiesByText, Vocabulary
from diffusion_det.tta import DetectorWithTTA

WITHOUT_CAMERA = ", or set MODEL.DiffusionDet.POSE.ENABLED False for 2D boxes alone"


@META_ARCH_REGISTRY.register()
class DiffusionDet(ClassifiesByText, Bfloat16Inference, nn.Module):
    """DiffusionDet: object detection as denoising diffusion over boxes.

        images -> preprocess -> features -> denoise (sampler steps of the decoder) -> select (best scores, NMS)

    `sampler`, `sample_step` and `test_num_proposals` may be changed on a trained model.

    Args:
        backbone: feature pyramid.
        head: decoder, see DIFFUSION_HEAD_REGISTRY.
        criterion: losses from the decoder's outputs and targets.
        in_features: names of the pyramid's maps, finest first.
        pixel_mean, pixel_std: per channel, 0 to 255.
        schedule: path between boxes and noise, with its levels.
        num_proposals: boxes an image in training.
        prior: of boxes, where the path ends.
        sampling: how boxes are denoised and selected in testing.
        proposals: where the first boxes come from, see PROPOSALS_REGISTRY.
        coupling: of noise and boxes in training, see `diffuse_boxes`.
        compat: numerically the published code.
        pose: reads 3D pose off the decoder, or None.
        graphs: replays the decoder in testing on CUDA. vocabulary: words of the classes, None of a linear classifier.
    """

    default_mapper = "DiffusionDetMapper"
    export_graph, graph_noise = export_graph, draw_noise  # as methods
    rounded_parts, exact_layers = ("backbone", "head"), ("time_mlp", *FINAL_LAYERS)
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: DiffusionHead,
        criterion: SetCriterion,
        in_features: Sequence[str],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        schedule: NoisePath,
        num_proposals: int,
        prior: BoxPrior,
        sampling: SamplingOptions,
        proposals: Proposals,
        coupling: str = "independent",
        compat: bool = False,
        pose: PoseEstimator | None = None,
        graphs: GraphReplay | None = None,
        vocabulary: Vocabulary | None = None,
    ):
        super().__init__()
        self.backbone, self.head, self.criterion = backbone, head, criterion
        self.in_features = tuple(in_features)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.schedule, self.num_proposals, self.prior = schedule, num_proposals, prior
        self.sampling, self.coupling, self.compat = sampling, coupling, compat
        self.sampler, self.sample_step = sampling.sampler, sampling.steps
        self.test_num_proposals = sampling.num_proposals
        self.proposals, self.pose, self.graphs, self.vocabulary = proposals, pose, graphs, vocabulary
        self.register_load_state_dict_pre_hook(rename_stored_weights)
        self.register_load_state_dict_pre_hook(drop_published_buffers)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Arguments of __init__ from a config; see `build.build_parts`."""
        return build_parts(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of INPUT.FORMAT; `height`, `width` of the output
                (default: the input's); in training `instances` with gt_boxes and gt_classes; in testing optionally
                `content_id`, `image_id` or `file_name`, the first of which seeds the noise. With pose also `camera`, a
                Camera in pixels of `image`, and in training gt_boxes3d and gt_has_3d (see DiffusionDetMapper).
        Returns:
            in training the weighted losses by name; else per image {"instances": Instances} with pred_boxes (pixels
            of the output), scores and pred_classes. With pose also pred_boxes3d (Boxes3D, camera frame, m),
            pred_depth_std_m (N,), and scores_2d (N,): `scores` is then that times the expected 3D overlap. Of an input
            that says `with_steps` also "steps": such Instances of each denoising step by itself.
        """
        if self.training:
            images, whwh = self.preprocess_sized(batched_inputs)
            return self.losses(batched_inputs, self.features(images), whwh)
        with self.inference_autocast(self.device):
            if self.compat and any("content_id" not in x for x in batched_inputs):
                return self.detect(batched_inputs)  # the published code pads all images of a batch to one size
            if not self.compat:
                return by_padded_size(self.detect, batched_inputs, self.backbone)
            return [self._detect_seeded(x) for x in batched_inputs]

    def _detect_seeded(self, image: dict) -> dict:
        with seeded_by_image(image, self.sampling.seed, self.device):  # the published noise is of the global state
            return self.detect([image])[0]

    def detect(self, batched_inputs: list[dict]) -> list[dict]:
        """Objects in images that are padded to one size; arguments and result of `forward` in testing."""
        images, whwh = self.preprocess_sized(batched_inputs)
        features, sizes = self.features(images), images.image_sizes
        scene, grounded = None, [False] * len(sizes)
        if self.pose is not None:
            cameras = camera_list(batched_inputs, WITHOUT_CAMERA)
            scene = self.pose.scene(cameras, features[-1], sizes)
            grounded = [self.pose.has_ground(camera) for camera in cameras]
        noise = GeneratorNoise([image_generator(x, self.sampling.seed) for x in batched_inputs])
        steps = self.denoise(features, whwh, noise, scene)

        def results_of(chosen: list[tuple[Tensor, ...]]) -> list[Instances]:
            found = [
                self.to_instances(d, size, None if scene is None else scene[n : n + 1], grounded[n])
                for n, (d, size) in enumerate(zip(self.select(chosen), sizes))
            ]
            return in_output_pixels(
                found, [(x.get("height", size[0]), x.get("width", size[1])) for x, size in zip(batched_inputs, sizes)]
            )

        results: list[dict] = [{"instances": instances} for instances in results_of(steps)]
        if any(x.get("with_steps") for x in batched_inputs):
            for result, *by_step in zip(results, *(results_of([step]) for step in steps)):
                result["steps"] = by_step
        return results

    def preprocess_sized(self, batched_inputs: list[dict]) -> tuple[ImageList, Tensor]:
        """`preprocess`, and width, height, width, height (B, 4) of the unpadded images."""
        images = self.preprocess(batched_inputs)
        sizes = torch.tensor(images.image_sizes, dtype=torch.float32)
        return images, upload(sizes.flip(1).repeat(1, 2), self.device)

    def preprocess(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad to one size and batch."""
        images = [(upload(x["image"], self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def features(self, images: ImageList) -> list[Tensor]:
        """Pyramid maps that the decoder pools from, finest first."""
        pixels = images.tensor
        if not torch.jit.is_tracing():  # a graph has no memory layout
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        maps = self.backbone(pixels)
        return [maps[name] for name in self.in_features]

    @torch.no_grad()
    def denoise(
        self, features: list[Tensor], whwh: Tensor, noise: NoiseSource, scene: SceneGeometry | None = None
    ) -> list[tuple[Tensor, ...]]:
        """Predictions of each sampler step for B images: logits (B, N, K), boxes (B, N, 4) in pixels of the network
        input and, with a scene, the features (B, N, C) that pose is read from."""
        boxes = self.proposals.undenoised(whwh)
        if boxes is not None:
            return [self.denoising_step(features, scene, boxes, LEARNED_LEVEL)]
        options: dict[str, Any] = {
            "steps": self.sample_step,
            "count": self.test_num_proposals,
            "prior": self.prior,
            "renewal_thresh": self.sampling.renewal_thresh,
            "use_focal": self.criterion.options.use_focal,
        }
        sampler = build_sampler(self.sampler, self.schedule, self.sampling.eta)
        if not self.compat:
            if self.pose is not None:
                options |= {"side_channels": self.pose.side_channels, "side_scale": self.pose.state_scale}
            options["start"] = self.proposals.start(self.test_num_proposals, self.prior)
            return denoise(partial(self.denoising_step, features, scene), sampler, whwh, noise, **options)
        # With several steps the published loop takes one image at a time.
        batch = torch.arange(len(whwh), device=whwh.device)
        results = []
        for image in batch[:, None] if self.sample_step > 1 else batch[None]:
            own = [maps[image] for maps in features], None if scene is None else scene[image]
            results.append(denoise_as_published(partial(self.denoising_step, *own), sampler, whwh[image], **options))
        return [tuple(torch.cat(parts) for parts in zip(*step)) for step in zip(*results)]

    def denoising_step(
        self, features: list[Tensor], scene: SceneGeometry | None, boxes_xyxy: Tensor, t: int, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """The decoder's last stage on boxes at noise level t: logits, boxes, and with a scene the features that pose is
        read from; where the pose state (B, N, E) is diffused too, last the clean state."""
        levels = torch.full((len(boxes_xyxy),), t, dtype=torch.long, device=self.device)
        queries = self.proposals.queries(len(boxes_xyxy))
        if scene is None or self.pose is None:
            logits, boxes = self._decode(features, boxes_xyxy, levels, queries)
            return logits[-1].float(), boxes[-1].float()
        condition = self.pose.condition(state[0] if state else None)
        outputs = self.head.denoising_step(features, boxes_xyxy, levels, condition, self.pose.uses_pooled, queries)
        logits, boxes = outputs.logits[-1].float(), outputs.boxes_xyxy[-1].float()
        feature = self.pose.embed_last(outputs)
        clean = [self.pose.clean_state(feature, boxes, logits, scene)] if state else []
        return logits, boxes, feature, *clean

    def _decode(
        self, features: list[Tensor], boxes_xyxy: Tensor, levels: Tensor, queries: Tensor | None
    ) -> tuple[Tensor, ...]:
        if self.graphs is None or self.device.type != "cuda" or torch.is_grad_enabled():
            return self.head(features, boxes_xyxy, levels, queries)
        count, inputs = len(features), [boxes_xyxy, levels, *features, *([] if queries is None else [queries])]
        return self.graphs(lambda boxes, t, *rest: self.head(rest[:count], boxes, t, *rest[count:]), inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DiffusionDet":
        """As nn.Module's; recorded graphs hold where the weights were."""
        if self.graphs is not None:
            self.graphs.forget()
        return super()._apply(fn, recurse)

    def select(self, steps: list[tuple[Tensor, ...]]) -> list[Detections]:
        """Objects of each image from the predictions of all steps, or of the last alone."""
        chosen = steps if self.sampling.ensemble else steps[-1:]
        return select_objects(chosen, use_focal=self.criterion.options.use_focal, nms_thresh=self.sampling.nms_thresh)

    def to_instances(
        self, found: Detections, image_size: tuple[int, int], scene: SceneGeometry | None, has_ground: bool
    ) -> Instances:
        """Detections of one image as Instances, all in pixels of the network input; with its scene (of one row), which
        may have a ground, best score first and with the 3D fields."""
        instances = Instances(image_size)
        instances.pred_boxes = Boxes(found.boxes_xyxy)
        instances.scores, instances.pred_classes = found.scores, found.classes
        if scene is None or self.pose is None:
            return instances
        boxes3d, scores, std = self.pose.boxes3d(found, scene, has_ground)
        instances.pred_boxes3d, instances.pred_depth_std_m = boxes3d, std
        instances.scores_2d, instances.scores = found.scores, scores
        return instances[scores.argsort(descending=True, stable=True)]

    def losses(self, batched_inputs: list[dict], features: list[Tensor], whwh: Tensor) -> dict[str, Tensor]:
        """Weighted losses by name: diffuse the objects, or take learned boxes; predict the objects, compare."""
        instances = [x["instances"].to(self.device) for x in batched_inputs]
        gt_boxes = [i.gt_boxes.tensor.float() for i in instances]
        boxes, t, origin = self.first_boxes(gt_boxes, whwh)
        queries = self.proposals.queries(len(boxes))
        classes, crowds = [i.gt_classes for i in instances], [x.get("crowds") for x in batched_inputs]
        targets = Targets.pad(gt_boxes, classes, whwh, crowds)
        targets = replace(targets, origin=origin, sigma=self.schedule.coefficients(t)[1].float())
        if self.pose is None:
            return self.criterion(*self.head(features, boxes, t, queries), targets)
        cameras = camera_list(batched_inputs, WITHOUT_CAMERA)
        poses = PoseTargets.pad([i.gt_boxes3d for i in instances], [i.gt_has_3d for i in instances])
        condition = self.pose.training_condition(origin, t, self.schedule, cameras, targets, poses)
        outputs = self.head.denoising_step(features, boxes, t, condition, self.pose.uses_pooled, queries)
        matched = self.criterion.assign(outputs.logits, outputs.boxes_xyxy, targets)
        losses = self.criterion(outputs.logits, outputs.boxes_xyxy, targets, matched)
        sizes = [i.image_size for i in instances]
        number = self.criterion.count(matched)
        return losses | self.pose.losses(cameras, sizes, features[-1], outputs, matched, targets, poses, number)

    def first_boxes(self, gt_boxes: list[Tensor], whwh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder is given in training; result as of `diffuse_boxes`."""
        return self.proposals.for_training(whwh) or diffuse_boxes(
            gt_boxes, whwh, self.schedule, self.num_proposals, self.prior, self.coupling
        )

    def set_sampling(self, setting: SamplingSetting) -> None:
        """Sample so from now on. Raises ConfigError where that cannot be."""
        self.proposals.check_sampling(setting.steps, setting.num_boxes)
        build_sampler(setting.sampler, self.schedule, self.sampling.eta).pairs(setting.steps)
        self.sampler, self.sample_step, self.test_num_proposals = setting.sampler, setting.steps, setting.num_boxes
        self.sampling = replace(self.sampling, seed=setting.seed)

    def with_tta(self, cfg: CfgNode) -> nn.Module:
        """This detector under the test-time augmentation of TEST.AUG."""
        return DetectorWithTTA(cfg, self)
