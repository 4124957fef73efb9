"""A small grounder on small data, for tests of the whole."""

from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog

from d2road.config import make_cfg
from d2road.config.setup import finalize
from d2road.data import build_mapper, register_by_name
from d2road.engine import Trainer
from d2road.structures import Camera
from d2road.synthetic.roadside import make_toy_roadside
from mono3dvg.data.toy_grounding import make_toy_grounding

NODE = "MODEL.MONO3DVG."
TINY = (
    NODE + "DIM", 16, NODE + "TEXT.WIDTH", 16, NODE + "TEXT.LAYERS", 1, NODE + "TEXT.VOCAB_SIZE", 400,
    NODE + "SSD.HEADS", 2, NODE + "SSD.HEAD_DIM", 8, NODE + "SSD.STATE", 8, NODE + "DETECTION.DIM", 16,
    NODE + "DETECTION.DEPTH", 1,
    NODE + "RELATION.DIM", 16, NODE + "RELATION.LAYERS", 1, NODE + "RELATION.PAIR_DIM", 8,
    "INPUT.GROUNDING.SENTENCES_PER_IMAGE", 3,
    "TEST.GROUNDING.THRESHOLD_DATA", "", "MODEL.TIMM.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", 16,
    "INPUT.MIN_SIZE_TRAIN", (90,), "INPUT.MIN_SIZE_TEST", 90, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 4,
    "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.WARMUP_ITERS", 0, "DATALOADER.NUM_WORKERS", 0, "MODEL_EMA.DECAY", 0.5,
)  # fmt: skip


def make_data(folder: Path) -> Path:
    """Three toy views to train on and three others, four sentences each."""
    make_toy_roadside(folder / "toy_roadside", seed=3, train=3, val=3, workers=0)
    make_toy_grounding(folder / "toy_grounding", folder / "toy_roadside", seed=1, per_image=4)
    return folder


def data_name(folder: Path, split: str) -> str:
    return f"grounding:{folder}/toy_grounding/grounding_{split}.json:{folder}/toy_roadside"


def tiny_cfg(repo: Path, data: Path, output: Path, *pairs):
    """A config of the small grounder on the data of `make_data`, complete, not frozen."""
    names = [data_name(data, split) for split in ("train", "val", "test")]
    opts = [*TINY, "DATASETS.TRAIN", (names[0],), "DATASETS.TEST", tuple(names[1:]), "OUTPUT_DIR", output, *pairs]
    cfg = make_cfg(str(repo / "configs/mono3dvg/Base-Small.yaml"), [str(o) for o in opts])
    for name in names:
        register_by_name(name)
    problems = finalize(cfg)
    assert not problems, problems
    return cfg


def untrained(repo: Path, folder: Path, *pairs):
    """The small grounder as it begins, the records of the test split of new data in `folder`, and their mapper."""
    data = make_data(folder)
    cfg = tiny_cfg(repo, data, data / "out", *pairs)
    torch.manual_seed(0)
    model = Trainer.build_model(cfg).eval()
    return model, DatasetCatalog.get(data_name(data, "test")), build_mapper(cfg, is_train=False)


def image_input(texts=(), camera: Camera | None = None, size=(90, 160), **more) -> dict:
    """A model input without labels."""
    camera = camera or Camera(np.array([[120.0, 0, 80], [0, 120.0, 45], [0, 0, 1]]), [0.0, -0.97, -0.24, 6.0])
    image = torch.randint(0, 255, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expressions = [{"id": i, "text": text} for i, text in enumerate(texts)]
    return {"image": image, "camera": camera, "expressions": expressions, "file_name": "street.jpg", **more}
