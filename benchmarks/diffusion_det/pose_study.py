"""What a trained pose model makes of a data set under many test-time choices, running the network as rarely as may be.

Detections, decoder features and the coarsest map of each image are computed once for each sampling setting and kept
in memory; depth branches, trust in the ground, wrong planes and the like only decode them again.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model, detector_postprocess
from detectron2.structures import Instances

from d2road.data import build_mapper
from d2road.data.camera_files import read_camera
from d2road.engine import load_weights
from d2road.evaluation import build_evaluator
from d2road.structures import Camera
from d2road.utils.progress import track
from diffusion_det.denoising import Detections, GeneratorNoise, image_generator
from diffusion_det.pose.pose_estimator import PoseEstimator


@dataclass(frozen=True)
class Choice:
    """A way to decode.

    Args:
        decoding: fields of `PoseDecoding` to change, such as {"use_given_ground": False}.
        predict_ground: whether planes are predicted from the image, where the model can.
        tilt_deg: error of roll and of pitch of the given planes, of random sign in each image.
        focal: factor on the focal lengths that the model is told.
    """

    decoding: dict = field(default_factory=dict)
    predict_ground: bool = True
    tilt_deg: float = 0.0
    focal: float = 1.0


@dataclass
class DetectedImage:
    """An image after the network: its true camera, Detections with features as column, coarsest map (1, C, h, w),
    network size."""

    record: dict
    camera: Camera
    found: Detections
    coarsest: torch.Tensor
    size: tuple[int, int]


class PoseStudy:
    """A model on a data set.

    Args:
        cfg: its config; the first of DATASETS.TEST is evaluated.
        weights: checkpoint.
    """

    def __init__(self, cfg: CfgNode, weights: str | Path):
        self.cfg, self.name = cfg, cfg.DATASETS.TEST[0]
        self.model = build_model(cfg).eval()
        load_weights(cfg, self.model, str(weights))
        self.images: list[DetectedImage] = []

    @torch.no_grad()
    def run(self, sampler: str, steps: int) -> None:
        """Detect on all images with so many steps of a sampler; replaces what was found before."""
        self.model.sampler, self.model.sample_step = sampler, steps
        mapper = build_mapper(self.cfg, False)
        records = DatasetCatalog.get(self.name)
        self.images = [self._detect(mapper(r), r) for r in track(records, len(records), f"{sampler}, {steps} steps")]

    def _detect(self, x: dict, record: dict) -> DetectedImage:
        model = self.model
        images = model.preprocess([x])
        features = model.features(images)
        height, width = images.image_sizes[0]
        whwh = torch.tensor([[width, height, width, height]], dtype=torch.float32, device=model.device)
        scene = model.pose.scene([x["camera"]], features[-1], images.image_sizes)
        noise = GeneratorNoise([image_generator(x, model.sampling.seed)])
        (found,) = model.select(model.denoise(features, whwh, noise, scene))
        return DetectedImage(record, read_camera(record), found, features[-1], (height, width))

    @torch.no_grad()
    def evaluate(self, choice: Choice, output_dir: str | Path) -> dict:
        """Results of the data set's evaluator for one way to decode."""
        evaluator = build_evaluator(self.cfg, self.name, str(output_dir))
        evaluator.reset()
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(len(self.images), 2))
        with decoded_by(self.model.pose, choice):
            for image, sign in zip(self.images, signs):
                output = self._decode(image, choice, np.deg2rad(choice.tilt_deg) * sign)
                evaluator.process([image.record], [{"instances": output}])
        return evaluator.evaluate()

    def _decode(self, image: DetectedImage, choice: Choice, tilt_rad: np.ndarray) -> Instances:
        height, width = image.record["height"], image.record["width"]
        camera = perturb(image.camera, tilt_rad, choice.focal)
        camera = camera.resized(image.size[1] / width, image.size[0] / height)
        scene = self.model.pose.scene([camera], image.coarsest, [image.size])
        instances = self.model.to_instances(image.found, image.size, scene, 0)
        return detector_postprocess(instances, height, width)


def perturb(camera: Camera, tilt_rad: np.ndarray, focal: float) -> Camera:
    """The camera as a careless calibration would give it: plane turned about the x and z axes, focal length scaled."""
    P = camera.P.copy()
    P[0, 0] *= focal
    P[1, 1] *= focal
    (cp, cr), (sp, sr) = np.cos(tilt_rad), np.sin(tilt_rad)
    turn = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    ground = camera.ground if camera.ground is None else np.append(turn @ camera.ground[:3], camera.ground[3])
    return Camera(P, ground)


@contextlib.contextmanager
def decoded_by(pose: PoseEstimator, choice: Choice) -> Iterator[None]:
    """Let an estimator decode in another way for a while.

    Raises:
        TypeError: `PoseDecoding` has no such field.
    """
    decoding, ground_head = pose.decoding, pose.ground_head
    try:
        pose.decoding = replace(decoding, **choice.decoding)
        pose.ground_head = ground_head if choice.predict_ground else None
        yield
    finally:
        pose.decoding, pose.ground_head = decoding, ground_head
