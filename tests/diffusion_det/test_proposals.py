"""Where the decoder's first boxes come from."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from d2road.config import default_argument_parser, setup_cfg, validate
from d2road.engine import Predictor, Trainer
from d2road.engine.meta_arch import SamplingSetting, sampling_choices
from d2road.engine.solver import build_optimizer
from d2road.utils.errors import CheckpointError, ConfigError
from diffusion_det.box_prior import NormalPrior
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.fixed_boxes import grid_boxes, sobol_normal
from diffusion_det.proposals import LEARNED_LEVEL, LearnedProposals
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import CosineSchedule
from tests.factories.box_data import SOURCE
from tests.factories.pose_models import PRIORS

NODE = "MODEL.DiffusionDet."
QUERIES = (NODE + "PROPOSALS", "queries")
FIXED = {"grid": grid_boxes, "sobol": sobol_normal}


def test_learned_boxes_begin_as_the_whole_image_and_are_pixels_of_each():
    proposals = LearnedProposals(7, 16)
    whwh = torch.tensor([[128.0, 96, 128, 96], [40, 50, 40, 50]])
    boxes = proposals.undenoised(whwh)
    assert boxes.shape == (2, 7, 4) and torch.equal(boxes[0, 3], torch.tensor([0.0, 0, 128, 96]))
    assert torch.equal(boxes[1, 0], torch.tensor([0.0, 0, 40, 50]))
    with torch.no_grad():
        proposals.boxes[0] = torch.tensor([0.25, 0.5, 0.1, -3.0])
    boxes = proposals.undenoised(whwh)
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
    assert torch.equal(first[1], model.proposals.undenoised(torch.tensor([[128.0, 96, 128, 96]] * 2)))
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
    with torch.no_grad():
        (found,) = (x["instances"] for x in model.eval()(batch[:1]))
    assert len(found) and found.has("pred_boxes3d") == pose


def first_boxes(model, images):
    """What the decoder's first stage is given in each of the batches that a detection is made of."""
    seen = []
    hook = model.head.head_series[0].register_forward_pre_hook(lambda module, args: seen.append(args[1].clone()))
    with torch.no_grad():
        found = [x["instances"] for x in model.eval()(images)]
    hook.remove()
    return seen, found


@pytest.mark.parametrize("kind", FIXED)
@pytest.mark.parametrize("count", [7, 100])
def test_fixed_boxes_begin_every_image(kind, count, small_model, make_input):
    model = small_model(NODE + "PROPOSALS", kind, NODE + "TEST_NUM_PROPOSALS", count)
    batch = [make_input(0), make_input(1, height=64, width=96), make_input(0, image_id=8)]
    seen, found = first_boxes(model, batch)
    state = sobol_normal(count).clamp(-2, 2)
    unit = grid_boxes(count) if kind == "grid" else (state / 2 + 1) / 2
    corners = torch.cat([unit[:, :2] - unit[:, 2:] / 2, unit[:, :2] + unit[:, 2:] / 2], dim=1)
    sizes = {len(boxes): boxes for boxes in seen}  # two images of one size, and one
    for number, whwh in ((2, (128, 96, 128, 96)), (1, (96, 64, 96, 64))):
        expected = (corners * torch.tensor(whwh)).float().expand(number, -1, -1)
        torch.testing.assert_close(sizes[number], expected, atol=1e-3, rtol=0)
    assert torch.equal(found[0].scores, found[2].scores), "the image id seeds nothing"
    _, (alone,) = first_boxes(model, batch[1:2])
    torch.testing.assert_close(found[1].scores, alone.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", FIXED)
def test_later_steps_draw_as_with_noise_and_training_knows_no_difference(kind, small_model, make_input):
    fixed = small_model(NODE + "PROPOSALS", kind, NODE + "SAMPLE_STEP", 3)
    plain = small_model(NODE + "SAMPLE_STEP", 3)
    batch = [make_input(0), make_input(1)]
    losses = []
    for model in (fixed, plain):
        torch.manual_seed(5)
        losses.append(model.train()(batch))
    assert all(torch.equal(value, losses[1][name]) for name, value in losses[0].items())
    assert set(fixed.state_dict()) == set(plain.state_dict())
    steps, found = first_boxes(fixed, batch)
    assert len(steps) == 3 and all(len(one) and torch.isfinite(one.pred_boxes.tensor).all() for one in found)
    assert torch.equal(steps[0][0], steps[0][1]) and not torch.equal(steps[1][0], steps[1][1])


def test_a_start_that_equals_the_noise_changes_no_number():
    whwh, prior = torch.tensor([[100.0, 80, 100, 80]]), NormalPrior(2.0)
    first = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))

    def predict(boxes, t, *side):
        logits = boxes[..., :1] / 50 - 1
        return logits, boxes * 0.9 + 5, *(value * 0.5 for value in side)

    for side in (0, 3):
        runs = []
        for start in (None, first):
            noise = GeneratorNoise([torch.Generator().manual_seed(0)])
            own = None if start is None else torch.randn(30, 4 + side, generator=torch.Generator().manual_seed(0))
            sampler = build_sampler("ddim", CosineSchedule(), 1.0)
            options = {"steps": 3, "count": 30, "prior": prior, "side_channels": side}
            runs.append(denoise(predict, sampler, whwh, noise, **options, start=None if own is None else own[:, :4]))
        assert all(torch.equal(a, b) for one, other in zip(*runs) for a, b in zip(one, other))


