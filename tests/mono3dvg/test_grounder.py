"""The grounder as a whole: losses, answers, batches of any kind, training, resuming, checkpoints, bad input."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from d2road.data import build_mapper, register_by_name
from d2road.engine import Predictor, Trainer, evaluate
from d2road.structures import Camera
from d2road.utils.errors import DataError
from tests.factories.grounders import NODE, data_name, image_input, tiny_cfg

TEXTS = ("the white car", "all pedestrians left of the bus", "the second car from the left")


@pytest.fixture
def build(repo_dir, grounding_data, tmp_path):
    def make(*pairs):
        seed_all_rng(5)
        cfg = tiny_cfg(repo_dir, grounding_data, tmp_path / "out", *pairs)
        return build_model(cfg).eval()

    return make


@pytest.fixture
def batch(repo_dir, grounding_data, tmp_path):
    cfg = tiny_cfg(repo_dir, grounding_data, tmp_path, "INPUT.RANDOM_FLIP", "none")
    mapper = build_mapper(cfg, True)
    np.random.seed(0)
    return [mapper(record) for record in DatasetCatalog.get(data_name(grounding_data, "train"))[:2]]


VARIANTS = {
    "text_conditioned": (),
    "no_filter": (NODE + "FILTER.ENABLED", False),
    "no_relation": (NODE + "RELATION.ENABLED", False),
    "query": (NODE + "HEAD", "query"),
    "no_stage": (NODE + "FUSION.STAGES", 0),
    "cross_attention": (NODE + "FUSION.NAME", "cross_attention"),
    "mamba_fusion": (NODE + "FUSION.NAME", "mamba_fusion"),
    "unidirectional": (NODE + "FUSION.NAME", "unidirectional"),
    "scanned": (NODE + "FUSION.DIRECTIONS", 2),
    "labels": (NODE + "TRAINING_STAGE", "labels"),
    "boxes": (NODE + "TRAINING_STAGE", "boxes"),
    "attributes": (NODE + "DETECTION.ATTRIBUTES", True),
    "attributes_labels": (NODE + "DETECTION.ATTRIBUTES", True, NODE + "TRAINING_STAGE", "labels"),
    "no_numbers": (NODE + "RELATION.NUMBERS", False),
    "presence": (NODE + "RELATION.PRESENCE", True),
    "text": (NODE + "TRAINING_STAGE", "text"),
    "text_labels": (NODE + "TRAINING_STAGE", "text_labels"),
    "presence_labels": (NODE + "RELATION.PRESENCE", True, NODE + "TRAINING_STAGE", "labels"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns_and_losses_fall(build, batch, variant):
    model = build(*VARIANTS[variant]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(5):
        losses = model(batch)
        totals.append(float(sum(losses.values()).detach()))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if len(totals) == 2:  # some layers start at zero and pass nothing on at first
            idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert not idle
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert np.isfinite(totals).all() and totals[-1] < 0.95 * totals[0]


@pytest.mark.parametrize(
    "variant", ["text_conditioned", "query", "labels", "attributes", "attributes_labels", "presence"]
)
def test_batches_of_any_kind_train(build, batch, variant):
    model = build(*VARIANTS[variant]).train()
    silent = {**batch[0], "expressions": []}
    empty = copy.copy(batch[1])
    empty["instances"] = batch[1]["instances"][:0]
    empty["expressions"] = [{"id": 0, "text": "the car", "targets": []}]
    for inputs in ([silent], [empty], [silent, {**empty, "expressions": []}], [batch[0], silent, empty]):
        losses = model(inputs)
        model.zero_grad()
        sum(losses.values()).backward()
        assert all(torch.isfinite(v) for v in losses.values())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    assert model([silent])["loss_relation" if "labels" in variant else "loss_refer"].item() == 0


def test_boxes_are_learned_without_sentences(build, batch):
    """The losses are those of a training of all; only what looks at images learns."""
    whole, stage = build().train(), build(*VARIANTS["boxes"]).train()
    losses, every = stage([{**x, "expressions": []} for x in batch]), whole(batch)
    assert {n.partition(".")[0] for n, p in stage.named_parameters() if p.requires_grad} == {"backbone", "dense_head"}
    assert {n.partition(".")[0] for n in stage.state_dict()} == {"backbone", "dense_head", "state"}
    assert {"loss_heat", "loss_depth", "loss_heading"} <= set(losses) and not {"loss_refer", "loss_parts"} & set(losses)
    for name, value in losses.items():
        torch.testing.assert_close(value, every[name])


def test_attributes_are_part_of_boxes_and_used_by_labels(build, batch):
    """Detection pretraining learns them from labels; language pretraining takes them from labels, which have a say."""
    boxes = build(*VARIANTS["attributes"], *VARIANTS["boxes"]).train()
    assert boxes(batch)["loss_attributes"] > 0
    labels = build(*VARIANTS["attributes_labels"], NODE + "RELATION.JITTER", 0.0).train()
    other = copy.deepcopy(batch)
    for x in other:
        x["instances"].gt_attributes = 2 - x["instances"].gt_attributes
    assert labels(batch)["loss_parts"] != labels(other)["loss_parts"]
    silent = build(*VARIANTS["labels"], NODE + "RELATION.JITTER", 0.0).train()
    assert silent(batch)["loss_parts"] == silent(other)["loss_parts"]


def test_labels_teach_words_and_comparisons(build, batch):
    """What looks at images stays; of the pixels only those in boxes have a say."""
    model = build(*VARIANTS["labels"], NODE + "RELATION.JITTER", 0.0).train()
    losses = model(batch)
    assert set(losses) == {"loss_relation", "loss_parts"}
    learns = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {"text_encoder", "relation"}
    boxes = [x["instances"].gt_boxes.tensor.int() for x in batch]
    for inside in (False, True):
        other = copy.deepcopy(batch)
        for x, around in zip(other, boxes):
            keep = torch.zeros(x["image"].shape[1:], dtype=torch.bool)
            for x1, y1, x2, y2 in around.tolist():
                keep[y1 : y2 + 2, x1 : x2 + 2] = True
            x["image"][:, keep if inside else ~keep] = 7
        assert (model(other)["loss_parts"] == losses["loss_parts"]).item() != inside


@pytest.mark.parametrize(("alone", "variant"), [("text", "text_conditioned"), ("text_labels", "labels")])
def test_a_text_encoder_learns_alone_from_the_same_losses(build, batch, alone, variant):
    keys = (NODE + "RELATION.JITTER", 0.0)
    stage, whole = (build(*VARIANTS[name], *keys).train() for name in (alone, variant))
    assert {n.partition(".")[0] for n, p in stage.named_parameters() if p.requires_grad} == {"text_encoder"}
    losses, every = stage(batch), whole(batch)
    assert set(losses) == set(every)
    for name, value in losses.items():
        torch.testing.assert_close(value, every[name])


@pytest.mark.parametrize("variant", ["text_conditioned", "query", "no_relation", "attributes"])
def test_answers(build, variant):
    model = build(*VARIANTS[variant], NODE + "DETECTION.MIN_HEAT", 0.0, "TEST.GROUNDING.MIN_SCORE", 0.0)
    inputs = [image_input(TEXTS, height=180, width=320), image_input((), size=(64, 96)), image_input(TEXTS[:1])]
    with torch.no_grad():
        outputs = model(inputs)
    assert [len(o["groundings"]) for o in outputs] == [3, 0, 1]
    for text, g in zip(TEXTS, outputs[0]["groundings"]):
        count = len(g["scores"])
        assert g["boxes"].shape == (count, 7) and g["boxes_xyxy"].shape == (count, 4) and g["classes"].shape == (count,)
        assert count > 0 and (g["scores"].diff() <= 0).all() and (g["boxes"][:, 3:6] > 0).all()
        assert g["boxes_xyxy"].min() >= 0 and g["boxes_xyxy"][:, 2].max() <= 320 + 1e-3
        assert [text[a:b] for a, b in g["spans"]] == g["words"]
        assert len(g["relevance"]) == len(g["words"]) and all(0 <= r <= 1 for r in g["relevance"])
    assert [g["expression_id"] for g in outputs[0]["groundings"]] == [0, 1, 2]


def test_neither_neighbours_nor_chunks_change_an_answer(build):
    """Other images, other sentences, padding of the sentences, and how many at a time."""
    model = build(NODE + "DETECTION.MIN_HEAT", 0.0)
    inputs = [image_input(TEXTS), image_input((*TEXTS, "car " * 60))]
    inputs[1]["image"] = inputs[1]["image"].flip(2)
    with torch.no_grad():
        together = model(inputs)[0]["groundings"]
        model.inference = replace(model.inference, sentences_per_chunk=1)
        one_by_one = model(inputs)[0]["groundings"]
        alone = model([image_input(TEXTS[1:2])])[0]["groundings"]
    for a, b in zip(together, one_by_one):
        assert torch.allclose(a["scores"], b["scores"], atol=1e-5) and torch.allclose(a["boxes"], b["boxes"])
    assert torch.allclose(together[1]["scores"], alone[0]["scores"], atol=1e-5)


def test_neighbours_of_other_sizes_change_no_answer(build):
    """Padding to a larger neighbour's size would."""
    model = build(NODE + "DETECTION.MIN_HEAT", 0.0)
    inputs = [image_input(TEXTS, size=size) for size in ((90, 160), (64, 224), (128, 96))]
    with torch.no_grad():
        together = model(inputs)
        alone = [model([each])[0] for each in inputs]
    for a, b in zip(together, alone, strict=True):
        for mine, given in zip(a["groundings"], b["groundings"], strict=True):
            assert torch.allclose(mine["scores"], given["scores"], atol=1e-5)
            assert torch.allclose(mine["boxes"], given["boxes"], atol=1e-4)


