"""The meta-architecture: contract, the fixes over the published code, independence of images."""

import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from d2road.config import make_cfg, validate
from diffusion_det import add_diffusion_det_config
from diffusion_det.box_prior import NormalPrior
from diffusion_det.denoising import GeneratorNoise, denoise
from diffusion_det.published_buffers import PUBLISHED_BUFFERS
from diffusion_det.sampler import SAMPLER_REGISTRY, build_sampler
from diffusion_det.schedule import CosineSchedule

NODE = "MODEL.DiffusionDet."


def same(a, b, atol=1e-5):
    """Equal sets of detections; coordinates relative to the image of about 200 pixels."""
    a, b = a["instances"], b["instances"]
    assert len(a) == len(b)
    torch.testing.assert_close(a.scores, b.scores, atol=atol, rtol=0)
    torch.testing.assert_close(a.pred_boxes.tensor / 200, b.pred_boxes.tensor / 200, atol=atol, rtol=0)
    assert torch.equal(a.pred_classes, b.pred_classes)


def test_losses_and_gradients(small_model, make_input):
    model = small_model().train()
    batch = [make_input(0), make_input(1, height=64, width=160, objects=0), make_input(2, objects=60)]
    losses = model(batch)
    assert set(losses) == {f"loss_{n}{s}" for n in ("ce", "bbox", "giou") for s in ("", "_0")}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_batch_without_any_object(small_model, make_input):
    model = small_model().train()
    losses = model([make_input(0, objects=0), make_input(1, objects=0)])
    sum(losses.values()).backward()
    assert losses["loss_bbox"] == 0
    assert all(p.grad is not None for p in model.head.parameters())


@pytest.mark.parametrize("sampler", SAMPLER_REGISTRY.names())
@pytest.mark.parametrize("steps", [1, 3])
def test_result_is_independent_of_the_batch(small_model, make_input, sampler, steps):
    transport = "flow" if SAMPLER_REGISTRY.get(sampler).only_straight else "diffusion"
    model = small_model(NODE + "TRANSPORT", transport, NODE + "SAMPLER", sampler, NODE + "SAMPLE_STEP", steps).eval()
    if steps > 1:  # untrained, it blows up the rounding of single precision from step to step
        model = model.double()
    images = [make_input(i) for i in range(3)]
    with torch.no_grad():
        alone = [model([image])[0] for image in images]
        together = model(images)
        reverse = model(images[::-1])[::-1]
        torch.manual_seed(123)
        again = model(images)
    for a, b, c, d in zip(alone, together, reverse, again):
        assert len(a["instances"]) > 0
        same(a, b)
        same(a, c)
        same(b, d, atol=0)


def test_renewal_looks_at_each_image():
    """The first image keeps all its boxes, the second loses all: the published code asks the first image only."""
    seen = []

    def predict(boxes, t):
        seen.append(boxes)
        logits = torch.full((2, 6, 3), -5.0)
        logits[0] = 5.0
        return logits, boxes

    whwh = torch.full((2, 4), 100.0)
    sampler = build_sampler("ddim", CosineSchedule(), eta=0.0)
    noise = GeneratorNoise([torch.Generator().manual_seed(i) for i in range(2)])
    denoise(predict, sampler, whwh, noise, steps=2, count=6, prior=NormalPrior(2.0))
    first, second = seen
    # without noise DDIM leaves a box that the network confirms on its way: those of image 0 stay where they were
    assert torch.allclose(first[0], second[0], atol=40)
    assert ((second[1] - first[1]).abs().amax(1) > 10).all()
    moved = (second - first).abs().mean((1, 2))
    assert moved[0] < moved[1] / 2


