"""Predicting on images, from a config and weights."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import detectron2.data.transforms as T
import numpy as np
import PIL.Image
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.modeling import build_model

from d2road.config.setup import finalize, make_cfg
from d2road.config.validate import dataset_problems
from d2road.data.class_names import with_class_names
from d2road.engine import meta_arch
from d2road.engine.defaults import load_weights, require_weights
from d2road.engine.inference import ready_for_inference
from d2road.structures.camera import Camera
from d2road.structures.principal_point import check_camera_size
from d2road.utils.allocator import keep_freed_pages
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import AnyImage as Image
from d2road.utils.image_io import read_pixels
from d2road.utils.processor import use_fast_products

Cameras = Camera | Sequence[Camera | None] | None


class Predictor:
    """A model ready to predict on images of any size.

    Args:
        cfg: a config, or a YAML file by its path or its name below `configs/`, see `d2road.config.find_config`.
        weights: a file or an address, instead of MODEL.WEIGHTS; "random" for an untrained model. Averaged weights are
            taken if MODEL_EMA.ENABLED.
        batch_size: images that pass through the network together; what is found in one does not depend on the others.
        fuse: fold batch norms into convolutions, which is faster and equal up to rounding, and heed INFERENCE.PRECISION
            and INFERENCE.BACKEND. The model can then neither be trained nor saved.
    Raises:
        FileNotFoundError, ConfigError, CheckpointError: as loading the config and the weights; a model that is not
            calibrated, though it has to be.

    Attributes:
        model: the network in eval mode.
        metadata: Detectron2's, with the class names by the model's class indices as `thing_classes` where they are
            known: those of MODEL.CLASS_NAMES, else of the first of DATASETS.TEST. None without either.

    Example:
        predict = Predictor("diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy")
        boxes = predict("image.jpg")["instances"].pred_boxes
    """

    def __init__(
        self, cfg: CfgNode | str | Path, weights: str | Path | None = None, batch_size: int = 1, fuse: bool = True
    ):
        if not isinstance(cfg, CfgNode):
            cfg = read_config(cfg, weights)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise ConfigError(f"INPUT.FORMAT is '{cfg.INPUT.FORMAT}', expected RGB or BGR")
        self.cfg = cfg.clone()  # building a model may change it
        self.batch_size = batch_size
        path = str(weights or self.cfg.MODEL.WEIGHTS)
        require_weights(path)
        # As in an evaluation, a model knows by it that weights come and bring what it need not make.
        frozen = self.cfg.is_frozen()
        self.cfg.defrost()
        self.cfg.MODEL.WEIGHTS = path
        if frozen:
            self.cfg.freeze()
        keep_freed_pages()
        use_fast_products()
        self.model = build_model(self.cfg).eval()
        named = load_weights(self.cfg, self.model, path)
        self.cfg = with_class_names(self.cfg, named)
        meta_arch.require_calibration(self.model)
        if fuse:
            self.model = ready_for_inference(self.cfg, self.model)
        self.metadata = class_metadata(self.cfg)
        shortest = self.cfg.INPUT.MIN_SIZE_TEST
        self.resize = T.ResizeShortestEdge([shortest, shortest], self.cfg.INPUT.MAX_SIZE_TEST)

    def set_classes(self, words: Sequence[str]) -> None:
        """Find what these words say from now on, by a model whose classifier takes text; they are the class names.

        Raises:
            ConfigError: the model takes none, or they are none, empty or come twice; with the cure.
            FileNotFoundError, D2RoadError: its text encoder is missing, or another than in the training.
        """
        if not isinstance(self.model, meta_arch.NamesClasses):
            cure = "set INFERENCE.BACKEND torch" if self.cfg.INFERENCE.BACKEND != "torch" else "take a text classifier"
            raise ConfigError(f"{self.cfg.MODEL.META_ARCHITECTURE} cannot take other classes (--classes): {cure}")
        self.model.set_classes(words)
        frozen = self.cfg.is_frozen()
        self.cfg.defrost()
        self.cfg.MODEL.CLASS_NAMES = tuple(word.strip() for word in words)
        if frozen:
            self.cfg.freeze()
        self.metadata = class_metadata(self.cfg)

    @overload
    def __call__(self, images: Image, camera: Cameras = None, **extra: Any) -> dict[str, Any]: ...

    @overload
    def __call__(self, images: Sequence[Image], camera: Cameras = None, **extra: Any) -> list[dict[str, Any]]: ...

    def __call__(
        self, images: Image | Sequence[Image], camera: Cameras = None, **extra: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Predict on an image or a list of images.

        Images that the network sees at one size pass through it together, so that padding changes nothing.

        Args:
            images: (H, W, 3) uint8 arrays, 0..255, in BGR order as cv2.imread gives them, Pillow's images, or paths;
                one or a list.
            camera: that took all of them, in their pixels, for models that estimate 3D; or one for each.
            extra: further model inputs that hold for every image.
        Returns:
            For each image what the model returns, on the CPU: {"instances": Instances} with pred_boxes (XYXY,
            pixels of the given image), scores and pred_classes. A list for a list.
        Raises:
            FileNotFoundError: no such image.
            DataError: a file that is no image, or the camera of another resolution.
            ValueError: an array of another shape or type.
        """
        if isinstance(images, (np.ndarray, str, Path, PIL.Image.Image)):
            return self([images], camera, **extra)[0]
        cameras = [camera] * len(images) if camera is None or isinstance(camera, Camera) else list(camera)
        if len(cameras) != len(images):
            raise ValueError(f"{len(cameras)} cameras for {len(images)} images, expected one for all or one for each")
        outputs: list[dict[str, Any]] = []
        for start in range(0, len(images), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            inputs = [{**self.prepare(*each), **extra} for each in zip(images[chosen], cameras[chosen])]
            if "image_id" in extra:  # the caller says what identifies it
                inputs = [{key: value for key, value in entry.items() if key != "content_id"} for entry in inputs]
            outputs.extend(self._run(inputs))
        return outputs

    @torch.no_grad()
    def _run(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Outputs of model inputs, those of one size together: what pads an image is seen by the layers behind."""
        by_size: dict[torch.Size, list[int]] = {}
        for index, entry in enumerate(inputs):
            by_size.setdefault(entry["image"].shape, []).append(index)
        outputs: dict[int, dict[str, Any]] = {}
        for indices in by_size.values():
            found = self.model([inputs[index] for index in indices])
            outputs.update((index, _to_cpu(output)) for index, output in zip(indices, found))
        return [outputs[index] for index in range(len(inputs))]

    def prepare(self, image: Image, camera: Camera | None = None) -> dict[str, Any]:
        """The model input of one image: "image" (C, H', W') float32, 0..255, resized, in INPUT.FORMAT order.

        With a camera, in pixels of the given image, also "camera", in those of the resized one. "content_id" identifies
        the pixels, so that random parts of a model give equal images equal results, whatever their files are called.
        """
        path = str(image) if isinstance(image, (str, Path)) else None
        pixels = read_pixels(image)
        height, width = pixels.shape[:2]
        identity = content_id(pixels)
        if self.cfg.INPUT.FORMAT == "RGB":
            pixels = pixels[:, :, ::-1]
        if isinstance(self.model, meta_arch.ResizesImages):
            resized = self.model.resize_image(pixels)
        else:
            resized = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)).astype(np.float32))  # (C, H', W')
        prepared = {"image": tensor, "height": height, "width": width, "content_id": identity}
        if path:
            prepared["file_name"] = path
        if camera is not None:
            check_camera_size(camera, width, height, f"camera of {path or 'the image'}")
            prepared["camera"] = camera.resized(tensor.shape[2] / width, tensor.shape[1] / height)
        return prepared


def read_config(path: str | Path, weights: str | Path | None = None, opts: Sequence[str] = ()) -> CfgNode:
    """The complete config of a YAML file. Its data sets need not be there, unless the class count comes from them.

    Args:
        weights: to predict with, instead of MODEL.WEIGHTS; the class names are theirs where they tell any.
        opts: KEY VALUE pairs that replace what the file says.
    Raises:
        FileNotFoundError, ConfigError: no such file, unknown keys, or values that cannot be derived.
    """
    cfg = make_cfg(str(path), list(opts))
    dataset_problems(cfg)  # registers data sets that are named by their place; missing ones do no harm here
    problems = finalize(cfg, str(weights or cfg.MODEL.WEIGHTS))
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return cfg


def class_metadata(cfg: CfgNode) -> Metadata | None:
    """Metadata with the class names of a model, see `Predictor.metadata`."""
    name = cfg.DATASETS.TEST[0] if len(cfg.DATASETS.TEST) else ""
    metadata = MetadataCatalog.get(name) if name else None
    classes = list(cfg.MODEL.CLASS_NAMES)
    if not classes or (metadata is not None and metadata.get("thing_classes") == classes):
        return metadata
    # Not into the catalog: the data set itself may have other classes, or the same in another order.
    frame = metadata.get("ry_frame") if metadata is not None else None
    return Metadata(name=name, thing_classes=classes, **({"ry_frame": frame} if frame else {}))


def content_id(pixels: np.ndarray) -> str:
    """What identifies the pixels (H, W, 3) uint8 of an image, in the order of `cv2.imread`: equal ones, equal text."""
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(repr(pixels.shape).encode())
    return f"pixels {digest.hexdigest()}"


def _to_cpu(output: dict[str, Any]) -> dict[str, Any]:
    return {key: _value_to_cpu(value) for key, value in output.items()}


def _value_to_cpu(value: Any) -> Any:
    if isinstance(value, list):
        return [_value_to_cpu(one) for one in value]
    return value.to("cpu") if hasattr(value, "to") else value