def test_the_image_is_encoded_once(build, monkeypatch):
    model = build()
    calls = []
    forward = model.backbone.forward
    monkeypatch.setattr(model.backbone, "forward", lambda x: (calls.append(len(x)), forward(x))[1])
    model.inference = replace(model.inference, sentences_per_chunk=2)
    with torch.no_grad():
        model([image_input(TEXTS), image_input(TEXTS)])
    assert calls == [2]


def test_ablated_models_do_not_know_what_is_withheld(build):
    image_only = build(NODE + "ABLATE_INPUT", "sentence", NODE + "DETECTION.MIN_HEAT", 0.0)
    text_only = build(NODE + "ABLATE_INPUT", "image", NODE + "DETECTION.MIN_HEAT", 0.0)
    other = image_input(TEXTS[:1])
    other["image"] = 255 - other["image"]
    with torch.no_grad():
        first, second, _ = image_only([image_input(TEXTS)])[0]["groundings"]
        seen = [text_only([x])[0]["groundings"][0]["boxes"] for x in (image_input(TEXTS[:1]), other)]
    assert torch.equal(first["scores"], second["scores"]) and torch.equal(first["boxes"], second["boxes"])
    assert torch.equal(*seen)


def test_labelled_objects_are_judged(build, batch):
    model = build()
    found = model.refer_objects(batch)
    for x, rows in zip(batch, found):
        assert len(rows) == len(x["expressions"])
        for row in rows:
            judged = x["instances"].gt_has_3d & ~x["instances"].gt_ignore
            assert torch.equal(row.isfinite(), judged) and ((row[judged] > 0) & (row[judged] < 1)).all()
    with pytest.raises(ValueError, match="queries cannot judge"):
        build(NODE + "HEAD", "query").refer_objects(batch)


