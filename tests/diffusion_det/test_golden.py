"""Parity with the published code on recorded inputs and outputs."""

import random

import pytest
import torch

from diffusion_det.box_prior import NormalPrior
from diffusion_det.denoising import denoise_as_published, select_objects
from diffusion_det.head import DynamicHead, StageOptions
from diffusion_det.losses import SetCriterion
from diffusion_det.matcher import Targets
from diffusion_det.noising import diffuse_boxes
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import CosineSchedule


@pytest.fixture(scope="module")
def golden(golden_dir):
    return torch.load(golden_dir / "diffusion_det.pt", weights_only=True)


@pytest.fixture(scope="module")
def head(golden):
    config = golden["config"]
    head = DynamicHead(
        strides=[4, 8, 16, 32],
        num_outputs=config["NUM_CLASSES"],
        num_classes=config["NUM_CLASSES"],
        num_stages=config["NUM_HEADS"],
        stage=StageOptions(
            dim=config["HIDDEN_DIM"],
            dim_feedforward=config["DIM_FEEDFORWARD"],
            num_attention_heads=config["NHEADS"],
            dim_dynamic=config["DIM_DYNAMIC"],
        ),
    )
    head.load_state_dict({k.removeprefix("head."): v for k, v in golden["state_dict"].items()}, strict=True)
    return head


@pytest.fixture(scope="module")
def features(golden):
    return [golden["features"][name] for name in ("p2", "p3", "p4", "p5")]


@pytest.fixture(scope="module")
def whwh(golden):
    height, width = golden["image_size"]
    return torch.tensor([[width, height, width, height]] * 2, dtype=torch.float32)


def test_head(golden, head, features):
    logits, boxes = head(features, golden["head"]["boxes_xyxy"], golden["head"]["t"])
    torch.testing.assert_close(logits, golden["head"]["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes, golden["head"]["pred_boxes_xyxy"], atol=1e-4, rtol=1e-5)


def test_sampling(golden, head, features, whwh):
    schedule = CosineSchedule()
    for run in golden["sampling"]:
        batch = run["batch"]
        maps = [f[:batch] for f in features]

        def predict(boxes, t, maps=maps, batch=batch):
            with torch.no_grad():
                logits, boxes = head(maps, boxes, torch.full((batch,), t))
            return logits[-1], boxes[-1]

        torch.manual_seed(run["seed"])
        results = denoise_as_published(
            predict,
            build_sampler("ddim", schedule, 1.0),
            whwh[:batch],
            steps=run["steps"],
            count=30,
            prior=NormalPrior(2.0),
        )
        found = select_objects(results)
        assert len(found) == len(run["results"]) == batch
        for ours, theirs, size in zip(found, run["results"], whwh):
            boxes = ours.boxes_xyxy.clamp(min=torch.zeros(4), max=size)  # what post-processing does
            keep = (boxes[:, 2:] > boxes[:, :2]).all(1)
            torch.testing.assert_close(boxes[keep], theirs["boxes"], atol=0.01, rtol=0)
            torch.testing.assert_close(ours.scores[keep], theirs["scores"], atol=1e-4, rtol=0)
            assert torch.equal(ours.classes[keep], theirs["classes"])


def test_training(golden, head, features, whwh):
    recorded = golden["training"]
    torch.manual_seed(recorded["noise_seed"])
    random.seed(recorded["noise_seed"])
    boxes, t, _ = diffuse_boxes(recorded["gt_boxes"], whwh, CosineSchedule(), 30, NormalPrior(2.0))
    assert torch.equal(t, recorded["t"])
    assert torch.equal(boxes, recorded["noisy_boxes_xyxy"])

    logits, pred_boxes = head(features, boxes, t)
    targets = Targets.pad(recorded["gt_boxes"], recorded["gt_classes"], whwh)
    criterion = SetCriterion(num_classes=6, as_published=True)
    matched = criterion.match(logits[-1], pred_boxes[-1], targets)
    for ours, (selected, index) in zip(matched, recorded["matched"]):
        assert torch.equal(ours >= 0, selected)
        assert torch.equal(ours[ours >= 0], index.long())

    losses = criterion(logits, pred_boxes, targets)
    assert losses.keys() == recorded["weighted_losses"].keys()
    for name, value in losses.items():
        assert value.item() == pytest.approx(recorded["weighted_losses"][name], rel=1e-4), name
    head.zero_grad()
    sum(losses.values()).backward()
    norms = {"head." + name: p.grad.norm().item() for name, p in head.named_parameters()}
    assert norms == pytest.approx(recorded["grad_norms"], rel=1e-4)
