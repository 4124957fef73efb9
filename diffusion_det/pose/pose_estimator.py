"""Monocular 3D pose estimation on DiffusionDet's decoder: cameras in, losses or 3D boxes out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from d2road.structures import Boxes3D, Camera
from d2road.structures.camera_batch import Cameras, Grounds, SceneGeometry
from d2road.structures.depth_cues import encode_dimensions, place_boxes, variance_from_ground, yaw_rotations
from d2road.utils.uploads import upload
from diffusion_det.denoising import Detections
from diffusion_det.head import DecoderOutput
from diffusion_det.losses import Targets
from diffusion_det.pose.pose_decoding import Pose, branch_index, decode
from diffusion_det.pose.pose_fusion import fuse, fuse_image
from diffusion_det.pose.pose_head import GroundHead, PoseHead, RawPose
from diffusion_det.pose.pose_losses import MatchedLabels, PoseCriterion, PoseOutputs, PoseTargets, project_labels
from diffusion_det.pose.pose_state import STATE_SIZE, StateEmbedding, encode_state, noisy_states
from diffusion_det.schedule import NoisePath


@dataclass(frozen=True)
class PoseDecoding:
    """How poses are decoded in testing.

    Args:
        depth: "fused" or one of pose_head.BRANCHES: the depth branch that is used.
        use_given_ground: whether planes that come with the cameras are used.
        shared_ground_error: correct the plane by what all objects of an image say together.
        common_direct: share of the variance of direct depths that is one error of the whole image.
        ground_std: deviations of s0, s1 (tangents) and log H that a given plane is trusted with.
        score_exponents: of the 2D score and of the quality in the final score.
    """

    depth: str = "fused"
    use_given_ground: bool = True
    shared_ground_error: bool = True
    common_direct: float = 0.5
    ground_std: tuple[float, float, float] = (0.002, 0.002, 0.005)
    score_exponents: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.depth != "fused":
            branch_index(self.depth)  # refuses an unknown one

    @property
    def branch(self) -> int | None:
        """Index of the one depth branch that is used, None for all."""
        return None if self.depth == "fused" else branch_index(self.depth)


@dataclass(frozen=True)
class GroundAugmentation:
    """What training does to given planes.

    Args:
        jitter_std: levels of the deviation of roll and pitch, one drawn an image; log H gets as much.
        dropout: share of the images whose plane is withheld.
    """

    jitter_std: tuple[float, ...] = (0.0,)
    dropout: float = 0.0


class PoseEstimator(nn.Module):
    """Monocular 3D pose of boxes, read off the decoder.

    Args:
        head, ground_head: networks; without `ground_head` no plane is predicted.
        criterion: losses.
        decoding: how poses are decoded in testing.
        augmentation: of the given planes in training.
        gradient_to_2d: let pose losses train what they read from.
        state_embedding: embeds poses in the diffusion state as a condition of the decoder; None diffuses boxes alone.
        state_scale: signal scale of that part.
    """

    def __init__(
        self,
        *,
        head: PoseHead,
        ground_head: GroundHead | None,
        criterion: PoseCriterion,
        decoding: PoseDecoding | None = None,
        augmentation: GroundAugmentation | None = None,
        gradient_to_2d: bool = False,
        state_embedding: StateEmbedding | None = None,
        state_scale: float = 1.0,
    ):
        super().__init__()
        self.head, self.ground_head, self.criterion = head, ground_head, criterion
        self.decoding, self.augmentation = decoding or PoseDecoding(), augmentation or GroundAugmentation()
        self.gradient_to_2d = gradient_to_2d
        self.state_embedding, self.state_scale = state_embedding, state_scale

    @property
    def side_channels(self) -> int:
        """Channels a box that this adds to the diffusion state."""
        return 0 if self.state_embedding is None else STATE_SIZE

    def grounds(
        self, given: Grounds, coarsest: Tensor, image_sizes: Sequence[tuple[int, int]], cameras: Cameras
    ) -> tuple[Grounds, Grounds | None]:
        """Estimated ground planes, and the prediction from the image that went into them, if any.

        Args:
            given: planes that come with the images, with their variance.
            coarsest: (B, C, h, w) coarsest map of the pyramid.
        """
        if self.ground_head is None:
            return given, None
        predicted = self.ground_head(coarsest if self.gradient_to_2d else coarsest.detach(), image_sizes, cameras)
        return given.combine(predicted.detach()), predicted

    @property
    def uses_pooled(self) -> bool:
        """Whether the decoder's pooled maps are needed."""
        return self.head.pooled_proj is not None

    def embed_last(self, outputs: DecoderOutput) -> Tensor:
        """What pose is read from in testing, (B, N, C): the last stage."""
        pooled = None if outputs.pooled is None else outputs.pooled[-1]
        return self.head.embed(outputs.features[-1], pooled, self.head.num_stages - 1)

    def read(self, feature: Tensor, boxes_xyxy: Tensor, classes: Tensor, scene: SceneGeometry) -> tuple[RawPose, Pose]:
        """Pose from the last stage's embedded features (P, C) of boxes (P, 4), one scene a row."""
        rows = self.head(feature, boxes_xyxy, scene.cameras, self.head.num_stages - 1)
        raw = RawPose.unpack(rows, self.criterion.num_classes)
        return raw, decode(raw, boxes_xyxy, classes, self.criterion.priors_hwl, scene.cameras, scene.ground)

    def condition(self, state: Tensor | None) -> Tensor | None:
        """Condition embedding (B, N, C) of pose states (B, N, 8); None without pose in the state."""
        return None if state is None or self.state_embedding is None else self.state_embedding(state)

    def training_condition(
        self,
        origin: Tensor,
        t: Tensor,
        schedule: NoisePath,
        camera_list: Sequence[Camera],
        targets: Targets,
        pose_targets: PoseTargets,
    ) -> Tensor | None:
        """Condition embedding (B, N, C) of the noised poses of the noised boxes; None without pose in the state.

        Args:
            origin: (B, N) object that each box was made from, -1 for none.
            t: (B,) noise levels.
        """
        if self.state_embedding is None:
            return None
        picked = origin.clamp(min=0)
        image = torch.arange(len(origin), device=origin.device)[:, None].expand_as(origin)
        present = (origin >= 0) & pose_targets.valid[image, picked]
        boxes = upload(present.cpu().nonzero().T.contiguous(), origin.device)
        own, objects = boxes[0], origin[boxes[0], boxes[1]]
        cameras = Cameras.from_list(camera_list, origin.device)[own]
        truth = project_labels(
            pose_targets.boxes3d[own, objects],
            targets.boxes_xyxy[own, objects],
            cameras,
            Grounds.from_list(camera_list, origin.device)[own],
        )
        ratio = encode_dimensions(truth.dims, self.criterion.priors_hwl[targets.classes[own, objects]].float())
        clean = torch.zeros(*origin.shape, STATE_SIZE, device=origin.device)
        clean[boxes[0], boxes[1]] = encode_state(truth.bottom, truth.log_depth, ratio, truth.alpha, self.state_scale)
        return self.state_embedding(noisy_states(clean, present, t, schedule, self.state_scale))

    def clean_state(self, feature: Tensor, boxes_xyxy: Tensor, logits: Tensor, scene: SceneGeometry) -> Tensor:
        """The pose part of the state that predictions (B, N, ...) amount to, (B, N, 8)."""
        shape = feature.shape[:2]
        each = scene[torch.arange(shape[0], device=feature.device).repeat_interleave(shape[1])]
        classes = logits[..., : self.criterion.num_classes].argmax(-1).flatten()
        raw, pose = self.read(feature.flatten(0, 1), boxes_xyxy.flatten(0, 1), classes, each)
        log_depth, _ = fuse(pose, each.ground.var)
        ratio = encode_dimensions(pose.dims, self.criterion.priors_hwl[classes].float())
        return encode_state(raw.bottom, log_depth, ratio, pose.alpha, self.state_scale).unflatten(0, shape)

    def losses(
        self,
        camera_list: Sequence[Camera],
        image_sizes: Sequence[tuple[int, int]],
        coarsest: Tensor,
        outputs: DecoderOutput,
        matched: Tensor,
        targets: Targets,
        pose_targets: PoseTargets,
        number: Tensor,
    ) -> dict[str, Tensor]:
        """Weighted losses by name.

        Args:
            outputs: of the decoder, S or more stages.
            matched: (S, B, N) object of each box of the last S stages, -1 for none.
            number: (S,) matched boxes, by which each stage's sums are divided.
        """
        if not self.gradient_to_2d:
            outputs = outputs.detach()
        offset = self.head.num_stages - len(matched)
        boxes = outputs.boxes_xyxy[offset:].detach().float()
        cameras = Cameras.from_list(camera_list, boxes.device)
        true = Grounds.from_list(camera_list, boxes.device)
        estimated, predicted = self.grounds(self.perturb(true), coarsest, image_sizes, cameras)

        known = pose_targets.valid.expand(len(matched), -1, -1).gather(2, matched.clamp(min=0)) & (matched >= 0)
        chosen = known.cpu().nonzero()  # stage by stage; the host must know how many there are
        numbers = chosen[:, 0].bincount(minlength=len(matched)).tolist()
        stage, image, index = upload(chosen.T.contiguous(), boxes.device)
        objects = matched[stage, image, index]
        parts = zip(range(len(matched)), image.split(numbers), index.split(numbers))
        rows = [self._rows(outputs, boxes[s], s + offset, b, i, cameras) for s, b, i in parts]
        losses = self.criterion(
            PoseOutputs(torch.cat(rows), boxes[stage, image, index], stage, cameras[image], estimated[image]),
            MatchedLabels(targets.classes[image, objects], pose_targets.boxes3d[image, objects], true[image]),
            number,
        )
        if predicted is not None:
            losses["loss_pose_ground"] = self.criterion.ground(predicted, true)
        return losses

    def _rows(
        self, outputs: DecoderOutput, boxes: Tensor, stage: int, image: Tensor, index: Tensor, cameras: Cameras
    ) -> Tensor:
        """Rows of the pose head for some boxes of a stage."""
        pooled = None if outputs.pooled is None else outputs.pooled[stage, image, index]
        feature = self.head.embed(outputs.features[stage, image, index], pooled, stage)
        return self.head(feature, boxes[image, index], cameras[image], stage)

    def perturb(self, true: Grounds) -> Grounds:
        """True planes as a user might give them: off by a random error of a known deviation, or withheld."""
        levels = true.mean.new_tensor(self.augmentation.jitter_std)
        level = levels[torch.randint(len(levels), (len(true.mean), 1), device=levels.device)]
        std = level.expand(-1, 3)
        withheld = torch.rand(len(true.mean), device=levels.device) < self.augmentation.dropout
        return Grounds(true.mean + std * torch.randn_like(true.mean), std**2, true.known & ~withheld)

    def scene(
        self, camera_list: Sequence[Camera], coarsest: Tensor, image_sizes: Sequence[tuple[int, int]]
    ) -> SceneGeometry:
        """Cameras and estimated grounds for testing; given planes have the variance of `decoding`."""
        cameras = Cameras.from_list(camera_list, coarsest.device)
        exact = Grounds.from_list(camera_list, coarsest.device)
        var = torch.tensor(self.decoding.ground_std, device=coarsest.device).square().expand_as(exact.mean)
        given = Grounds(exact.mean, var, exact.known & self.decoding.use_given_ground)
        return SceneGeometry(cameras, self.grounds(given, coarsest, image_sizes, cameras)[0])

    def has_ground(self, camera: Camera) -> bool:
        """Whether the scene of an image has a ground plane, given or predicted."""
        return self.ground_head is not None or (self.decoding.use_given_ground and camera.ground is not None)

    def boxes3d(
        self, found: Detections, scene: SceneGeometry, has_ground: bool | None = None
    ) -> tuple[Boxes3D, Tensor, Tensor]:
        """3D boxes of one image's detections, whose first further column holds the decoder's features.

        Args:
            scene: of the one image (B = 1).
            has_ground: whether that has a plane; None asks the tensors, for which an accelerator waits.
        Returns:
            boxes in the camera frame, their scores (D,), deviation of their depths (D,) in m.
        """
        each = torch.zeros(len(found.scores), dtype=torch.long, device=found.scores.device)
        camera, ground = scene.cameras[each], scene.ground
        _, pose = self.read(found.columns[0], found.boxes_xyxy, found.classes, scene[each])
        mean, branch = ground.mean, self.decoding.branch
        if branch is not None:
            index = torch.where(pose.usable[:, branch], branch, 0)[:, None]
            var = pose.var + variance_from_ground(pose.shared, ground.var)
            log_depth, var = pose.log_depth.gather(1, index)[:, 0], var.gather(1, index)[:, 0]
        elif self.decoding.shared_ground_error and (bool(ground.known[0]) if has_ground is None else has_ground):
            log_depth, var, error = fuse_image(pose, ground.var[0], found.scores, self.decoding.common_direct)
            mean = mean - error
        else:
            log_depth, var = fuse(pose, ground[each].var)
        frame = Grounds(mean, ground.var, ground.known).frame()[each]
        location, ry = place_boxes(pose.xy, log_depth, pose.alpha, camera, frame)
        power_2d, power_quality = self.decoding.score_exponents
        scores = found.scores**power_2d * pose.quality**power_quality
        return Boxes3D(location, pose.dims, frame @ yaw_rotations(ry)), scores, var.sqrt() * log_depth.exp()
