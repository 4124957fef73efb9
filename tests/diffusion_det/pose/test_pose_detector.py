"""The detector with its pose head: 2D untouched, images independent, fields in order."""

import copy

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from d2road.structures.camera_batch import Grounds
from diffusion_det.denoising import Detections, GeneratorNoise, image_generator
from tests.factories.pose_models import LOSSES, NODE, ON, POSE, STATE, camera_for, run, same


def two_d(images):
    return [{k: v for k, v in x.items() if k != "camera"} for x in images]


# ---- off, and beside 2D ----


def test_off_leaves_no_trace(small_model, small_cfg):
    off, on = small_model(), small_model(*ON)
    names = set(off.state_dict())
    assert not [n for n in names if "pose" in n or "ground" in n]
    assert {n for n in on.state_dict() if not n.startswith("pose.")} == names
    for name, value in off.state_dict().items():
        assert torch.equal(on.state_dict()[name], value), name  # the same start, too
    assert not small_cfg().MODEL.DiffusionDet.POSE.ENABLED


@pytest.mark.parametrize("options", [(), (POSE + "IN_STATE", True)])
def test_training_of_2d_is_untouched(small_model, make_scene, options):
    batch = [make_scene(0), make_scene(1, objects=0), make_scene(2, objects=12)]
    gradients, losses = [], []
    for extra in ((), (*ON, *options), (*ON, *options, POSE + "GRADIENT_TO_2D", True)):
        model = small_model(*extra).train()
        torch.manual_seed(5)
        found = model(batch)
        sum(found.values()).backward()
        losses.append(found)
        gradients.append({n: p.grad for n, p in model.named_parameters() if not n.startswith("pose.")})
    for name, value in losses[0].items():
        assert torch.equal(losses[1][name], value), name
    assert any(g is not None and g.abs().max() > 0 for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None, name
        else:
            assert torch.equal(gradients[1][name], gradient), name
    changed = [n for n, g in gradients[0].items() if g is not None and not torch.equal(gradients[2][n], g)]
    assert any(n.startswith("backbone") for n in changed) and any(n.startswith("head.head_series.0") for n in changed)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("compat", [False, True])
def test_2d_answers_are_untouched(small_model, make_scene, steps, compat):
    options = (NODE + "SAMPLE_STEP", steps, NODE + "OFFICIAL_COMPAT", compat)
    images = [make_scene(0), make_scene(1)]
    plain = run(small_model(*options), two_d(images))
    pose = run(small_model(*options, *ON), images)
    for a, b in zip(plain, pose):
        assert len(a) > 0
        order = b.scores_2d.argsort(descending=True, stable=True)
        a = a[a.scores.argsort(descending=True, stable=True)]
        assert torch.equal(b.scores_2d[order], a.scores)
        assert torch.equal(b.pred_boxes.tensor[order], a.pred_boxes.tensor)
        assert torch.equal(b.pred_classes[order], a.pred_classes)


# ---- training ----


def test_losses_and_gradients(small_model, make_scene):
    model = small_model(*STATE).train()
    losses = model([make_scene(0), make_scene(1, objects=0, size=(64, 160)), make_scene(2, objects=40)])
    names = {f"loss_pose_{n}{s}" for n in LOSSES for s in ("", "_0")} | {"loss_pose_ground"}
    assert {n for n in losses if "pose" in n} == names
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    for part in ("pose.head.towers.0", "pose.head.outputs.1", "pose.ground_head", "pose.state_embedding.output"):
        assert any(p.grad.abs().max() > 0 for n, p in model.named_parameters() if n.startswith(part)), part


def test_images_without_objects(small_model, make_scene):
    model = small_model(*STATE).train()
    losses = model([make_scene(0, objects=0), make_scene(1, objects=0)])
    assert all(losses[f"loss_pose_{n}"] == 0 for n in LOSSES)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.pose.parameters())


