"""Label Studio's JSON: tasks of its own SDK, every rule of tasks and URLs, and pre-annotations."""

import json

import pytest

from d2road.data.bridges import convert_boxes
from d2road.data.bridges.label_studio import SEVERAL, names_of_url, read_label_studio
from d2road.utils.errors import ConfigError, DataError
from tests.factories.box_data import GOLDEN, IMAGES, SOURCE, boxes_of, source_boxes, worst_difference

EXPORT = GOLDEN / "label_studio" / "export.json"


def changed(tmp_path, change):
    """A copy of the export whose first task `change` changed."""
    tasks = json.loads(EXPORT.read_text())
    change(tasks[0])
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return tmp_path / "export.json"


def test_export_of_the_sdk():
    content = read_label_studio(EXPORT, IMAGES)
    found, expected = boxes_of(content), source_boxes()
    assert worst_difference([x for x in found if x[0] != "b"], [x for x in expected if x[0] != "b"]) < 1e-6
    # The turned rectangle: corners by the SDK's converter to rotated boxes of YOLO, fractions of 100x40 pixels.
    words = (GOLDEN / "label_studio" / "yolo_obb" / "labels" / "b.txt").read_text().split()
    xs, ys = [100 * float(x) for x in words[1::2]], [40 * float(y) for y in words[2::2]]
    enclosing = ("b", "traffic light", (min(xs), min(ys), max(xs), max(ys)))
    assert worst_difference([x for x in found if x[0] == "b"], [enclosing]) < 1e-9
    assert [image["file_name"] for image in content.images] == ["a.png", "sub/b.png", "empty.png", "turned.jpg"]
    assert content.notes == {
        "rotated boxes made their enclosing boxes": 1,
        "tasks left out: without annotations": 1,
    }


def test_upright_boxes_are_those_of_the_sdks_converter():
    theirs = json.loads((GOLDEN / "label_studio" / "coco" / "result.json").read_text())["annotations"]
    ours = read_label_studio(EXPORT, IMAGES).annotations
    upright = [0, 1, 2, 4]
    for index in upright:
        assert ours[index]["bbox"] == pytest.approx(theirs[index]["bbox"])


def test_several_annotations_of_a_task(tmp_path):
    def add(task, **more):
        result = [{**task["annotations"][0]["result"][1]}]
        newer = {"id": 99, "result": result, "was_cancelled": False, "updated_at": "2026-02-01T00:00:00Z", **more}
        task["annotations"].insert(0, newer)

    newest = read_label_studio(changed(tmp_path, add), IMAGES)
    assert newest.notes[SEVERAL] == 1 and sum(a["image_id"] == 1 for a in newest.annotations) == 1
    older = read_label_studio(changed(tmp_path, lambda task: add(task, updated_at="2025-01-01T00:00:00+01:00")), IMAGES)
    assert sum(a["image_id"] == 1 for a in older.annotations) == 3
    marked = changed(tmp_path, lambda task: add(task, updated_at="2025-01-01T00:00:00Z", ground_truth=True))
    assert sum(a["image_id"] == 1 for a in read_label_studio(marked, IMAGES).annotations) == 1
    cancelled = read_label_studio(changed(tmp_path, lambda task: add(task, was_cancelled=True)), IMAGES)
    assert SEVERAL not in cancelled.notes and sum(a["image_id"] == 1 for a in cancelled.annotations) == 3
    skipped = changed(tmp_path, lambda task: task["annotations"][0].update(was_cancelled=True))
    content = read_label_studio(skipped, IMAGES)
    assert len(content.images) == 3 and content.notes["tasks left out: skipped by their annotators"] == 1


def empty_task(name):
    return {"data": {"image": f"/data/local-files/?d={name}"}, "annotations": [{"id": 1, "result": []}]}


def region(task):
    return task["annotations"][0]["result"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda task: region(task).update(image_rotation=90), "turned by 90 degrees"),
        (lambda task: region(task)["value"].pop("x"), "lacks 'x'"),
        (lambda task: region(task)["value"].update(width="3"), "'width' is the text '3'"),
        (lambda task: region(task).update(original_width=65), "different sizes"),
        (lambda task: [r.update(original_width=65) for r in task["annotations"][0]["result"]], "labels say 65x48"),
        (lambda task: task.pop("annotations"), "not JSON-MIN"),
        (lambda task: task["data"].update(image="/data/local-files/?d=images/gone.png"), "is not below"),
        (lambda task: task.update(empty_task("images/sub/b.png")), "is in several tasks"),
        (lambda task: task.update(data={"text": "a"}), "0 images in its data"),
        (lambda task: task.update(data=None), "'data' is null"),
    ],
)
def test_what_is_wrong_with_a_task_is_told(change, said, tmp_path):
    with pytest.raises(DataError) as error:
        read_label_studio(changed(tmp_path, change), IMAGES)
    assert said in str(error.value) and ("task 1" in str(error.value) or "several tasks" in said)


