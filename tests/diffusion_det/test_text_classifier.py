"""Words as classes: cosines with text embeddings, folded into a linear layer, for any words."""

import math

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2road.engine.meta_arch import NamesClasses
from d2road.export.graph import ExportOptions
from d2road.utils.errors import CheckpointError, ConfigError
from diffusion_det.config_checks import check
from diffusion_det.text_classifier import TextClassifier
from tests.factories.text_encoders import save_text_tower

NODE = "MODEL.DiffusionDet."
NAMES = ("red car", "blue car", "white truck", "big_vehicle", "pedestrian")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a small random text encoder."""
    return save_text_tower(tmp_path_factory.mktemp("text") / "bert", "bert")


@pytest.fixture
def text_opts(encoder):
    return (NODE + "CLASSIFIER", "text", NODE + "TEXT.ENCODER", encoder, "MODEL.CLASS_NAMES", NAMES)


@pytest.fixture
def text_model(small_cfg, text_opts):
    """Whose scores are of all sizes, as those of a trained one."""

    def make(*opts, seed=0):
        torch.manual_seed(seed)
        model = build_model(small_cfg(*text_opts, "MODEL.DEVICE", "cpu", *opts)).eval()
        for classifier in model.text_classifiers():
            nn.init.constant_(classifier.bias, -1.0)
        return model

    return make


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    return TextClassifier(8, nn.functional.normalize(torch.randn(5, 6), dim=1), prior_prob=0.02)


# --- the layer --------------------------------------------------------------------------------------------------------


def test_logits_are_scaled_cosines_and_a_bias(classifier):
    """By the formula, number by number, in 64-bit."""
    features = torch.randn(4, 8)
    found = classifier(features).detach().numpy()
    weight, offset = (p.detach().double().numpy() for p in classifier.project.parameters())
    for i, feature in enumerate(features.double().numpy()):
        for k, embedding in enumerate(classifier.embeddings.double().numpy()):
            text = weight @ embedding + offset
            cosine = feature @ text / np.linalg.norm(feature) / np.linalg.norm(text)
            assert found[i, k] == pytest.approx(cosine / 0.07 - math.log(0.98 / 0.02), abs=1e-4)


def test_the_folded_layer_is_linear_behind_a_unit_norm(classifier):
    features = torch.randn(50, 8)
    expected = classifier(features)
    classifier.fold()
    plain = nn.Linear(8, 5)
    plain.load_state_dict({"weight": classifier.folded_weight, "bias": classifier.folded_bias})
    assert torch.allclose(plain(nn.functional.normalize(features, dim=1)), expected, atol=1e-5)
    assert torch.allclose(classifier(features), expected, atol=1e-5)


def test_a_folded_layer_unfolds_to_train_and_to_load(classifier):
    for use in (lambda: classifier.train(), lambda: classifier.load_state_dict(classifier.state_dict())):
        classifier.eval().fold()
        use()
        assert classifier.folded_weight is None
    classifier(torch.randn(4, 8)).sum().backward()
    for parameter in classifier.parameters():
        assert parameter.grad.abs().sum() > 0


def test_the_temperature_is_bounded(classifier):
    with torch.no_grad():
        classifier.logit_scale.fill_(50.0)
    assert classifier(torch.randn(9, 8)).abs().max() <= 100 + math.log(0.98 / 0.02) + 1e-3


def test_other_words_are_other_columns_in_their_order(classifier):
    features, before = torch.randn(4, 8), classifier.embeddings
    expected = classifier(features)
    for folded in (False, True):
        if folded:
            classifier.fold()
        classifier.set_embeddings(before[[4, 0]])
        assert torch.allclose(classifier(features), expected[:, [4, 0]], atol=1e-6)


# --- the detector -----------------------------------------------------------------------------------------------------


def test_all_stages_classify_by_text_and_learn(text_model, make_input):
    model = text_model().train()
    assert len(model.text_classifiers()) == 2 and isinstance(model, NamesClasses)
    losses = model([make_input(1), make_input(2)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for classifier in model.text_classifiers():
        for parameter in classifier.parameters():
            assert parameter.grad.abs().sum() > 0


def test_a_folded_detector_gives_the_same_scores(text_model, make_input):
    model = text_model(NODE + "SAMPLE_STEP", 2)
    before = model([make_input(1)])[0]["instances"]
    model.fold_for_inference()
    after = model([make_input(1)])[0]["instances"]
    assert len(before) == len(after) > 3 and torch.equal(before.pred_classes, after.pred_classes)
    assert torch.allclose(before.scores, after.scores, atol=1e-5)
    assert torch.allclose(before.pred_boxes.tensor, after.pred_boxes.tensor, atol=1e-3)


def test_classes_are_named_anew(text_model, make_input):
    """Asked for two of its own words, a model scores as it did, and numbers them as they were asked."""
    model = text_model()
    features, sizes = model.features(model.preprocess([make_input(1)])), torch.tensor([[128.0, 96, 128, 96]])
    boxes, t = torch.rand(1, 20, 2).repeat(1, 1, 2) * 40 + torch.tensor([0, 0, 30, 30]), torch.tensor([100])
    before = model.head(features, boxes, t)[0]
    model.set_classes(["pedestrian", "red car", "big blue truck"])
    after = model.head(features, boxes, t)[0]
    assert after.shape[-1] == 3 and len(sizes)
    assert torch.allclose(after[..., :2], before[..., [4, 0]], atol=1e-5)
    model.fold_for_inference()
    model.set_classes(["pedestrian"])
    assert torch.allclose(model.head(features, boxes, t)[0], before[..., [4]], atol=1e-5)


def test_weights_carry_no_words_and_fit_any_number_of_them(text_model, small_cfg, text_opts):
    state = text_model(seed=1).state_dict()
    assert not [name for name in state if "embeddings" in name or "folded" in name]
    other = build_model(small_cfg(*text_opts, "MODEL.CLASS_NAMES", ("car", "truck"), NODE + "NUM_CLASSES", 2))
    other.load_state_dict(state)


def test_weights_of_another_encoder_are_refused(text_model, tmp_path):
    other = text_model(NODE + "TEXT.ENCODER", save_text_tower(tmp_path / "other", "bert", seed=1))
    with pytest.raises(CheckpointError, match=r"trained with a text encoder of SHA-256 .*TEXT\.ENCODER"):
        other.load_state_dict(text_model().state_dict())


def test_an_encoder_that_changed_is_refused_for_new_words(text_model, tmp_path):
    folder = save_text_tower(tmp_path / "changing", "bert")
    model = text_model(NODE + "TEXT.ENCODER", folder)
    save_text_tower(tmp_path / "changing", "bert", seed=2)
    with pytest.raises(CheckpointError, match="SHA-256"):
        model.set_classes(["car"])


def test_class_words_replace_names(text_model, text_opts):
    named = text_model().vocabulary.vectors
    said = text_model(NODE + "TEXT.CLASS_WORDS", ("red car", "blue car", "white truck", "big vehicle", "pedestrian"))
    assert torch.equal(named, said.vocabulary.vectors)
    other = text_model(NODE + "TEXT.CLASS_WORDS", ("car", "truck", "cyclist", "red truck", "blue truck"))
    assert not torch.allclose(named, other.vocabulary.vectors)


@pytest.mark.parametrize("kind", ["clip", "roberta"])
def test_encoders_of_other_kinds(text_model, make_input, tmp_path, kind):
    model = text_model(NODE + "TEXT.ENCODER", save_text_tower(tmp_path / kind, kind))
    assert len(model([make_input(1)])[0]["instances"])


@torch.no_grad()
def test_bfloat16_scores_nearly_the_same(text_model, make_input):
    """The first stage, which sees the same boxes in both."""
    model = text_model()
    features = [maps.detach() for maps in model.features(model.preprocess([make_input(1)]))]
    boxes, t = torch.rand(1, 20, 2).repeat(1, 1, 2) * 40 + torch.tensor([0, 0, 30, 30]), torch.tensor([100])
    before = model.head(features, boxes, t)[0][0].sigmoid()
    model.fold_for_inference()
    model.set_precision("bf16")
    with model.inference_autocast(torch.device("cpu")):
        after = model.head(features, boxes, t)[0][0]
    assert after.dtype == torch.float32 and model.text_classifiers()[0].folded_weight.dtype == torch.float32
    assert (before - after.sigmoid()).abs().mean() < 0.01 < before.std()


def test_a_compiled_decoder_gives_the_same(text_model, make_input):
    plain, compiled = text_model(), text_model(NODE + "COMPILE", "eager")
    expected = plain([make_input(1)])[0]["instances"].scores
    assert torch.allclose(compiled([make_input(1)])[0]["instances"].scores, expected, atol=1e-5)
    for model in (plain, compiled):
        model.fold_for_inference()
        model.set_classes(["car", "truck"])
    expected = plain([make_input(1)])[0]["instances"].scores
    assert torch.allclose(compiled([make_input(1)])[0]["instances"].scores, expected, atol=1e-5)


def test_the_exported_graph_is_folded_and_names_the_words(text_model, small_cfg, text_opts):
    size = ("INPUT.MIN_SIZE_TEST", 72, "INPUT.MAX_SIZE_TEST", 128, "MODEL.DEVICE", "cpu")
    model, images = (
        text_model(*size),
        [np.random.default_rng(i).integers(0, 256, (90, 140, 3), np.uint8) for i in (1, 2)],
    )
    graph = model.export_graph(small_cfg(*text_opts, *size), images, ExportOptions(nms=False))
    assert graph.metadata["classes"] == list(NAMES)
    for check_ in graph.checks:
        _, scores = graph.module(*(torch.from_numpy(check_.inputs[name]) for name in graph.input_names))
        assert scores.shape[-1] == 5 and np.allclose(scores.detach().numpy(), check_.outputs["scores"], atol=1e-4)
    assert all(c.folded_weight is not None for c in graph.module.model.text_classifiers())


def test_unseen_classes_are_scored_and_not_learned(text_model, make_input):
    """Neither their columns nor the words behind them: with any other word for it the losses are the same."""
    opts = (NODE + "TEXT.UNSEEN", ("pedestrian",))
    image = make_input(1)
    image["instances"].gt_classes[:] = torch.tensor([0, 1, 2])

    def losses(*more):
        model = text_model(*more).train()
        torch.manual_seed(5)
        return model([image])

    words = ("red car", "blue car", "white truck", "big vehicle", "photo")
    first, second = losses(*opts), losses(*opts, NODE + "TEXT.CLASS_WORDS", words)
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = losses()
    assert told["loss_ce"] > first["loss_ce"] and told["loss_bbox"] == first["loss_bbox"]
    assert text_model(*opts)([make_input(1)])[0]["instances"].pred_classes.max() == 4


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_linear_detector_takes_no_words(small_model):
    with pytest.raises(ConfigError, match=r"CLASSIFIER is 'linear'.*trained with CLASSIFIER text"):
        small_model().set_classes(["car"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is none"),
        (["car", " "], "empty"),
        (["red car", "Red  car"], "'red car' comes twice"),
        ("car", "list"),
    ],
)
def test_words_that_name_nothing(text_model, words, said):
    with pytest.raises(ConfigError, match=said):
        text_model().set_classes(words)


@pytest.mark.parametrize(
    ("opts", "said"),
    [
        ((NODE + "CLASSIFIER", "texts"), "choose one of linear, text"),
        ((NODE + "USE_FOCAL", False), "set USE_FOCAL True"),
        ((NODE + "OFFICIAL_COMPAT", True), "OFFICIAL_COMPAT False"),
        ((NODE + "TEXT.ENCODER", ""), "name a text encoder"),
        ((NODE + "TEXT.TEMPLATES", ("a photo",)), "with one {} each"),
        ((NODE + "TEXT.CLASS_WORDS", ("car", "truck")), "2 words for NUM_CLASSES = 5"),
        ((NODE + "TEXT.CLASS_WORDS", ("car", "truck", "Car", "a", "b")), "'car' comes twice"),
        ((NODE + "TEXT.UNSEEN", ("lorry",)), "names lorry, which is no class"),
        ((NODE + "TEXT.UNSEEN", NAMES), "names all classes"),
    ],
)
def test_contradictions_are_told(small_cfg, text_opts, opts, said):
    problems = check(small_cfg(*text_opts, *opts))
    assert len(problems) == 1 and said in problems[0], problems


def test_words_of_a_linear_classifier_are_told(small_cfg):
    (problem,) = check(small_cfg(NODE + "TEXT.CLASS_WORDS", ("car",)))
    assert "no effect on a linear classifier" in problem


def test_names_must_be_known(small_cfg, encoder):
    with pytest.raises(ConfigError, match="neither data nor weights tell class names"):
        build_model(small_cfg(NODE + "CLASSIFIER", "text", NODE + "TEXT.ENCODER", encoder))


def test_a_missing_encoder_says_how_to_get_one(small_cfg, text_opts):
    with pytest.raises(FileNotFoundError, match="there is no folder '/none/such'"):
        build_model(small_cfg(*text_opts, NODE + "TEXT.ENCODER", "/none/such"))
