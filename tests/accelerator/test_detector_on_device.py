"""DiffusionDet on a pretended accelerator: the results of the processor, and how often the host waits."""

import random

import pytest
import torch

from diffusion_det.pose.pose_head import BRANCHES
from diffusion_det.sampler import SAMPLER_REGISTRY
from tests.accelerator.conftest import on_device
from tests.factories.pose_models import NODE, ON, POSE, STATE

POSES = {
    "read off": ON,
    "in the state": STATE,
    "training the decoder": (*ON, POSE + "GRADIENT_TO_2D", True),
    "without maps": (*ON, POSE + "POOLED", False),
    "plane alone": (*ON, POSE + "GROUND_PREDICTION", False, POSE + "SHARED_GROUND_ERROR", False),
    "no plane": (*ON, POSE + "USE_GIVEN_GROUND", False),
    **{f"{branch} depth": (*ON, POSE + "DEPTH", branch) for branch in BRANCHES},
}


def assert_same(found, expected, atol=1e-4):
    """The detections of one image, on the device and on the processor; in double precision."""
    found, expected = found["instances"].to("cpu"), expected["instances"]
    assert len(found) == len(expected) > 0
    assert torch.equal(found.pred_classes, expected.pred_classes)
    torch.testing.assert_close(found.scores, expected.scores, atol=atol, rtol=0)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=100 * atol, rtol=0)
    if expected.has("pred_boxes3d"):
        location = found.pred_boxes3d.location, expected.pred_boxes3d.location
        torch.testing.assert_close(*location, atol=100 * atol, rtol=100 * atol)


@pytest.mark.parametrize("sampler", SAMPLER_REGISTRY.names())
def test_every_sampler_finds_the_same_and_waits_at_most_three_times(sampler, small_model, make_input, accelerator):
    transport = "flow" if SAMPLER_REGISTRY.get(sampler).only_straight else "diffusion"
    opts = (NODE + "TRANSPORT", transport, NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", 4)
    model = small_model(*opts).eval().double()
    batch = [make_input(0), make_input(1, image_id=7)]
    with torch.no_grad():
        expected = model(batch)
        with on_device(model, accelerator), accelerator.measured() as cost:
            found = model(batch)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert len(cost.waits) <= 3, cost
    assert cost.launches < 1150, cost


@pytest.mark.parametrize(("kind", "steps"), [("grid", 2), ("sobol", 2), ("queries", 1)])
def test_first_boxes_that_are_not_drawn_wait_no_longer(kind, steps, small_model, make_input, accelerator):
    model = small_model(NODE + "PROPOSALS", kind, NODE + "SAMPLE_STEP", steps).double()
    batch = [make_input(0), make_input(1)]
    losses = losses_of(model.train(), batch)
    with torch.no_grad():
        expected = model.eval()(batch)
    with on_device(model, accelerator):
        with accelerator.measured() as training:
            again = losses_of(model.train(), batch)
        with torch.no_grad(), accelerator.measured() as inference:
            found = model.eval()(batch)
    for name, value in losses.items():
        assert again[name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-9), name
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert len(training.waits) <= 4, training
    assert len(inference.waits) <= 3, inference


def test_a_batch_of_any_size_and_with_steps_waits_as_often(small_model, make_input, accelerator):
    model = small_model(NODE + "SAMPLE_STEP", 3).eval()
    batch = [make_input(n) for n in range(5)]
    with torch.no_grad(), on_device(model, accelerator):
        with accelerator.measured() as cost:
            model(batch)
        assert len(cost.waits) <= 3, cost
        with accelerator.measured() as cost:
            (steps, *_) = (x["steps"] for x in model([x | {"with_steps": True} for x in batch]))
        assert len(steps) == 3 and len(cost.waits) <= 4 * 3, cost


def test_the_denoising_loop_can_be_captured(small_model, make_input, accelerator):
    """No wait and, its noise being there, no copy: what a CUDA graph can hold."""
    model = small_model(NODE + "SAMPLE_STEP", 3).eval()
    with torch.no_grad(), on_device(model, accelerator):
        images, whwh = model.preprocess_sized([make_input(0), make_input(1)])
        features = model.features(images)
        noise = torch.randn(2, 20, 40, device=accelerator.device)

        class Given:
            used = 0

            def normal(self, count, size):
                self.used += size
                return noise[..., self.used - size : self.used]

        with accelerator.measured() as cost, accelerator.captured():
            steps = model.denoise(features, whwh, Given())
    assert len(steps) == 3 and cost.launches > 100 and not cost.waits and not cost.uploads


@pytest.mark.parametrize("objects", [(3, 4), (0, 0), (30, 2)])
def test_a_training_step_has_the_same_losses_and_waits_at_most_four_times(
    objects, small_model, make_input, accelerator
):
    model = small_model().train().double()
    batch = [make_input(n, objects=count) for n, count in enumerate(objects)]
    expected = losses_of(model, batch)
    gradient = model.head.head_series[0].linear1.weight.grad.clone()
    with on_device(model, accelerator), accelerator.measured() as cost:
        model.zero_grad()
        found = losses_of(model, batch)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-9), name
    ours = model.head.head_series[0].linear1.weight.grad.cpu()
    torch.testing.assert_close(ours, gradient, atol=1e-6, rtol=1e-4)
    assert len(cost.waits) <= 4, cost
    assert cost.launches < 1450, cost


