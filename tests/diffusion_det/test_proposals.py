"""Where the decoder's first boxes come from."""

import pytest
import torch
from detectron2.modeling import build_model

from d2road.engine.solver import build_optimizer
from diffusion_det.proposals import LEARNED_LEVEL, LearnedProposals
from tests.factories.pose_models import PRIORS

NODE = "MODEL.DiffusionDet."
QUERIES = (NODE + "PROPOSALS", "queries")


def test_learned_boxes_begin_as_the_whole_image_and_are_pixels_of_each():
    proposals = LearnedProposals(7, 16)
    whwh = torch.tensor([[128.0, 96, 128, 96], [40, 50, 40, 50]])
    boxes = proposals.boxes_xyxy(whwh)
    assert boxes.shape == (2, 7, 4) and torch.equal(boxes[0, 3], torch.tensor([0.0, 0, 128, 96]))
    assert torch.equal(boxes[1, 0], torch.tensor([0.0, 0, 40, 50]))
    with torch.no_grad():
        proposals.boxes[0] = torch.tensor([0.25, 0.5, 0.1, -3.0])
    boxes = proposals.boxes_xyxy(whwh)
    torch.testing.assert_close(boxes[0, 0, ::2], torch.tensor([0.2, 0.3]) * 128)
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert proposals.queries(2).shape == (2, 7, 16) and torch.equal(proposals.queries(2)[1], proposals.features)


def test_learned_features_replace_the_pooled_mean_in_the_first_stage_alone(small_model, make_input):
    model = small_model(*QUERIES).eval()
    seen = [[], []]
    for stage, inputs in zip(model.head.head_series, seen, strict=True):
        stage.register_forward_pre_hook(lambda module, args, inputs=inputs: inputs.append(args))
    model([make_input(0), make_input(1)])
    first, second = (inputs[0] for inputs in seen)
    assert torch.equal(first[2], model.proposals.features.expand(2, -1, -1))
    assert torch.equal(first[1], model.proposals.boxes_xyxy(torch.tensor([[128.0, 96, 128, 96]] * 2)))
    assert not torch.equal(second[2], first[2])
    level = model.head.time_mlp(torch.full((2,), LEARNED_LEVEL))
    torch.testing.assert_close(first[3], level)


def test_learned_proposals_are_saved_and_the_rest_is_that_of_a_diffusion_model(small_model):
    learned, drawn = small_model(*QUERIES).state_dict(), small_model().state_dict()
    assert set(learned) - set(drawn) == {"proposals.boxes", "proposals.features"} and set(drawn) < set(learned)
    assert all(torch.equal(value, learned[name]) for name, value in drawn.items())


@pytest.mark.parametrize("pose", [False, True])
def test_boxes_and_features_learn(pose, small_cfg, make_scene):
    opts = (*QUERIES, NODE + "POSE.ENABLED", pose)
    if pose:
        opts += (NODE + "POSE.DIMENSION_PRIORS", PRIORS)
    cfg = small_cfg(*opts, "SOLVER.BASE_LR", 1e-3)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    batch = [make_scene(0), make_scene(1)]
    history = []
    for _ in range(12):
        losses = sum(model(batch).values())
        optimizer.zero_grad()
        losses.backward()
        for parameter in (model.proposals.boxes, model.proposals.features):
            assert torch.isfinite(parameter.grad).all() and (parameter.grad != 0).any()
        optimizer.step()
        history.append(losses.item())
    assert history[-1] < 0.8 * history[0]
    assert (model.proposals.boxes != torch.tensor([0.5, 0.5, 1, 1])).any(1).all()