def test_grid_boxes_are_themselves_whatever_the_prior(small_model, make_input):
    moments = (0.5, 0.6, 0.1, 0.12, 0.2, 0.2, 0.05, 0.06)
    model = small_model(
        NODE + "PROPOSALS", "grid", NODE + "PRIOR", "fitted", NODE + "PRIOR_MOMENTS", moments,
        NODE + "TEST_NUM_PROPOSALS", 85,
    )  # fmt: skip
    (seen,), _ = first_boxes(model, [make_input(0)])
    torch.testing.assert_close(
        seen[0, :, 2:] - seen[0, :, :2], (grid_boxes(85)[:, 2:] * torch.tensor([128, 96])).float(), atol=1e-3, rtol=0
    )


def test_learned_boxes_are_not_sampled(small_cfg, small_model, make_input):
    assert sampling_choices(small_cfg(*QUERIES)) is None and sampling_choices(small_cfg()) is not None
    model = small_model(*QUERIES).eval()
    model.set_sampling(SamplingSetting("ddim", 1, 20, 3))
    for steps, count in ((2, 20), (1, 21)):
        with pytest.raises(ConfigError, match=f"{steps} steps of {count} boxes: .*20 learned boxes.*1 step of 20"):
            model.set_sampling(SamplingSetting("ddim", steps, count, 0))
    with torch.no_grad():
        one, other = (model([make_input(0, image_id=name)])[0]["instances"] for name in (0, 1))
    assert len(one) > 3 and torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)


def test_weights_without_learned_boxes_are_refused_in_predictions(small_cfg, small_model, tmp_path):
    torch.save({"model": small_model().state_dict()}, tmp_path / "diffusion.pth")
    torch.save({"model": small_model(*QUERIES).state_dict()}, tmp_path / "queries.pth")
    with pytest.raises(CheckpointError, match=r"(?s)2 weights are missing.*proposals\.boxes: not in the file"):
        Predictor(small_cfg(*QUERIES), tmp_path / "diffusion.pth")
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    size = ("INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128)
    found = Predictor(small_cfg(*QUERIES, *size), tmp_path / "queries.pth")(image)["instances"]
    lower = Predictor(small_cfg(*QUERIES, *size, "INFERENCE.PRECISION", "bf16"), tmp_path / "queries.pth")
    half = lower(image)["instances"]
    assert len(found) > 3 and half.scores.dtype == torch.float32
    assert (half.scores[:3] - found.scores[:3]).abs().max() < 0.05


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((NODE + "PROPOSALS", "query"), "PROPOSALS is 'query': choose one of grid, noise, queries, sobol"),
        ((*QUERIES, NODE + "SAMPLE_STEP", 4), "SAMPLE_STEP is 4: PROPOSALS queries are not denoised.*set it to 1"),
        (
            (*QUERIES, NODE + "TEST_NUM_PROPOSALS", 40),
            "TEST_NUM_PROPOSALS is 40: .*-1, or to NUM_PROPOSALS = 20",
        ),
        ((*QUERIES, NODE + "TRANSPORT", "flow"), "TRANSPORT is 'flow': PROPOSALS queries follow no path"),
        ((*QUERIES, NODE + "COUPLING", "optimal"), "COUPLING is 'optimal': .*set it to 'independent'"),
        ((*QUERIES, NODE + "LEVEL_DENSITY", (0.0, 1.0)), "LEVEL_DENSITY is .*are trained at no noise level"),
        ((*QUERIES, NODE + "OFFICIAL_COMPAT", True), "OFFICIAL_COMPAT is True: PROPOSALS queries are not in the publ"),
        ((*QUERIES, NODE + "BOX_LOSS", "velocity"), "BOX_LOSS is 'velocity': PROPOSALS queries are made from no obj"),
        ((*QUERIES, NODE + "DEEP_SUPERVISION", False), "DEEP_SUPERVISION is False: the boxes of PROPOSALS queries"),
        ((NODE + "PROPOSALS", "sobol", NODE + "OFFICIAL_COMPAT", True), "PROPOSALS is 'sobol': the published code"),
    ],
)
def test_contradictions_are_told(opts, message, small_cfg):
    with pytest.raises(ConfigError, match=message):
        validate(small_cfg(*opts, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"))


def test_a_training_keeps_learned_boxes_and_goes_on_with_them(repo_dir, small_opts, tmp_path):
    """Through the program's own config, trainer and evaluation."""
    opts = [
        *small_opts, *QUERIES, NODE + "NUM_CLASSES", 0, "DATASETS.TRAIN", f"('{SOURCE}',)",
        "DATASETS.TEST", f"('{SOURCE}',)", "SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_ITERS", 0, "SOLVER.BASE_LR", 0.01,
        "INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TRAIN", 160, "MODEL.DEVICE", "cpu",
        "INPUT.MAX_SIZE_TEST", 160, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", tmp_path,
    ]  # fmt: skip
    config, boxes = str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), []
    for steps, resume in ((2, False), (4, True)):
        pairs = map(str, [*opts, "SOLVER.MAX_ITER", steps])
        trainer = Trainer(setup_cfg(default_argument_parser().parse_args(["--config-file", config, *pairs])))
        trainer.resume_or_load(resume=resume)
        boxes.append(trainer.model.proposals.boxes.detach().clone())
        results = trainer.train()
        assert 0 <= results["bbox"]["AP50"] <= 100
        boxes.append(trainer.model.proposals.boxes.detach().clone())
    begin, after, again, end = boxes
    assert torch.equal(begin, torch.tensor([0.5, 0.5, 1, 1]).expand(20, 4)) and torch.equal(after, again)
    assert not torch.equal(begin, after) and not torch.equal(again, end)