def test_other_regions_are_counted(tmp_path):
    def add(task):
        points = [[10, 20], [50, 10], [30, 80]]
        common = {"original_width": 64, "original_height": 48, "image_rotation": 0}
        polygon = {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["car"]}, **common}
        rectangle = {**region(task), "value": {**region(task)["value"], "rectanglelabels": []}}
        both = {**region(task), "value": {**region(task)["value"], "rectanglelabels": ["car", "bus"]}}
        other = {"type": "choices", "value": {"choices": ["x"]}}
        task["annotations"][0]["result"] = [polygon, rectangle, both, other]

    content = read_label_studio(changed(tmp_path, add), IMAGES)
    boxes = [a["bbox"] for a in content.annotations if a["image_id"] == 1]
    assert boxes[0] == pytest.approx([6.4, 4.8, 25.6, 33.6]) and boxes[1] == boxes[2]
    assert content.notes["regions of the type 'choices' left out"] == 1
    assert content.notes["regions without a label left out"] == 1
    assert content.notes["regions of several labels made a box for each"] == 1
    assert content.notes["polygons made their enclosing boxes"] == 1


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("/data/local-files/?d=cam%201/a%2Bb.jpg", ["cam 1/a+b.jpg", "a+b.jpg"]),
        ("http://host:8080/data/local-files/?d=x/../a.jpg", ["x/a.jpg", "a.jpg"]),
        ("/data/upload/7/0a1b2c3d-street%20view.jpg", ["0a1b2c3d-street view.jpg", "street view.jpg"]),
        ("s3://bucket/day/a.jpg", ["day/a.jpg", "a.jpg"]),
        ("https://host/a/b.png?size=1", ["a/b.png", "b.png"]),
    ],
)
def test_names_of_urls(url, names):
    found = names_of_url(url)
    assert [name for name in found if name in names] == names and found[0] == names[0]


def test_without_images_sizes_are_those_of_the_tasks(tmp_path):
    with pytest.raises(DataError, match="say by --images where it is"):
        read_label_studio(EXPORT)
    tasks = [task for task in json.loads(EXPORT.read_text()) if task["id"] != 3]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    content = read_label_studio(tmp_path / "export.json")
    assert [(i["file_name"], i["width"]) for i in content.images][1] == ("images/sub/b.png", 100)


def test_regions_without_a_size_have_that_of_their_image(tmp_path):
    def remove(task):
        for one in task["annotations"][0]["result"]:
            del one["original_width"], one["original_height"]

    content = read_label_studio(changed(tmp_path, remove), IMAGES)
    assert boxes_of(content) == boxes_of(read_label_studio(EXPORT, IMAGES))
    with pytest.raises(DataError, match="task 1 has no regions with a size"):
        read_label_studio(changed(tmp_path, remove))


def test_predictions_become_tasks_that_read_back(tmp_path):
    results = [
        {"image_id": 1, "category_id": 7, "bbox": [1.5, 2.25, 30, 20.125], "score": 0.75},
        {"image_id": 2, "category_id": 3, "bbox": [90, 10, 20, 10], "score": 0.5},
        {"image_id": 2, "category_id": 3, "bbox": [9, 1, 2, 1], "score": 0.1},
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    out = tmp_path / "tasks.json"
    options = {"predictions": str(tmp_path / "results.json"), "confidence": 0.3}
    done = convert_boxes(SOURCE, out, "label-studio", **options)
    assert "1 predictions left out: score below 0.3" in "\n".join(done.lines)
    tasks = json.loads(out.read_text())
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 1, 0, 0]
    assert tasks[0]["predictions"][0]["score"] == 0.75 and tasks[1]["data"]["image"].endswith("?d=images/sub/b.png")
    for task in tasks:  # as if each prediction were accepted
        task["annotations"] = task.pop("predictions")
    (tmp_path / "accepted.json").write_text(json.dumps(tasks))
    back = read_label_studio(tmp_path / "accepted.json", IMAGES)
    expected = [("a", "traffic light", (1.5, 2.25, 31.5, 22.375)), ("b", "car", (90, 10, 100, 20))]
    assert worst_difference(boxes_of(back), expected) < 1e-6
    with pytest.raises(ConfigError, match="is there already"):
        convert_boxes(SOURCE, out, "label-studio", **options)
    results[0]["category_id"] = 4
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"predictions\[0\] has category_id 4"):
        convert_boxes(SOURCE, tmp_path / "new.json", "label-studio", **options)