def test_labels_without_3d_have_no_say(small_model, make_scene):
    answers = []
    for filler in (0.0, 1.0, float("nan")):
        batch = [make_scene(0), make_scene(1)]
        for image in batch:
            image["instances"].gt_has_3d[1:] = False
            image["instances"].gt_boxes3d[1:] = filler
        model = small_model(*STATE).train()
        torch.manual_seed(1)
        losses = model(batch)
        sum(losses.values()).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.pose.parameters()])
        answers.append((losses, gradient))
    for losses, gradient in answers[1:]:
        assert all(torch.equal(losses[n], answers[0][0][n]) for n in losses)
        assert torch.equal(gradient, answers[0][1])
    for image in batch:
        image["instances"].gt_has_3d[:] = False
    assert all(model(batch)[f"loss_pose_{n}"] == 0 for n in LOSSES)


def test_last_stage_alone_without_deep_supervision(small_model, make_scene):
    model = small_model(*ON, NODE + "DEEP_SUPERVISION", False).train()
    losses = model([make_scene(0)])
    assert {n for n in losses if n.startswith("loss_pose")} == {f"loss_pose_{n}" for n in (*LOSSES, "ground")}
    sum(losses.values()).backward()
    used = [all(p.grad is None for p in tower.parameters()) for tower in model.pose.head.towers]
    assert used == [True, False]


def test_jitter_has_the_deviation_that_it_states(small_model):
    pose = small_model(*ON, POSE + "GROUND_JITTER", "(0.5, 1.0)", POSE + "GROUND_DROPOUT", 0.25).pose
    true = Grounds.from_list([camera_for(0)] * 8000, "cpu")
    torch.manual_seed(0)
    given = pose.perturb(true)
    assert given.known.float().mean().item() == pytest.approx(0.75, abs=0.02)
    levels = given.var.sqrt().unique()
    torch.testing.assert_close(levels.sort().values, torch.tensor([0.5, 1.0]).deg2rad(), atol=1e-6, rtol=0)
    z = (given.mean - true.mean) / given.var.sqrt()
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.04, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(3), atol=0.04, rtol=0)
    assert true.known.all()  # the truth stays as it is


def test_given_planes_are_trusted_as_stated(small_model):
    """GROUND_STD is roll, pitch, height; the ground's numbers are s0 (pitch), s1 (roll), log H."""
    pose = small_model(*ON, POSE + "GROUND_STD", "(0.1, 0.4, 0.01)").pose
    assert pose.decoding.ground_std == pytest.approx((np.radians(0.4), np.radians(0.1), 0.01))


# ---- testing ----


@pytest.mark.parametrize("options", [(), (NODE + "SAMPLE_STEP", 3), (POSE + "IN_STATE", True, NODE + "SAMPLE_STEP", 2)])
def test_result_is_independent_of_the_batch(small_model, make_scene, options):
    model = small_model(*ON, *options).eval().double()
    images = [make_scene(i) for i in range(3)]
    alone = [run(model, [image])[0] for image in images]
    for a, b, c in zip(alone, run(model, images), run(model, images[::-1], seed=9)[::-1]):
        same(a, b, 1e-5)
        same(b, c, 1e-6)


def test_fields(small_model, make_scene):
    (found,) = run(small_model(*ON, NODE + "SAMPLE_STEP", 2), [make_scene(0)])
    assert set(found.get_fields()) == {
        "pred_boxes", "pred_classes", "scores", "scores_2d", "pred_boxes3d", "pred_depth_std_m",
    }  # fmt: skip
    assert len(found) > 5 and len(found.pred_boxes3d) == len(found)
    assert (found.scores[:-1] >= found.scores[1:]).all()
    quality = found.scores / found.scores_2d
    assert ((quality > 0) & (quality < 1)).all()
    assert (found.pred_depth_std_m > 0).all() and (found.pred_boxes3d.location[:, 2] > 0).all()
    gram = found.pred_boxes3d.rotation @ found.pred_boxes3d.rotation.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(3).expand_as(gram), atol=1e-5, rtol=0)
    some = found[found.scores > found.scores.median()]
    assert len(some.pred_boxes3d) == len(some) < len(found)
    torch.testing.assert_close(
        Instances.cat([some, found]).pred_boxes3d.location[: len(some)], some.pred_boxes3d.location
    )


