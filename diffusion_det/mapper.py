"""From a dataset dict to the input of DiffusionDet: read, augment, resize, as tensors."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from d2road.data.camera_files import read_camera
from d2road.data.input_checks import read_image_checked
from d2road.data.labels3d import boxes3d_of
from d2road.data.mapper_registry import MAPPER_REGISTRY
from d2road.data.transforms import transform_camera
from d2road.utils.errors import DataError

# The published crop: the image is first shrunk to one of these short sides, then a part of it is cut out.
CROP_SHORT_SIDES = (400, 500, 600)


@MAPPER_REGISTRY.register()
class DiffusionDetMapper:
    """Detection mapper with DETR's augmentation: flip, half of the time shrink and crop, resize.

    Random draws come from numpy's global state, which the loader seeds for each sample.

    Args:
        cfg: INPUT.* of Detectron2 (RANDOM_FLIP, CROP, MIN_SIZE_TRAIN, ...) and INPUT.COLOR_JITTER; with
            MODEL.DiffusionDet.POSE.ENABLED cameras and 3D labels are attached.
        is_train: augment and attach `instances`; else only resize.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True):
        self.is_train, self.format, self.with_pose = is_train, cfg.INPUT.FORMAT, cfg.MODEL.DiffusionDet.POSE.ENABLED
        self.is_of_use, self.ignores_crowds = partial(is_trained_on, cfg), cfg.MODEL.DiffusionDet.IGNORE_CROWDS
        part = "TRAIN" if is_train else "TEST"
        sizes, longest = cfg.INPUT[f"MIN_SIZE_{part}"], cfg.INPUT[f"MAX_SIZE_{part}"]
        style = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING if is_train else "choice"
        self.resize = [T.ResizeShortestEdge(sizes, longest, style)]
        self.before: list[T.Augmentation] = []
        self.crop: list[T.Augmentation] = []
        if not is_train:
            return
        if cfg.INPUT.RANDOM_FLIP != "none":
            self.before.append(
                T.RandomFlip(
                    horizontal=cfg.INPUT.RANDOM_FLIP == "horizontal", vertical=cfg.INPUT.RANDOM_FLIP == "vertical"
                )
            )
        if cfg.INPUT.COLOR_JITTER > 0:
            low, high = 1 - cfg.INPUT.COLOR_JITTER, 1 + cfg.INPUT.COLOR_JITTER
            self.before += [T.RandomBrightness(low, high), T.RandomContrast(low, high), T.RandomSaturation(low, high)]
        if cfg.INPUT.CROP.ENABLED:
            self.crop = [
                T.ResizeShortestEdge(CROP_SHORT_SIDES, sample_style="choice"),
                T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE),
            ]

    def __call__(self, dataset_dict: dict) -> dict:
        """Read and transform one image.

        Returns:
            the dict with `image` (3, H, W) uint8 in the configured channel order and, in training, `instances`. With
            pose also `camera`, a Camera in pixels of `image`, and in `instances` gt_boxes3d (M, 7), rows x, y, z, h, w,
            l, ry as the data set defines them, and gt_has_3d (M,). With MODEL.DiffusionDet.IGNORE_CROWDS, in
            training also `crowds` (M, 4), boxes in pixels of `image`.
        Raises:
            FileNotFoundError, DataError: image missing, broken or of another size than its annotation says;
                calibration missing or wrong.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = read_image_checked(dataset_dict, self.format)
        augmentations = self.before + self.resize
        if self.crop and np.random.rand() > 0.5:
            augmentations = self.before + self.crop + self.resize
        image, transforms = T.apply_transform_gens(augmentations, image)
        dataset_dict["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train and "annotations" not in dataset_dict:
            raise DataError(f"{dataset_dict['file_name']}: its data set has no annotations, so it cannot be trained on")
        given = dataset_dict.pop("annotations", [])
        annotations, crowds = [a for a in given if self.is_of_use(a)], [a for a in given if a.get("iscrowd", 0)]
        mirrored = False
        if self.with_pose:
            dataset_dict["camera"], mirrored = transform_camera(read_camera(dataset_dict), transforms)
        if self.is_train:
            boxes = [utils.transform_instance_annotations(a, transforms, image.shape[:2]) for a in annotations]
            instances = utils.annotations_to_instances(boxes, image.shape[:2])
            if self.with_pose:
                instances.gt_boxes3d, instances.gt_has_3d = boxes3d_of(annotations, mirrored)
            dataset_dict["instances"] = utils.filter_empty_instances(instances)
            if self.ignores_crowds:
                crowds = [utils.transform_instance_annotations(c, transforms, image.shape[:2]) for c in crowds]
                dataset_dict["crowds"] = utils.annotations_to_instances(crowds, image.shape[:2]).gt_boxes.tensor
        return dataset_dict


def is_trained_on(cfg: CfgNode, annotation: Mapping[str, Any]) -> bool:
    """Whether a training learns an object: no crowd, not hidden or cut off further than INPUT.MAX_* say."""
    return (
        not annotation.get("iscrowd", 0)
        and annotation.get("occluded", 0) <= cfg.INPUT.MAX_OCCLUDED
        and annotation.get("truncated", 0.0) <= cfg.INPUT.MAX_TRUNCATED
    )
