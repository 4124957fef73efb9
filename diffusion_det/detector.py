"""The registered meta-architecture: images in, losses or objects out."""

import logging
import zlib
from collections.abc import Sequence

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from d2road.data.camera_files import camera_list
from d2road.engine.distributed import mean_over_processes
from d2road.structures.camera_batch import SceneGeometry
from d2road.utils.errors import ConfigError
from diffusion_det.build import build_criterion, build_head, build_pose
from diffusion_det.denoising import Detections, denoise, denoise_as_published, select_objects
from diffusion_det.losses import SetCriterion
from diffusion_det.matcher import Targets
from diffusion_det.noising import diffuse_boxes
from diffusion_det.pose.pose_estimator import PoseEstimator
from diffusion_det.pose.pose_losses import PoseTargets
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import CosineSchedule
from diffusion_det.tta import DetectorWithTTA

logger = logging.getLogger(__name__)

# Constants of the published checkpoints that follow from the schedule; nothing to load.
PUBLISHED_BUFFERS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip
WITHOUT_CAMERA = ", or set MODEL.DiffusionDet.POSE.ENABLED False for 2D boxes alone"


@META_ARCH_REGISTRY.register()
class DiffusionDet(nn.Module):
    """Detector that denoises boxes.

    Args:
        backbone: feature pyramid.
        head: decoder, see DIFFUSION_HEAD_REGISTRY.
        criterion: losses.
        in_features: names of the pyramid's maps, finest first.
        pixel_mean, pixel_std: per channel, 0 to 255.
        num_proposals: boxes an image in training; test_num_proposals in testing.
        sampler, eta, sample_step: solver by name, its noise, its steps.
        renewal_thresh, nms_thresh: None switches renewal or suppression off.
        ensemble: report the union of all steps.
        compat: numerically the published code.
        test_seed: with the image id it seeds the noise of an image.
        pose: reads 3D pose off the decoder, or None.
    """

    default_mapper = "DiffusionDetMapper"

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        criterion: SetCriterion,
        in_features: Sequence[str],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        num_proposals: int,
        test_num_proposals: int,
        timesteps: int,
        scale: float,
        sampler: str,
        eta: float,
        sample_step: int,
        renewal_thresh: float | None,
        nms_thresh: float | None,
        ensemble: bool,
        compat: bool,
        test_seed: int = 0,
        pose: PoseEstimator | None = None,
    ):
        super().__init__()
        self.backbone, self.head, self.criterion = backbone, head, criterion
        self.in_features = tuple(in_features)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.schedule = CosineSchedule(timesteps)
        self.num_proposals, self.test_num_proposals = num_proposals, test_num_proposals
        self.scale, self.sampler, self.eta, self.sample_step = scale, sampler, eta, sample_step
        self.renewal_thresh, self.nms_thresh, self.ensemble = renewal_thresh, nms_thresh, ensemble
        self.compat, self.test_seed = compat, test_seed
        self.pose = pose
        self.register_load_state_dict_pre_hook(_drop_published_buffers)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of __init__ from a config."""
        node = cfg.MODEL.DiffusionDet
        if not node.OFFICIAL_COMPAT:
            logger.info(
                "MODEL.DiffusionDet.OFFICIAL_COMPAT is off: class bias set by name, all steps used, renewal and noise "
                "by image. Set it to True for the numbers of the published code."
            )
        if node.NUM_CLASSES < 1:
            raise ConfigError(
                "MODEL.DiffusionDet.NUM_CLASSES is 0, which d2road.config.setup_cfg replaces by the number of classes "
                "of the training data; without it set the number, or take the config.yaml that a training wrote"
            )
        backbone = build_backbone(cfg)
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        shapes = backbone.output_shape()
        absent = [name for name in in_features if name not in shapes]
        if absent:
            raise ConfigError(
                f"MODEL.ROI_HEADS.IN_FEATURES names {absent}, but {cfg.MODEL.BACKBONE.NAME} returns {sorted(shapes)}"
            )
        return {
            "backbone": backbone,
            "head": build_head(cfg, [shapes[name].stride for name in in_features]),
            "criterion": build_criterion(cfg),
            "in_features": in_features,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "num_proposals": node.NUM_PROPOSALS,
            "test_num_proposals": node.NUM_PROPOSALS if node.TEST_NUM_PROPOSALS == -1 else node.TEST_NUM_PROPOSALS,
            "timesteps": node.TIMESTEPS,
            "scale": node.SNR_SCALE,
            "sampler": node.SAMPLER,
            "eta": node.ETA,
            "sample_step": node.SAMPLE_STEP,
            "renewal_thresh": node.RENEWAL_THRESH if node.BOX_RENEWAL else None,
            "nms_thresh": node.NMS_THRESH if node.USE_NMS else None,
            "ensemble": node.ENSEMBLE,
            "compat": node.OFFICIAL_COMPAT,
            "test_seed": node.TEST_SEED,
            "pose": build_pose(cfg, shapes[in_features[-1]].stride) if node.POSE.ENABLED else None,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of INPUT.FORMAT; `height`, `width` of the output
                (default: the input's); in training `instances` with gt_boxes and gt_classes; in testing optionally
                `image_id` or `file_name`, which seed the noise. With pose also `camera`, a Camera in pixels of
                `image`, and in training gt_boxes3d and gt_has_3d (see DiffusionDetMapper).
        Returns:
            in training the weighted losses by name; else per image {"instances": Instances} with pred_boxes (pixels
            of the output), scores and pred_classes. With pose also pred_boxes3d (Boxes3D, camera frame, m),
            pred_depth_std_m (N,), and scores_2d (N,): `scores` is then that times the expected 3D overlap.
        """
        images = self.preprocess(batched_inputs)
        features = self.features(images)
        whwh = torch.tensor([[w, h, w, h] for h, w in images.image_sizes], dtype=torch.float32, device=self.device)
        if self.training:
            return self._losses(batched_inputs, features, whwh)
        generators = [image_generator(x, self.test_seed) for x in batched_inputs]
        scene = None
        if self.pose is not None:
            scene = self.pose.scene(camera_list(batched_inputs, WITHOUT_CAMERA), features[-1], images.image_sizes)
        found = self.detect(features, whwh, generators, scene)
        instances = [to_instances(d, size) for d, size in zip(found, images.image_sizes)]
        if scene is not None:
            instances = [self.attach_pose(i, d, scene, n) for n, (i, d) in enumerate(zip(instances, found))]
        return [
            {"instances": detector_postprocess(i, x.get("height", i.image_size[0]), x.get("width", i.image_size[1]))}
            for i, x in zip(instances, batched_inputs)
        ]

    def attach_pose(self, instances: Instances, found: Detections, scene: SceneGeometry, image: int) -> Instances:
        """Fill the 3D fields of one image's objects, best score first."""
        own = scene[torch.tensor([image], device=self.device)]
        boxes3d, scores, std = self.pose.boxes3d(found, own)
        instances.pred_boxes3d, instances.pred_depth_std_m = boxes3d, std
        instances.scores_2d, instances.scores = instances.scores, scores
        return instances[scores.argsort(descending=True, stable=True)]

    def with_tta(self, cfg) -> nn.Module:
        """This detector under the test-time augmentation of TEST.AUG."""
        return DetectorWithTTA(cfg, self)

    def preprocess(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad to one size and batch."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def features(self, images: ImageList) -> list[Tensor]:
        """Pyramid maps that the decoder pools from, finest first."""
        maps = self.backbone(images.tensor.contiguous(memory_format=torch.channels_last))
        return [maps[name] for name in self.in_features]

    def _losses(self, batched_inputs: list[dict], features: list[Tensor], whwh: Tensor) -> dict[str, Tensor]:
        instances = [x["instances"].to(self.device) for x in batched_inputs]
        gt_boxes = [i.gt_boxes.tensor.float() for i in instances]
        boxes, t, origin = diffuse_boxes(gt_boxes, whwh, self.schedule, self.num_proposals, self.scale)
        targets = Targets.pad(gt_boxes, [i.gt_classes for i in instances], whwh)
        mean = (lambda counts: counts) if self.compat else mean_over_processes
        if self.pose is None:
            logits, pred_boxes = self.head(features, boxes, t)
            return self.criterion(logits, pred_boxes, targets, mean)
        cameras = camera_list(batched_inputs, WITHOUT_CAMERA)
        poses = PoseTargets.pad([i.gt_boxes3d for i in instances], [i.gt_has_3d for i in instances])
        condition = self.pose.training_condition(origin, t, self.schedule, cameras, targets, poses)
        outputs = self.head.denoising_step(features, boxes, t, condition, self.pose.uses_pooled)
        matched = self.criterion.assign(outputs.logits, outputs.boxes_xyxy, targets)
        losses = self.criterion(outputs.logits, outputs.boxes_xyxy, targets, mean, matched)
        return losses | self.pose.losses(
            cameras,
            [i.image_size for i in instances],
            features[-1],
            outputs,
            matched,
            targets,
            poses,
            mean((matched >= 0).flatten(1).sum(1).float()).clamp(min=1),
        )

    @torch.no_grad()
    def detect(
        self,
        features: list[Tensor],
        whwh: Tensor,
        generators: Sequence[torch.Generator],
        scene: SceneGeometry | None = None,
    ) -> list[Detections]:
        """Objects from features of B images, in pixels of the network input; with a scene, the features that pose is
        read from are a further column."""
        options = {
            "steps": self.sample_step,
            "count": self.test_num_proposals,
            "scale": self.scale,
            "renewal_thresh": self.renewal_thresh,
            "use_focal": self.criterion.use_focal,
        }
        sampler = build_sampler(self.sampler, self.schedule, self.eta)
        if self.compat and self.sample_step > 1 and len(whwh) > 1:  # the published loop takes one image at a time
            ones = torch.arange(len(whwh), device=whwh.device)[:, None]
            parts = [
                self.detect([f[i] for f in features], whwh[i], [], None if scene is None else scene[i]) for i in ones
            ]
            return [part[0] for part in parts]

        def predict(boxes_xyxy: Tensor, t: int, *state: Tensor) -> tuple[Tensor, ...]:
            levels = torch.full((len(whwh),), t, dtype=torch.long, device=self.device)
            if scene is None:
                logits, boxes = self.head(features, boxes_xyxy, levels)
                return logits[-1].float(), boxes[-1].float()
            condition = self.pose.state_embedding(state[0]) if state else None
            outputs = self.head.denoising_step(features, boxes_xyxy, levels, condition, self.pose.uses_pooled)
            logits, boxes, feature = (
                outputs.logits[-1].float(),
                outputs.boxes_xyxy[-1].float(),
                self.pose.embed_last(outputs),
            )
            clean = [self.pose.clean_state(feature, boxes, logits, scene)] if state else []
            return logits, boxes, feature, *clean

        if self.compat:
            results = denoise_as_published(predict, sampler, whwh, **options)
        else:
            if scene is not None:
                options |= {"side_channels": self.pose.side_channels, "side_scale": self.pose.state_scale}
            results = denoise(predict, sampler, whwh, generators, **options)
        if not self.ensemble:
            results = results[-1:]
        return select_objects(results, use_focal=self.criterion.use_focal, nms_thresh=self.nms_thresh)


def image_generator(image: dict, seed: int) -> torch.Generator:
    """Stream of noise of one image: depends on its id (or file name) and the seed, not on its neighbours."""
    name = image.get("image_id", image.get("file_name", ""))
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))


def to_instances(found: Detections, image_size: tuple[int, int]) -> Instances:
    """Detections as Instances, all in pixels of the network input."""
    instances = Instances(image_size)
    instances.pred_boxes = Boxes(found.boxes_xyxy)
    instances.scores, instances.pred_classes = found.scores, found.classes
    return instances


def _drop_published_buffers(module, state_dict, prefix, *args) -> None:
    for name in PUBLISHED_BUFFERS:
        state_dict.pop(prefix + name, None)
