"""Gaussian priors of boxes: coordinates, marginals of the path's end, solvers, and where the moments come from."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from d2road.config import default_argument_parser, setup_cfg, validate
from d2road.data import register_by_name
from d2road.data.box_moments import box_moments
from diffusion_det.box_prior import LEAST_SIDE, FittedPrior, NormalPrior
from diffusion_det.build import build_prior
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.mapper import is_trained_on
from diffusion_det.noising import diffuse_boxes
from diffusion_det.sampler import build_sampler
from diffusion_det.schedule import CosineSchedule, FlowPath, boxes_to_state, state_to_boxes
from tests.factories.box_data import SOURCE

NODE = "MODEL.DiffusionDet."
MOMENTS = (0.45, 0.55, 0.3, 0.2, 0.12, 0.1, 0.06, 0.04)
FITTED = (NODE + "PRIOR", "fitted", NODE + "PRIOR_MOMENTS", MOMENTS)
PRIOR = FittedPrior(MOMENTS[:4], MOMENTS[4:])
MEAN, DEVIATION = torch.tensor(MOMENTS).double().view(2, 4)
WHWH = torch.tensor([[100.0, 60.0, 100.0, 60.0]])


class UnitCoordinates:
    """Boxes in units of the image as they are."""

    def encode(self, unit):
        return unit

    decode = clamp = encode


class GivenNoise:
    """The numbers of a generator, moved to N(mean, deviation^2)."""

    def __init__(self, seed, mean=0.0, deviation=1.0):
        self.source = GeneratorNoise([torch.Generator().manual_seed(seed)])
        self.mean, self.deviation = mean, deviation

    def normal(self, count, size):
        return (self.mean + self.deviation * self.source.normal(count, size)).float()


def unit_boxes_of(boxes):
    """(N, 4) cx, cy, w, h in units of the image of pixel boxes (1, N, 4)."""
    low, high = (boxes[0] / WHWH).split(2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.0, 3.0])
def test_the_normal_prior_is_the_published_map_to_the_last_digit(scale):
    unit, state = torch.rand(50, 4), torch.randn(50, 4) * 3
    prior = NormalPrior(scale)
    assert torch.equal(prior.encode(unit), (unit * 2 - 1) * scale)
    assert torch.equal(prior.decode(state), (state.clamp(-scale, scale) / scale + 1) / 2)
    same = FittedPrior([0.5] * 4, [1 / (2 * scale)] * 4)
    torch.testing.assert_close(prior.encode(unit), same.encode(unit))
    torch.testing.assert_close(
        prior.decode(state), same.decode(state).where(same.decode(state) > 0.05, prior.decode(state))
    )


@pytest.mark.parametrize("prior", [PRIOR, NormalPrior(2.0)], ids=["fitted", "normal"])
def test_round_trip(prior):
    boxes = torch.tensor([[[10.0, 12, 40, 30], [30, 10, 80, 50], [50, 20, 58, 27]]]).double()
    state = boxes_to_state(boxes, WHWH, prior)
    torch.testing.assert_close(state_to_boxes(state, WHWH, prior), boxes)
    torch.testing.assert_close(prior.clamp(state), state)
    wild = 20 * torch.randn(200, 4).double()
    torch.testing.assert_close(prior.decode(prior.clamp(wild)), prior.decode(wild))
    assert prior.decode(wild).min() >= 0 and prior.decode(wild).max() <= 1


def test_fitted_sides_end_above_nothing():
    """At a tenth of the mean side, so that a decoder that scales boxes can move and grow them."""
    low, high = PRIOR.decode(torch.full((4,), -99.0)), PRIOR.decode(torch.full((4,), 99.0))
    torch.testing.assert_close(low, torch.tensor([0, 0, LEAST_SIDE * 0.3, LEAST_SIDE * 0.2]))
    assert torch.equal(high, torch.ones(4))


@pytest.mark.parametrize("path", [FlowPath(), CosineSchedule()], ids=["flow", "diffusion"])
def test_the_path_ends_in_the_fitted_gaussian(path):
    torch.manual_seed(0)
    path.draw_level = lambda device: torch.full((1,), 999)
    gt = [torch.tensor([[10.0, 20, 60, 50]])]
    boxes, _, _ = diffuse_boxes(gt, WHWH, path, 20_000, PRIOR)
    unit = unit_boxes_of(boxes)
    torch.testing.assert_close(unit.mean(0), MEAN, atol=3e-3, rtol=0)
    torch.testing.assert_close(unit.std(0), DEVIATION, atol=0, rtol=0.02)


@pytest.mark.parametrize("path", [FlowPath(), FlowPath(shift=3.0), CosineSchedule()])
def test_renewed_boxes_have_the_marginal_of_padding(path):
    """In units of the image mean m + alpha (0.5 - m) and variance (alpha / 6)^2 + (sigma deviation)^2."""
    seen, count = [], 6000

    def predict(boxes, t):
        seen.append((t, unit_boxes_of(boxes)))
        return torch.full((1, count, 3), -9.0), boxes

    denoise(predict, build_sampler("ddim", path, 1.0), WHWH, GivenNoise(0), steps=6, count=count, prior=PRIOR)
    for t, unit in seen[1:4]:
        alpha, sigma = path.coefficients(t)
        center = (MEAN + alpha * (0.5 - MEAN))[:2]
        std = ((alpha / 6) ** 2 + (sigma * DEVIATION) ** 2).sqrt()[:2]
        torch.testing.assert_close(unit.mean(0).double()[:2], center, atol=6e-3, rtol=0)
        torch.testing.assert_close(unit.std(0).double()[:2], std, atol=0, rtol=0.03)


@pytest.mark.parametrize("path", [FlowPath(), FlowPath(same_snr=True)], ids=["even", "same ratios"])
@pytest.mark.parametrize("name", ["ddim", "dpmsolver++", "euler", "heun"])
def test_solvers_follow_the_straight_path_of_boxes(name, path):
    """The same solver in units of the image, from N(mean, deviation^2): no coordinates, the same boxes at each step."""
    target = torch.tensor([0.5, 0.52, 0.28, 0.22])

    def run(prior, noise):
        seen = []

        def predict(boxes, t):
            unit = unit_boxes_of(boxes)
            seen.append(unit)
            wanted = 0.3 * unit + 0.7 * target + 0.02 * torch.sin(40 * unit)  # bends, so that orders differ
            low, high = (wanted[:, :2] - wanted[:, 2:] / 2), (wanted[:, :2] + wanted[:, 2:] / 2)
            return torch.zeros(1, 30, 2), (torch.cat([low, high], dim=-1) * WHWH)[None]

        sampler = build_sampler(name, path, 0.0)
        denoise(predict, sampler, WHWH, noise, steps=5, count=30, prior=prior, renewal_thresh=None)
        return torch.stack(seen)

    affine = run(PRIOR, GivenNoise(3))
    plain = run(UnitCoordinates(), GivenNoise(3, MEAN, DEVIATION))
    inside = ((affine > 0.021) & (affine < 0.999)).all(-1).all(0)  # boxes that no step has clamped
    assert inside.sum() > 20
    torch.testing.assert_close(affine[:, inside], plain[:, inside], atol=2e-5, rtol=0)


@pytest.fixture
def fitted_cfg(repo_dir, small_opts, tmp_path):
    """The config of a command line that fits the prior to a small COCO file."""

    def make(config="configs/diffusion_det/Base-Small.yaml", *opts):
        pairs = ["DATASETS.TRAIN", f"('{SOURCE}',)", "DATASETS.TEST", "()", NODE + "NUM_CLASSES", "0", *map(str, opts)]
        line = ["--config-file", str(repo_dir / config), *small_opts, NODE + "PRIOR", "fitted", *pairs]
        return setup_cfg(default_argument_parser().parse_args([*line, "OUTPUT_DIR", str(tmp_path / "out")]))

    return make


def test_moments_come_from_the_training_boxes_and_stay_in_the_config(fitted_cfg, tmp_path):
    cfg = fitted_cfg()
    register_by_name(SOURCE)
    moments = box_moments([SOURCE], "", lambda a: is_trained_on(cfg, a))
    assert tuple(cfg.MODEL.DiffusionDet.PRIOR_MOMENTS) == moments
    stored = tmp_path / "config.yaml"
    stored.write_text(cfg.dump())
    elsewhere = setup_cfg(
        default_argument_parser().parse_args(
            ["--config-file", str(stored), "DATASETS.TRAIN", "()", "OUTPUT_DIR", str(tmp_path / "other")]
        )
    )
    assert build_prior(elsewhere) == FittedPrior(moments[:4], moments[4:])
    given = fitted_cfg("configs/diffusion_det/Base-Small.yaml", NODE + "PRIOR_MOMENTS", MOMENTS)
    assert build_prior(given) == PRIOR


def test_priors_of_a_config(small_cfg):
    assert build_prior(small_cfg(NODE + "SNR_SCALE", 1.0)) == NormalPrior(1.0)
    assert build_prior(small_cfg(*FITTED)) == PRIOR
    with pytest.raises(ValueError, match="PRIOR_MOMENTS is empty"):
        build_model(small_cfg(NODE + "PRIOR", "fitted"))


def test_objects_that_are_not_trained_on_have_no_say(small_cfg):
    cfg = small_cfg("INPUT.MAX_OCCLUDED", 1, "INPUT.MAX_TRUNCATED", 0.5)
    annotations = [{}, {"iscrowd": 1}, {"occluded": 1}, {"occluded": 2}, {"truncated": 0.5}, {"truncated": 0.6}]
    assert [is_trained_on(cfg, a) for a in annotations] == [True, False, True, False, True, False]


ALONG = {
    "level density": ("LEVEL_DENSITY", (0.0, 1.0)),
    "shift": ("FLOW.SHIFT", 3.0),
    "same ratios": ("FLOW.SAME_SNR", True),
    "optimal coupling": ("COUPLING", "optimal"),
}


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++", "euler", "heun", "restart"])
@pytest.mark.parametrize("along", ALONG)
def test_every_choice_of_the_path_goes_with_every_solver(along, sampler, small_model, make_input):
    key, value = ALONG[along]
    model = small_model(
        *FITTED, NODE + "BOX_LOSS", "velocity", NODE + "TRANSPORT", "flow", NODE + key, value,
        NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", 4,
    )  # fmt: skip
    batch = [make_input(0), make_input(1, objects=0)]
    torch.manual_seed(0)
    losses = model.train()(batch)
    sum(losses.values()).backward()
    assert {"loss_ce", "loss_velocity"} <= set(losses) and all(torch.isfinite(v) and v > 0 for v in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        found = [x["instances"] for x in model.eval()(batch)]
        alone = model([batch[1]])[0]["instances"]
    assert all(len(one) and torch.isfinite(one.pred_boxes.tensor).all() for one in found)
    torch.testing.assert_close(found[1].scores, alone.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("opts", [(), (NODE + "LEVEL_DENSITY", (0.0, 1.0), NODE + "COUPLING", "optimal")])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++", "restart"])
def test_diffusion_goes_with_prior_and_loss_too(opts, sampler, small_model, make_input):
    model = small_model(
        *FITTED, NODE + "BOX_LOSS", "velocity", NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", 4, *opts
    )
    losses = model.train()([make_input(0)])
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    with torch.no_grad():
        (found,) = model.eval()([make_input(0)])
    assert len(found["instances"]) and np.isfinite(found["instances"].pred_boxes.tensor.numpy()).all()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((NODE + "PRIOR", "uniform"), "PRIOR is 'uniform': choose normal or fitted"),
        ((*FITTED, NODE + "OFFICIAL_COMPAT", True), "published code knows normal alone"),
        ((*FITTED, NODE + "SNR_SCALE", 1.0), "SNR_SCALE is 1.0: has no effect beside PRIOR fitted"),
        ((NODE + "PRIOR_MOMENTS", MOMENTS), "PRIOR_MOMENTS .*has no effect beside PRIOR normal"),
        ((*FITTED[:3], MOMENTS[:4]), "PRIOR_MOMENTS .*eight numbers"),
        ((*FITTED[:3], (*MOMENTS[:7], 0.0)), "PRIOR_MOMENTS .*positive deviations"),
        ((*FITTED[:3], (1.5, *MOMENTS[1:])), "PRIOR_MOMENTS .*from 0 to 1"),
    ],
)
def test_contradictions_are_told(opts, message, small_cfg):
    cfg = small_cfg(*opts, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()")
    with pytest.raises(ValueError, match=message):
        validate(cfg)