def test_every_step_counts(small_model, make_input):
    """The published code drops the last of several steps; here all take part, and 2 steps differ from 1."""
    image = [make_input(3)]
    with torch.no_grad():
        results = {}
        for compat in (False, True):
            model = small_model(
                NODE + "SAMPLE_STEP", 4, NODE + "OFFICIAL_COMPAT", compat, NODE + "USE_NMS", False
            ).eval()
            noise = GeneratorNoise([torch.Generator().manual_seed(0)])
            steps = model.denoise(model.features(model.preprocess(image)), torch.full((1, 4), 100.0), noise)
            results[compat] = model.select(steps)[0]
    assert len(results[False].scores) == 4 * 20
    assert len(results[True].scores) == 3 * 20


def test_last_step_alone(small_model, make_input):
    model = small_model(NODE + "SAMPLE_STEP", 4, NODE + "ENSEMBLE", False, NODE + "USE_NMS", False).eval()
    with torch.no_grad():
        assert len(model([make_input(0)])[0]["instances"]) <= 20


@pytest.mark.parametrize("classes", [1, 3, 4])
def test_few_classes_leave_the_box_regressor_alone(small_cfg, classes):
    """The published initialisation writes the class prior into the box regressor's bias when K is 3 or 4."""
    fixed = build_model(small_cfg(NODE + "NUM_CLASSES", classes))
    published = build_model(small_cfg(NODE + "NUM_CLASSES", classes, NODE + "OFFICIAL_COMPAT", True))
    for stage, old in zip(fixed.head.head_series, published.head.head_series):
        assert (stage.bboxes_delta.bias == 0).all()
        torch.testing.assert_close(stage.class_logits.bias, torch.full((classes,), -4.59512))
        assert (old.bboxes_delta.bias == stage.class_logits.bias[0]).all() == (classes in (3, 4))


def test_training_and_testing_have_their_own_numbers_of_boxes(small_model, make_input):
    model = small_model(NODE + "TEST_NUM_PROPOSALS", 7, NODE + "USE_NMS", False)
    assert (model.num_proposals, model.test_num_proposals) == (20, 7)
    with torch.no_grad():
        found = model.eval()([make_input(0)])[0]["instances"]
        assert 0 < len(found) <= 7
        model.test_num_proposals, model.sample_step = 300, 5  # any number on one trained model
        assert len(model([make_input(0)])[0]["instances"]) > 7


def test_output_is_clipped_to_the_asked_size(small_model, make_input):
    image = make_input(0) | {"height": 50, "width": 70}
    with torch.no_grad():
        found = small_model().eval()([image])[0]["instances"]
    assert found.image_size == (50, 70)
    boxes = found.pred_boxes.tensor
    assert (boxes >= 0).all() and (boxes[:, 0::2] <= 70).all() and (boxes[:, 1::2] <= 50).all()


def test_published_checkpoint_has_no_stray_keys(small_model):
    model = small_model()
    state = model.state_dict()
    assert not [k for k in state if "pixel" in k or "alphas" in k]
    published = {**state, **{name: torch.zeros(1000, dtype=torch.float64) for name in PUBLISHED_BUFFERS}}
    result = model.load_state_dict(published, strict=True)
    assert not result.missing_keys and not result.unexpected_keys


def test_published_names(repo_dir):
    """Learnable names of the published ResNet-50 model, as its checkpoints have them."""
    cfg = make_cfg(str(repo_dir / "configs/diffusion_det/coco/resnet50.yaml"))
    model = build_model(cfg)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, shape in {
        "backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.fpn_lateral5.weight": (256, 2048, 1, 1),
        "backbone.fpn_output2.bias": (256,),
        "head.time_mlp.1.weight": (1024, 256),
        "head.time_mlp.3.bias": (1024,),
        "head.head_series.5.inst_interact.dynamic_layer.weight": (32768, 256),
        "head.head_series.0.inst_interact.out_layer.weight": (256, 12544),
        "head.head_series.0.inst_interact.norm1.weight": (64,),
        "head.head_series.3.self_attn.in_proj_weight": (768, 256),
        "head.head_series.3.block_time_mlp.1.weight": (512, 1024),
        "head.head_series.3.cls_module.0.weight": (256, 256),
        "head.head_series.3.reg_module.6.weight": (256, 256),
        "head.head_series.3.class_logits.bias": (80,),
        "head.head_series.3.bboxes_delta.bias": (4,),
    }.items():
        assert shapes[name] == shape, name
    assert not [n for n in shapes if n.startswith("head.") and "cls_module.0.bias" in n]
    tops = {n.split(".")[0] for n in model.state_dict()}
    assert tops == {"backbone", "head"}