def test_without_a_ground_plane(build, batch):
    model = build(NODE + "DETECTION.MIN_HEAT", 0.0, "TEST.GROUNDING.MIN_SCORE", 0.0)
    camera = image_input()["camera"]
    with torch.no_grad():
        given, without = (model([image_input(TEXTS[:1], Camera(camera.P, g))])[0] for g in (camera.ground, None))
        model.inputs = replace(model.inputs, use_given_ground=False)
        unused = model([image_input(TEXTS[:1], camera)])[0]
    boxes = [o["groundings"][0]["boxes"] for o in (given, without, unused)]
    assert len(boxes[0]) >= 3 and torch.allclose(boxes[1], boxes[2])
    assert not torch.allclose(boxes[0][:3], boxes[1][:3], rtol=1e-3)
    plain = [{**x, "camera": Camera(x["camera"].P)} for x in batch]
    assert all(torch.isfinite(v) for v in model.train()(plain).values())


def test_training_on_data_without_any_sentence_is_refused_before_the_first_step(repo_dir, grounding_data, tmp_path):
    cfg = tiny_cfg(repo_dir, grounding_data, tmp_path, "DATALOADER.NUM_WORKERS", 0)
    path = Path(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).json_file)
    content = json.loads(path.read_text())
    content["expressions"] = []
    (tmp_path / "silent.json").write_text(json.dumps(content))
    name = f"grounding:{tmp_path}/silent.json:{MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).image_root}"
    register_by_name(name)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), ()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    with pytest.raises(DataError, match=r"silent\.json:.* has a sentence \(expressions\) to train on"):
        trainer.train()
    assert trainer.iter == 0 and not list(tmp_path.glob("*.pth"))


