"""DiffusionDet R50, 300 boxes, 480 x 640, in fp32 and bf16 beside a plain transcription of the published inference.

Random weights. In fp32 both find the same boxes to 1 px and scores to 1e-3 at one step, or nothing is measured. The
published code is timed with PyTorch's own choice of libraries, and under plain autocast.
"""

import copy
from argparse import Namespace

import torch

from benchmarks.speed.diffusion_det_compare import agreement, repeatable
from benchmarks.speed.diffusion_det_inputs import build, random_inputs
from benchmarks.speed.interleaved import by_default, row, time_in_turns, under_autocast
from benchmarks.speed.plain_diffusion_det import PlainDiffusionDet
from d2road.engine.meta_arch import prepare_for_inference

CONFIG = "configs/diffusion_det/coco/resnet50.yaml"
BOXES, SIZE = 300, (480, 640)
BOX_PX, SCORE, SHARE = 1.0, 1e-3, 0.99
AIMS = {1: (1.6, 2.5), 4: (1.8, 3.0)}  # fp32, bf16
AUTOCAST_AIM = 1.3


def rows(runs: int, seed: int, steps: int) -> list[dict]:
    """Rows of the table for a number of sampling steps."""
    args = Namespace(config_file=CONFIG, opts=["MODEL.DEVICE", "cpu"], seed=seed, size=SIZE)
    cfg, model = build(args, BOXES, steps, compat=True)
    model.eval()
    plain = PlainDiffusionDet(model).eval()
    exact = prepare_for_inference(copy.deepcopy(model))
    rounded = prepare_for_inference(copy.deepcopy(model))
    rounded.set_precision("bf16")
    inputs = random_inputs(args, 1, cfg.MODEL.DiffusionDet.NUM_CLASSES, training=False)
    published = repeatable(plain, inputs, seed)
    calls = {
        "published fp32": by_default(published),
        "published autocast": by_default(under_autocast(published)),
        "ours fp32": repeatable(exact, inputs, seed),
        "ours bf16": repeatable(rounded, inputs, seed),
    }
    share, box_px, score = agreement(calls["published fp32"](), calls["ours fp32"](), BOX_PX)
    if steps == 1 and (share < SHARE or box_px > BOX_PX or score > SCORE):
        raise RuntimeError(f"{share:.1%} of the objects are the same, to {box_px} px and a score of {score}")
    note = f"{share:.1%} of the objects within 1 px, scores within {score:.1e}"
    with torch.no_grad():
        seconds = time_in_turns(calls, runs)
    named = f"DiffusionDet R50, {steps} step{'s' * (steps > 1)}, "
    return [
        row(named + "fp32 beside published fp32", seconds, "ours fp32", "published fp32", AIMS[steps][0], note),
        row(named + "bf16 beside published fp32", seconds, "ours bf16", "published fp32", AIMS[steps][1]),
        row(named + "bf16 beside published autocast", seconds, "ours bf16", "published autocast", AUTOCAST_AIM),
    ]
