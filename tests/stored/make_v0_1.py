"""Writes what version 0.1 stored: a tiny training a system with its config.yaml, calibrated models, their outputs.

Runs with the code of version 0.1 only, from the root of the checkout: python tests/stored/make_v0_1.py
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(__file__).resolve().parent / "v0_1"
WORK = Path(tempfile.mkdtemp())
os.environ["DETECTRON2_DATASETS"] = str(WORK / "datasets")  # data sets are registered below it on import
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("efficientad", "mono3dvg", "diffusion_det"))]

from ad_world import SIDE, narrow_networks, write_category  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402
from grounder_world import make_data  # noqa: E402

from d2ext.config import make_cfg  # noqa: E402
from d2ext.config.setup import finalize  # noqa: E402
from d2ext.engine import Trainer  # noqa: E402
from d2ext.engine.defaults import load_weights  # noqa: E402
from d2ext.structures import Camera  # noqa: E402
from efficientad.calibrate import calibrate  # noqa: E402

TINY_BACKBONE = [
    *("MODEL.BACKBONE.NAME", "build_dla34_fpn_backbone", "MODEL.DLA.CHANNELS", [2, 2, 4, 4, 8, 8]),
    *("MODEL.DLA.OUT_FEATURES", ["s8", "s16", "s32"], "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.TIMM.WEIGHTS", ""),
    *("MODEL.TIMM.TOP_BLOCK", ""),
]
SHORT = [
    *("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.CHECKPOINT_PERIOD", 0, "SOLVER.WARMUP_ITERS", 0),
    *("DATALOADER.NUM_WORKERS", 0, "SEED", 5, "MODEL.DEVICE", "cpu"),
]
WITH_TRAINING = ("mono3dvg", "efficientad")  # with what resuming needs; of the others the weights alone
POSE = "MODEL.DiffusionDet.POSE."
VG = "MODEL.MONO3DVG."
AD = "MODEL.EFFICIENT_AD."


def pixels(height: int, width: int, seed: int) -> torch.Tensor:
    """(3, height, width) uint8: blocks of colour."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, -(-height // 8), -(-width // 8)), dtype=np.uint8)
    return torch.from_numpy(small.repeat(8, 1).repeat(8, 2)[:, :height, :width].copy())


def camera() -> Camera:
    return Camera(np.array([[120.0, 0, 80], [0, 120.0, 45], [0, 0, 1]]), [0.0, -0.97, -0.24, 6.0])


def train(name: str, base: str, opts: list, data: dict[str, str]) -> tuple[torch.nn.Module, object]:
    """Two iterations; OUT/name gets config.yaml and model_final.pth."""
    folder = OUT / name
    opts = [*opts, *SHORT, "OUTPUT_DIR", f"output/{name}", *(x for pair in data.items() for x in pair)]
    cfg = make_cfg(str(ROOT / base), [str(o) for o in opts])
    problems = finalize(cfg)
    assert not problems, problems
    stored = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(folder)
    folder.mkdir(parents=True)
    torch.manual_seed(3)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    for path in folder.iterdir():
        if path.name != "model_final.pth":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "config.yaml").write_text(stored.dump())
    model = reload(stored, folder / "model_final.pth")
    if name not in WITH_TRAINING:
        torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    return model, stored


def reload(cfg, path: Path) -> torch.nn.Module:
    model = build_model(cfg).eval()
    load_weights(cfg, model, str(path))
    return model


def run(model, entry: dict) -> dict:
    torch.manual_seed(11)
    with torch.no_grad():
        return model([entry])[0]


def diffusion_det() -> dict:
    node = "MODEL.DiffusionDet."
    opts = [
        *TINY_BACKBONE, node + "HIDDEN_DIM", 16, node + "DIM_FEEDFORWARD", 24, node + "DIM_DYNAMIC", 4,
        node + "NUM_HEADS", 2, node + "NUM_PROPOSALS", 12, node + "TEST_NUM_PROPOSALS", 12, POSE + "ENABLED", True,
        node + "SAMPLE_STEP", 2, POSE + "IN_STATE", True,
    ]  # fmt: skip
    names = {"DATASETS.TRAIN": ("toy_roadside3d_train",), "DATASETS.TEST": ()}
    model, _ = train("diffusion_det", "configs/diffusion_det/Base-Small.yaml", opts, names)
    image = pixels(96, 160, 1)
    entry = {"image": image, "height": 192, "width": 320, "camera": camera(), "image_id": 4}
    found = run(model, entry)["instances"]
    fields = {"pred_boxes": found.pred_boxes.tensor, "scores": found.scores, "pred_classes": found.pred_classes}
    return {"image": image, **fields, "pred_boxes3d": found.pred_boxes3d.to_kitti()}