def test_training_resuming_and_predicting(repo_dir, grounding_data, tmp_path):
    def trainer(folder, *pairs, resume=False):
        cfg = tiny_cfg(repo_dir, grounding_data, folder, NODE + "DETECTION.MIN_HEAT", 0.0, *pairs)
        cfg.TEST.GROUNDING.THRESHOLD_DATA = cfg.DATASETS.TEST[0]
        cfg.freeze()
        seed_all_rng(cfg.SEED)
        made = Trainer(cfg)
        made.resume_or_load(resume=resume)
        return made

    whole = trainer(tmp_path / "whole")
    results = whole.train()
    assert set(results) == set(whole.cfg.DATASETS.TEST)
    assert all("mean_f1@0.25" in r["grounding"] for r in results.values())
    stopped = trainer(tmp_path / "parts", "SOLVER.MAX_ITER", 4)
    (tmp_path / "parts").mkdir(exist_ok=True)
    stopped.max_iter = 2
    stopped.train()
    resumed = trainer(tmp_path / "parts", resume=True)
    assert resumed.start_iter == 2
    resumed.train()
    for name, value in whole.bare_model.state_dict().items():
        assert torch.equal(value, resumed.bare_model.state_dict()[name]), name

    # A checkpoint is all that predicting needs: classes, tokenizer, threshold; the data may be gone.
    cfg = whole.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    weights = tmp_path / "whole/model_final.pth"
    predict = Predictor(cfg, weights)
    threshold = results[whole.cfg.DATASETS.TEST[0]]["grounding"]["score_threshold"]
    assert predict.model.score_threshold == pytest.approx(threshold)
    image = np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)
    camera = Camera(np.array([[240.0, 0, 160], [0, 240.0, 90], [0, 0, 1]]), [0.0, -0.97, -0.24, 6.0])
    found = predict(image, camera, expressions=[{"id": "a", "text": TEXTS[0]}])["groundings"]
    assert found[0]["expression_id"] == "a" and np.isfinite(found[0]["boxes"]).all()
    with pytest.raises(ValueError, match=r"^the image comes without a camera"):
        predict(image, expressions=[{"id": 0, "text": "car"}])

    # Weights of something else.
    wrong = cfg.clone()
    wrong.MODEL.MONO3DVG.CLASSES = (*cfg.MODEL.MONO3DVG.CLASSES[1:], "tractor")
    with pytest.raises(ValueError, match=r"other data: its classes are .* the config says .*tractor"):
        Predictor(wrong, weights)
    wrong = cfg.clone()
    wrong.MODEL.MONO3DVG.TEXT.VOCAB_SIZE = 500
    with pytest.raises(ValueError, match="does not fit the model"):
        Predictor(wrong, weights)
    again = whole.cfg.clone()
    again.defrost()
    again.MODEL.WEIGHTS = str(weights)
    assert evaluate(again).keys() == results.keys()


def test_bad_input(build, batch):
    model = build()
    for text, message in (
        ("", "'street.jpg', expression 0 is empty"),
        ("   ", "is empty"),
        ("car " * 10_000, "10000 words"),
        (None, "expected text"),
    ):
        with pytest.raises(ValueError, match=message):
            model([image_input((text,))])
    without = image_input(TEXTS)
    del without["camera"]
    with pytest.raises(ValueError, match=r"'street\.jpg' comes without a camera"):
        model([without])
    model.train()
    for targets in ([99], [-1], None):
        wrong = {**batch[0], "expressions": [{"id": 7, "text": "the car", "targets": targets}]}
        with pytest.raises(ValueError, match="expression 7: targets are"):
            model([wrong])
    unlabelled = {key: value for key, value in batch[0].items() if key != "instances"}
    with pytest.raises(ValueError, match="without `instances`"):
        model([unlabelled])
    behind = copy.deepcopy(batch[0])
    behind["instances"].gt_boxes3d[:, 2] = -20.0
    assert all(torch.isfinite(v) for v in model([behind]).values())
