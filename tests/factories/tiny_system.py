"""A tiny detector and a tiny data set, to test the shared layer without any system.

The detector's losses use dropout and noise, so that random states matter, and batch norm, so that buffers do. What it
detects is the bright rectangle in an image, with a score that depends on its weights.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import nn

from d2road.config import add_common_config
from d2road.evaluation import EVALUATOR_REGISTRY


class TinyDetector(nn.Module):
    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4) if cfg.MODEL.TINY.NORM else nn.ReLU()
        )
        self.head = nn.Linear(4, 6)
        self.dropout, self.poison = cfg.MODEL.TINY.DROPOUT, cfg.MODEL.TINY.POISON
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), 128.0), persistent=False)
        self.to(cfg.MODEL.DEVICE)

    def features(self, images: list[torch.Tensor]) -> torch.Tensor:
        pooled = [self.backbone((image.float() - self.pixel_mean)[None] / 64).mean((2, 3)) for image in images]
        return self.head(torch.cat(pooled))  # (B, 6)

    def forward(self, batch: list[dict]):
        out = self.features([item["image"] for item in batch])
        if not self.training:
            return [self.detect(item, row) for item, row in zip(batch, out)]
        if self.dropout:
            out = nn.functional.dropout(out, self.dropout) + 0.1 * torch.randn_like(out)
        targets = torch.stack([item["instances"].gt_boxes.tensor.sum(0) / 100 for item in batch])
        counts = out.new_tensor([len(item["instances"]) for item in batch])
        loss_box = (out[:, :4] - targets).abs().mean()
        if self.poison and any(Path(item["file_name"]).stem == self.poison for item in batch):
            loss_box = loss_box * float("nan")
        return {"loss_box": loss_box, "loss_count": (out[:, 4] - counts).square().mean()}

    def detect(self, item: dict, row: torch.Tensor) -> dict:
        ys, xs = torch.where(item["image"].float().mean(0) > 128)
        box = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
        scale = item["width"] / item["image"].shape[2]
        noise = torch.randn(
            4, generator=torch.Generator().manual_seed(int(item["image_id"])) if "image_id" in item else None
        )
        found = Instances((item["height"], item["width"]))
        found.pred_boxes = Boxes((box * scale + noise)[None])
        found.scores = torch.sigmoid(row[5:])
        found.pred_classes = torch.zeros(1, dtype=torch.int64)
        return {"instances": found}


META_ARCH_REGISTRY.register(TinyDetector)


@EVALUATOR_REGISTRY.register(name="tiny")
def build_tiny_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> COCOEvaluator:
    return COCOEvaluator(dataset_name, ("bbox",), output_dir=output_dir, use_fast_impl=False)


def write_images(folder: Path, num: int, seed: int) -> None:
    """`num` images, landscape and portrait, each with a bright rectangle, and annotations.json."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, annotations = [], []
    for i in range(num):
        width, height = (64, 48) if i % 3 else (48, 64)
        pixels = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
        x, y, w, h = (int(v) for v in rng.integers(4, 24, 4))
        pixels[y : y + h, x : x + w] += 150
        cv2.imwrite(str(folder / f"{i:03d}.png"), pixels)
        images.append({"id": i + 1, "file_name": f"{i:03d}.png", "width": width, "height": height})
        box = [x, y, w, h]
        annotations.append({"id": i + 1, "image_id": i + 1, "category_id": 1, "bbox": box, "area": w * h, "iscrowd": 0})
    categories = [{"id": 1, "name": "rectangle"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def make_data(root: Path, num_train: int = 22, num_val: int = 7) -> Path:
    """Write the data set, once."""
    if not root.is_dir():
        write_images(root / "train", num_train, seed=1)
        write_images(root / "val", num_val, seed=2)
    return root


def register(name: str, folder: Path) -> None:
    """Make a folder of `write_images` a data set, once."""
    if name not in DatasetCatalog:
        labels = str(folder / "annotations.json")
        DatasetCatalog.register(name, lambda: load_coco_json(labels, str(folder), name))
        MetadataCatalog.get(name).set(
            json_file=labels, image_root=str(folder), evaluator_type="tiny", thing_classes=["rectangle"]
        )


def tiny_cfg(data: Path, output: Path, *pairs) -> CfgNode:
    """A config of the tiny detector on the data set in `data`, not frozen, with KEY, VALUE pairs merged."""
    names = [f"tiny_{part}_{data}" for part in ("train", "val")]
    for name, part in zip(names, ("train", "val")):
        register(name, data / part)
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.MODEL.TINY = CfgNode({"DROPOUT": 0.2, "NORM": True, "POISON": ""})
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "TinyDetector", "", "cpu"
    cfg.MODEL_EMA.ENABLED, cfg.MODEL_EMA.DECAY = True, 0.9
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names[0],), (names[1],)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (40, 48, 56), 48
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = 4, 24, 6
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.STEPS = 0.01, 4, (14,)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "full_model"
    cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_METRIC = 8, "bbox/AP"
    cfg.SEED, cfg.OUTPUT_DIR = 7, str(output)
    cfg.merge_from_list([str(pair) if isinstance(pair, Path) else pair for pair in pairs])
    return cfg