VARIANTS = {
    "mono3dvg": [VG + "DETECTION.LOOKS", True, VG + "DATA.LESSON", "labels", VG + "DATA.UNKNOWN_WORDS", 0.1],
    "mono3dvg_query": [VG + "HEAD", "query", VG + "FUSION.NAME", "frozen", VG + "FUSION.DIRECTIONS", 2],
    "mono3dvg_mamba_fusion": [
        VG + "FUSION.NAME",
        "mamba_fusion",
        VG + "FUSION.DIRECTIONS",
        2,
        VG + "IGNORES",
        "sentence",
    ],
    "mono3dvg_cross_attention": [VG + "FUSION.NAME", "cross_attention", VG + "RELATION.ENABLED", False],
}


def mono3dvg(name: str, opts: list) -> dict:
    tiny = [
        *TINY_BACKBONE, "MODEL.TIMM.TOP_BLOCK", "maxpool", VG + "IN_FEATURES", ("p3", "p4", "p5"),
        VG + "DIM", 16, VG + "TEXT.WIDTH", 16, VG + "TEXT.LAYERS", 1, VG + "TEXT.VOCAB_SIZE", 300,
        VG + "SSD.HEADS", 2, VG + "SSD.HEAD_DIM", 8, VG + "SSD.STATE", 8, VG + "DETECTION.DIM", 16,
        VG + "DETECTION.DEPTH", 1, VG + "RELATION.DIM", 16, VG + "RELATION.LAYERS", 1, VG + "RELATION.PAIR_DIM", 8,
        VG + "DATA.SENTENCES", 3, VG + "DETECTION.MIN_HEAT", 0.0, VG + "TEST.MIN_SCORE", 0.0,
        "INPUT.MIN_SIZE_TRAIN", (90,), "INPUT.MIN_SIZE_TEST", 90,
    ]  # fmt: skip
    names = {"DATASETS.TRAIN": ("toy_grounding_train",), "DATASETS.TEST": ()}
    model, _ = train(name, "configs/mono3dvg/Base-Small.yaml", [*tiny, *opts], names)
    image = pixels(90, 160, 2)
    texts = ["the second white car from the left", "all trucks within 20 m", "a zebra"]
    expressions = [{"id": i, "text": text} for i, text in enumerate(texts)]
    found = run(model, {"image": image, "camera": camera(), "expressions": expressions})["groundings"]
    keys = ("boxes", "scores", "boxes_xyxy", "classes", "relevance")
    return {"image": image, "texts": texts, "groundings": [{k: g[k] for k in keys} for g in found]}


def efficientad(category: Path) -> dict:
    opts = [
        *(AD + "TEACHER", "random", AD + "OUT_CHANNELS", 8, AD + "ATTENTION_DIM", 16, AD + "ATTENTION_HEADS", 2),
        *("INPUT.IMAGE_SIZE", (SIDE, SIDE), AD + "HARD_QUANTILE", 0.0),
    ]
    names = {"DATASETS.TRAIN": (f"pictures:{category}/train/good",), "DATASETS.TEST": ()}
    opts += [AD + "VALIDATION", (f"pictures:{category}/test/good",)]
    image = pixels(SIDE, SIDE, 3).float()
    entry = {"image": image, "height": 80, "width": 90}
    outputs = {"image": image}
    with narrow_networks():
        model, cfg = train("efficientad", "configs/efficientad/Base-EfficientAD.yaml", opts, names)
        outputs["float32"] = run(model, entry)
        for arithmetic in ("bfloat16", "int8"):
            own = cfg.clone()
            own.merge_from_list([AD + "INFERENCE.ARITHMETIC", arithmetic])
            other = build_model(own).eval()
            other.load_state_dict(model.state_dict(), strict=False)
            calibrate(own, other)
            folder = OUT / f"efficientad_{arithmetic}"
            folder.mkdir()
            torch.save({"model": other.state_dict()}, folder / "model_final.pth")
            (folder / "config.yaml").write_text(own.dump())
            outputs[arithmetic] = run(reload(own, folder / "model_final.pth"), entry)
    return outputs


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    try:
        os.chdir(WORK)
        make_data(WORK / "datasets")
        category = write_category(WORK / "datasets").relative_to(WORK)
        outputs = {"diffusion_det": diffusion_det()}
        outputs |= {name: mono3dvg(name, opts) for name, opts in VARIANTS.items()}
        outputs["efficientad"] = efficientad(category)
    finally:
        shutil.rmtree(WORK)
    torch.save(outputs, OUT / "outputs.pt")


if __name__ == "__main__":
    main()
