"""Test-time augmentation: detections of several scales and mirrored copies of an image, merged."""

import copy

import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.modeling import DatasetMapperTTA
from detectron2.structures import Boxes, Instances
from torch import nn
from torchvision.ops import batched_nms

from d2road.data.transforms import transform_camera
from d2road.structures import Camera


class DetectorWithTTA(nn.Module):
    """Test-time augmentation of a detector: all scales and flips of TEST.AUG together, in 3D too with a pose head.

    Each scale may report only objects of its range (TEST.AUG.SCALE_RANGES, square root of the box area in pixels of the
    image), if TEST.AUG.SCALE_FILTER says so: small objects come from large scales.

    Args:
        cfg: TEST.AUG.*, TEST.DETECTIONS_PER_IMAGE, INPUT.FORMAT, MODEL.DiffusionDet.NMS_THRESH.
        model: detector with Detectron2's contract.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module):
        super().__init__()
        self.model, self.mapper = model, DatasetMapperTTA(cfg)
        aug, node = cfg.TEST.AUG, cfg.MODEL.DiffusionDet
        filtered = aug.CVPODS_TTA and aug.SCALE_FILTER
        self.ranges = [tuple(r) for r in aug.SCALE_RANGES] if filtered else [(0, float("inf"))] * len(aug.MIN_SIZES)
        self.per_scale = 2 if aug.FLIP else 1
        self.limit, self.format, self.nms_thresh = cfg.TEST.DETECTIONS_PER_IMAGE, cfg.INPUT.FORMAT, node.NMS_THRESH

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As the detector's, one image after the other; `file_name` gives the original pixels where it is known."""
        return [{"instances": self._one(x)} for x in batched_inputs]

    def _one(self, image: dict) -> Instances:
        image = copy.copy(image)
        camera = image.pop("camera", None)
        net_height, net_width = image["image"].shape[1:]
        if "file_name" in image:
            pixels = utils.read_image(image["file_name"], self.format)
            image["image"] = torch.as_tensor(pixels.transpose(2, 0, 1).copy())
        height, width = image["image"].shape[1:]
        image["height"], image["width"] = image.get("height", height), image.get("width", width)
        if camera is not None:
            camera = camera.resized(image["width"] / net_width, image["height"] / net_height)
        parts = [
            self._part(augmented, index, camera, (image["height"], image["width"]))
            for index, augmented in enumerate(self.mapper(image))
        ]
        merged = Instances.cat(parts)
        keep = batched_nms(merged.pred_boxes.tensor, merged.scores, merged.pred_classes, self.nms_thresh)[: self.limit]
        merged = merged[keep]
        merged.pred_boxes.clip(merged.image_size)
        return merged[merged.pred_boxes.nonempty()]

    def _part(self, augmented: dict, index: int, camera: Camera | None, size: tuple[int, int]) -> Instances:
        """What one augmentation finds, in pixels (and the world) of the image."""
        transforms = augmented.pop("transforms")
        augmented["height"], augmented["width"] = augmented["image"].shape[1:]
        mirrored = False
        if camera is not None:
            augmented["camera"], mirrored = transform_camera(camera, transforms)
        found = self.model([augmented])[0]["instances"].to("cpu")
        fields = found.get_fields()
        boxes = torch.as_tensor(
            transforms.inverse().apply_box(found.pred_boxes.tensor.numpy()), dtype=torch.float32
        ).reshape(-1, 4)
        fields["pred_boxes"] = Boxes(boxes)
        if mirrored and "pred_boxes3d" in fields:
            fields["pred_boxes3d"] = found.pred_boxes3d.flipped()
        side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
        low, high = self.ranges[index // self.per_scale]
        return Instances(size, **fields)[(side > low) & (side < high)]