@pytest.mark.parametrize(
    "opts",
    [
        (NODE + "USE_FOCAL", False),
        (NODE + "DEEP_SUPERVISION", False),
        (NODE + "ENSEMBLE", False),
        (NODE + "USE_NMS", False),
        (NODE + "BOX_RENEWAL", False),
        (NODE + "OFFICIAL_COMPAT", True),
        (NODE + "TRANSPORT", "flow", NODE + "COUPLING", "optimal", NODE + "LEVEL_DENSITY", (0.0, 1.0)),
    ],
)
def test_variants_of_the_detector(opts, small_model, make_input, accelerator):
    model = small_model(NODE + "SAMPLE_STEP", 2, *opts)
    batch = [make_input(0), make_input(1, height=64, width=160)]
    with on_device(model, accelerator):
        losses_of(model.train(), batch)
        with torch.no_grad():
            assert len(model.eval()(batch)) == 2


def test_federated_loss(small_model, make_input, accelerator):
    model = small_model().train()
    model.criterion.fed_loss_cls_weights, model.criterion.fed_loss_classes = torch.rand(5), 3
    with on_device(model, accelerator), accelerator.measured() as cost:
        losses_of(model, [make_input(0), make_input(1)])
    assert len(cost.waits) <= 4, cost


@pytest.mark.parametrize("opts", POSES.values(), ids=POSES)
def test_poses_in_every_option(opts, small_model, make_scene, accelerator):
    model = small_model(NODE + "SAMPLE_STEP", 2, *opts).double()
    batch = [make_scene(0), make_scene(1)]
    with torch.no_grad():
        expected = model.eval()(batch)
    with on_device(model, accelerator), accelerator.measured() as training:
        losses_of(model.train(), batch)
        with torch.no_grad(), accelerator.measured() as inference:
            found = model.eval()(batch)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert len(training.waits) <= 5, training
    assert len(inference.waits) <= 3, inference


@pytest.mark.parametrize("opts", [(), STATE], ids=["boxes", "poses in the state"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype, opts, small_model, make_scene, accelerator):
    model, batch = small_model(NODE + "SAMPLE_STEP", 2, *opts), [make_scene(0), make_scene(1)]
    expected = losses_of(model.train(), batch)
    with on_device(model, accelerator), torch.autocast(accelerator.device.type, dtype):
        found = losses_of(model.train(), batch)
        with torch.no_grad(), accelerator.measured() as cost:
            results = model.eval()(batch)
    assert all(r["instances"].scores.dtype == torch.float32 for r in results)
    assert len(cost.waits) <= 3, cost
    for name in ("loss_ce", "loss_bbox", "loss_giou"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=100 * torch.finfo(dtype).eps), name


def test_test_time_augmentation(small_cfg, small_model, make_input, accelerator):
    opts = ("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (96, 128), "TEST.AUG.SCALE_FILTER", False)
    model = small_model(*opts).eval()
    with on_device(model, accelerator):
        found = model.with_tta(small_cfg(*opts))([make_input(0)])
    assert len(found[0]["instances"]) > 0


def losses_of(model, batch):
    """Losses of a step, and gradients in the parameters; the same random numbers each time."""
    torch.manual_seed(0)
    random.seed(0)
    losses = model(batch)
    sum(losses.values()).backward()
    return losses