def test_every_3d_box_stays_with_its_2d_box(small_model, make_scene):
    """Through sorting, scaling to the output and the removal of empty boxes."""
    model = small_model(*ON, NODE + "USE_NMS", False).eval()
    image = make_scene(0) | {"height": 50, "width": 70}
    (found,) = run(model, [image])
    whwh = torch.tensor([[128.0, 96, 128, 96]])
    with torch.no_grad():
        images = model.preprocess([image])
        features = model.features(images)
        scene = model.pose.scene([image["camera"]], features[-1], images.image_sizes)
        noise = GeneratorNoise([image_generator(image, 0)])
        (raw,) = model.select(model.denoise(features, whwh, noise, scene))
        boxes3d, scores, std = model.pose.boxes3d(raw, scene)
    scale = torch.tensor([70 / 128, 50 / 96] * 2)
    boxes = (raw.boxes_xyxy * scale).clamp(min=0).minimum(torch.tensor([70.0, 50, 70, 50]))
    for i in range(len(found)):
        near = (boxes - found.pred_boxes.tensor[i]).abs().amax(1) < 1e-3
        near &= (scores - found.scores[i]).abs() < 1e-7
        assert near.any()
        errors = (boxes3d.location[near] - found.pred_boxes3d.location[i]).abs().amax(1)
        assert errors.min() < 1e-4
        assert (std[near] - found.pred_depth_std_m[i]).abs().min() < 1e-4
    assert 0 < len(found) < len(boxes)  # some lay outside


def test_score_exponents(small_model, make_scene):
    image = [make_scene(0)]
    (by_2d,) = run(small_model(*ON, POSE + "SCORE_EXPONENTS", "(1.0, 0.0)"), image)
    (both,) = run(small_model(*ON, POSE + "SCORE_EXPONENTS", "(0.5, 1.0)"), image)
    assert torch.equal(by_2d.scores, by_2d.scores_2d)
    assert not torch.equal(both.scores, both.scores_2d)


def test_missing_camera_says_what_to_do(small_model, make_scene):
    image = make_scene(0) | {"file_name": "street.jpg"}
    del image["camera"]
    model = small_model(*ON)
    for mode in (True, False):
        with pytest.raises(ValueError, match=r"street\.jpg.*without a camera.*give `camera`.*POSE\.ENABLED False"):
            model.train(mode)([image])


def test_no_detections(small_model, make_scene):
    model = small_model(*ON).eval()
    image = make_scene(0)
    with torch.no_grad():
        images = model.preprocess([image])
        scene = model.pose.scene([image["camera"]], model.features(images)[-1], images.image_sizes)
        none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), (torch.zeros(0, 32),))
        boxes3d, scores, std = model.pose.boxes3d(none, scene)
    assert len(boxes3d) == len(scores) == len(std) == 0


def test_inputs_are_left_alone(small_model, make_scene):
    images = [make_scene(0)]
    before = copy.deepcopy(images)
    run(small_model(*ON), images)
    np.testing.assert_array_equal(images[0]["camera"].P, before[0]["camera"].P)
    assert torch.equal(images[0]["image"], before[0]["image"])


def test_neighbours_of_other_sizes_change_no_pose(small_model, make_scene):
    model = small_model(*STATE)
    images = [make_scene(0), make_scene(1, size=(64, 224)), make_scene(2, size=(160, 96))]
    for image, found in zip(images, run(model, images), strict=True):
        same(found, run(model, [image])[0], atol=1e-4)
