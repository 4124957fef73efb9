"""Objects of an exported detector, selected in numpy: torchvision's suppression is the oracle."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from d2road.runtime.detection import DetectionTask, best_candidates, objects_of, suppress
from d2road.runtime.runtime import task_of
from d2road.utils.errors import DataError

METADATA = {
    "classes": ["car", "bus", "van"], "image_size": None, "noise": [4, 30, 4], "nms": "outside", "nms_thresh": 0.5,
    "several_classes_a_box": True,
}  # fmt: skip


def random_boxes(count, seed=0):
    """(count, 4) float32, many of which overlap, some of which leave an image of 100 pixels."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(15, 50, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("thresh", [0.3, 0.5, 0.7])
def test_suppression_is_that_of_torchvision(thresh):
    boxes = random_boxes(300)
    rng = np.random.default_rng(1)
    scores, classes = rng.uniform(size=300).astype(np.float32), rng.integers(0, 3, 300)
    kept = suppress(boxes, scores, classes, thresh)
    # Moved to where coordinates are positive: torchvision tells classes apart by shifting boxes.
    moved = torch.from_numpy(boxes + 10)
    expected = batched_nms(moved, torch.from_numpy(scores), torch.from_numpy(classes), thresh)
    assert 10 < len(kept) < 298
    assert np.array_equal(kept, expected.numpy())


def test_no_boxes():
    empty = suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), 0.5)
    assert empty.shape == (0,)


def test_best_candidates_are_the_best_of_all_classes_step_by_step():
    boxes = np.stack([random_boxes(5, 0), random_boxes(5, 1)])
    scores = np.random.default_rng(2).uniform(size=(2, 5, 3)).astype(np.float32)
    found_boxes, found_scores, found_classes = best_candidates(boxes, scores, several_classes=True)
    for step in range(2):
        values, index = torch.from_numpy(scores[step]).flatten().topk(5)
        part = slice(5 * step, 5 * step + 5)
        assert np.array_equal(found_scores[part], values.numpy())
        assert np.array_equal(found_classes[part], (index % 3).numpy())
        assert np.array_equal(found_boxes[part], boxes[step][(index // 3).numpy()])


def test_one_class_a_box_where_classes_exclude_each_other():
    scores = np.array([[[0.1, 0.7, 0.2], [0.3, 0.3, 0.1]]], np.float32)
    _, found, classes = best_candidates(random_boxes(2)[None], scores, several_classes=False)
    assert found.tolist() == pytest.approx([0.7, 0.3]) and classes.tolist() == [1, 0]


def test_objects_are_clipped_and_empty_ones_dropped():
    boxes = np.array([[[-5, 10, 20, 30], [150, 10, 170, 30], [90, 70, 130, 90]]], np.float32)
    scores = np.array([[[0.2, 0, 0], [0, 0.9, 0], [0, 0, 0.5]]], np.float32)
    found = objects_of({"boxes": boxes, "scores": scores}, METADATA, height=80, width=100)
    assert found["boxes"].tolist() == [[90, 70, 100, 80], [0, 10, 20, 30]]
    assert found["classes"].tolist() == [2, 0]


def test_noise_follows_the_seed_alone():
    task, image = DetectionTask(METADATA), np.zeros((20, 30, 3), np.uint8)
    first, again, other = (task.inputs([image], seed=seed)["noise"] for seed in (0, 0, 1))
    assert first.shape == (4, 30, 4) and first.dtype == np.float32
    assert np.array_equal(first, again) and not np.allclose(first, other)
    assert abs(first.mean()) < 0.2 and abs(first.std() - 1) < 0.2


def test_a_file_in_which_nothing_is_random_has_no_noise():
    task, image = DetectionTask({**METADATA, "noise": [0, 30, 4]}), np.zeros((20, 30, 3), np.uint8)
    assert list(task.inputs([image], seed=1)) == ["images"]
    assert list(task.inputs([image], noise=np.zeros((0, 30, 4), np.float32))) == ["images"]
    with pytest.raises(DataError, match=r"noise is \(1, 30, 4\) float32, expected \(0, 30, 4\)"):
        task.inputs([image], noise=np.zeros((1, 30, 4), np.float32))


def test_what_a_file_does_not_take_is_refused():
    task, image = DetectionTask({**METADATA, "image_size": [20, 31]}), np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(DataError, match="20 x 30 pixels: this file takes 20 x 31 alone"):
        task.inputs([image])
    with pytest.raises(DataError, match="2 images at once"):
        DetectionTask(METADATA).inputs([image, image])
    with pytest.raises(DataError, match="not camera"):
        DetectionTask(METADATA).inputs([image], camera=None)


def test_objects_below_a_score_are_left_out():
    task = DetectionTask(METADATA)
    rng = np.random.default_rng(3)
    outputs = {"boxes": random_boxes(30)[None], "scores": rng.uniform(size=(1, 30, 3)).astype(np.float32)}
    images = [np.zeros((100, 100, 3), np.uint8)]
    (everything,) = task.results(outputs, images)
    (found,) = task.results(outputs, images, score_threshold=0.9)
    count = int((everything["scores"] >= 0.9).sum())
    assert 0 < count < len(everything["scores"])
    for name in ("boxes", "scores", "classes", "names"):
        assert np.array_equal(found[name], everything[name][:count])
    plain, chosen = task.inputs(images, seed=1), task.inputs(images, seed=1, score_threshold=0.9)
    assert np.array_equal(plain["noise"], chosen["noise"]), "the network sees the same"
    for wrong in (-0.1, 50, float("nan")):
        with pytest.raises(DataError, match=r"score_threshold is .*expected 0 to 1"):
            task.inputs(images, score_threshold=wrong)


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("detection", {"noise": None}, "hold what cannot be"),
        ("detection", {"classes": 3}, "hold what cannot be"),
        ("detection", {"image_size": ["a", 2]}, "hold what cannot be"),
        ("detection", "nms_thresh", "lack 'nms_thresh'"),
        ("detection", "noise", "lack 'noise'"),
        ("anomaly", "threshold", "lack 'threshold'"),
        ("anomaly", {"image_size": 256}, "hold what cannot be"),
        ("anomaly", {"threshold": "high"}, "hold what cannot be"),
        ("grounding", "pad_id", "lack 'pad_id'"),
        ("grounding", {"tokenizer": "{}"}, r"hold what cannot be \(a tokenizer that cannot be read"),
    ],
)
def test_damaged_metadata_are_said_when_the_file_is_opened(task, change, words):
    if task == "grounding":
        tokenizers = pytest.importorskip("tokenizers")
        vocabulary = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a")).to_str()
    else:
        vocabulary = ""
    whole = {
        **METADATA, "threshold": 0.5, "takes_any_size": True, "tokenizer": vocabulary, "pad_id": 0,
        "score_threshold": 0.5,
    }  # fmt: skip
    whole["image_size"] = [60, 80] if task == "anomaly" else None
    task_of(task, whole, "a.onnx")
    if isinstance(change, str):
        del whole[change]
    with pytest.raises(DataError, match=rf"a\.onnx: its metadata are damaged: they {words}.*export the model anew"):
        task_of(task, whole if isinstance(change, str) else {**whole, **change}, "a.onnx")