def test_compat_takes_several_steps_image_by_image(small_model, make_input):
    model = small_model(NODE + "OFFICIAL_COMPAT", True, NODE + "SAMPLE_STEP", 3).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        found = model([make_input(0), make_input(1)])
    assert all(len(f["instances"]) > 0 for f in found)


def test_stays_in_place_when_cast(small_model, make_input):
    model = small_model().eval()
    image = make_input(0)
    before = copy.deepcopy(image["image"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model([image])[0]["instances"]
    assert torch.equal(image["image"], before)
    assert torch.isfinite(found.pred_boxes.tensor).all()


def test_wrong_keys_are_all_reported(small_cfg):
    cfg = small_cfg(
        NODE + "SAMPLER", "euler", NODE + "TEST_NUM_PROPOSALS", 0, NODE + "SAMPLE_STEP", 0, NODE + "NHEADS", 5,
        NODE + "HIDDEN_DIM", 48, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()",
    )  # fmt: skip
    with pytest.raises(ValueError) as error:
        validate(cfg)
    for key in ("SAMPLER", "TEST_NUM_PROPOSALS", "SAMPLE_STEP", "NHEADS", "HIDDEN_DIM"):
        assert key in str(error.value)


def test_unknown_feature_names_the_known(small_cfg):
    with pytest.raises(ValueError, match=r"p9.*returns"):
        build_model(small_cfg("MODEL.ROI_HEADS.IN_FEATURES", "('p3','p9')"))


def test_adding_keys_twice_changes_nothing():
    cfg = get_cfg()
    add_diffusion_det_config(cfg)
    cfg.MODEL.DiffusionDet.NUM_CLASSES = 7
    before = cfg.dump()
    add_diffusion_det_config(cfg)
    assert cfg.dump() == before


@pytest.mark.gpu
def test_cuda_agrees_with_cpu(small_model, make_input):
    model, images = small_model().eval(), [make_input(0), make_input(1)]
    with torch.no_grad():
        cpu = model(images)
        gpu = model.cuda()(images)
    for a, b in zip(cpu, gpu):
        same(a, {"instances": b["instances"].to("cpu")}, atol=1e-3)


def test_neighbours_of_other_sizes_change_nothing(small_model, make_input):
    """Padding to a larger neighbour's size would."""
    model = small_model().eval()
    sizes = [(96, 128), (64, 224), (90, 120), (160, 96)]
    images = [make_input(seed, *size) for seed, size in enumerate(sizes)]
    with torch.no_grad():
        alone = [model([image])[0] for image in images]
        together, reverse = model(images), model(images[::-1])[::-1]
    for a, b, c in zip(alone, together, reverse):
        assert len(a["instances"]) > 0
        same(a, b)
        same(a, c)


@pytest.mark.parametrize("compat", [False, True])
def test_pixels_seed_the_noise_where_they_identify_an_image(small_model, make_input, compat):
    """Not names, ids or order, and not the global random state, which the published code draws from."""
    model = small_model(NODE + "OFFICIAL_COMPAT", compat).eval()
    image = make_input(0)
    here = {**image, "content_id": "a", "image_id": 3, "file_name": "x.jpg"}
    there = {**image, "content_id": "a", "image_id": 4, "file_name": "./y.png"}
    other = {**make_input(1), "content_id": "b"}
    state = torch.get_rng_state()
    with torch.no_grad():
        (a,), (b, _), (_, c), (d,) = model([here]), model([there, other]), model([other, there]), model([image])
    same(a, b)
    same(a, c)
    if not compat:
        assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a["instances"].scores, d["instances"].scores[: len(a["instances"])])
