"""COCO JSON: read as Detectron2 reads it, and every mistake is named."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from d2road.data import class_count_problems, class_names_of, num_classes_of, register_by_name
from d2road.data.datasets.coco import load_coco


def test_reads_what_detectron2_reads(coco_content, save_coco):
    paths = save_coco(coco_content)
    ours, theirs = load_coco(*paths), load_coco_json(*paths, "oracle_" + paths[0])
    for a, b in zip(ours, theirs, strict=True):
        b["annotations"] = [{"iscrowd": 0, **x} for x in b["annotations"]]
        assert a == b
    assert [r["image_id"] for r in ours] == [3, 7]


def test_real_coco_as_detectron2_reads_it(shared_dir):
    paths = [str(shared_dir / "data/coco_subset" / p) for p in ("instances_val2017.json", "val2017")]
    name = "coco:" + ":".join(paths)
    register_by_name(name)
    register_by_name(name)  # idempotent
    assert DatasetCatalog.get(name) == load_coco_json(*paths, "oracle_" + name)
    assert num_classes_of(name) == 80
    assert MetadataCatalog.get(name).thing_classes == MetadataCatalog.get("oracle_" + name).thing_classes


def test_name_by_path(coco_content, save_coco):
    json_file, images = save_coco(coco_content)
    name = f"coco:{json_file}:{images}"
    register_by_name(name)
    assert MetadataCatalog.get(name).evaluator_type == "coco"
    assert class_names_of(name) == ["dog", "cat"]
    assert MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id == {2: 0, 9: 1}
    assert class_count_problems("K", 2, [name]) == []
    assert "set it to 2" in class_count_problems("K", 3, [name])[0]


def test_a_model_can_be_used_without_its_data(tmp_path):
    name = f"coco:{tmp_path}/absent.json:{tmp_path}"
    register_by_name(name)
    assert class_count_problems("K", 3, [name]) == []
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        num_classes_of(name)


def test_data_sets_used_together_need_the_classes_of_the_first(coco_content, save_coco):
    json_file, images = save_coco(coco_content)
    name = f"coco:{json_file}:{images}"
    assert num_classes_of(["coco_2017_train", name]) == 80
    with pytest.raises(ValueError, match=r"'coco_2017_train' has the classes .* '.*' \[dog, cat\]: \[person, "):
        num_classes_of([name, "coco_2017_train"])
    with pytest.raises(ValueError, match="names none"):
        num_classes_of([])


def test_a_file_with_other_classes_than_its_data_set_is_refused(coco_content, save_coco):
    paths = save_coco(coco_content)
    name = "coco:" + ":".join(paths)
    MetadataCatalog.get("fixed " + name).thing_classes = ["dog", "horse"]
    with pytest.raises(ValueError, match=r"thing_classes is \['dog', 'cat'\], but .* known to have \['dog', 'horse'\]"):
        load_coco(*paths, "fixed " + name)


def test_without_annotations_it_is_test_data(coco_content, save_coco):
    del coco_content["annotations"]
    assert all("annotations" not in r for r in load_coco(*save_coco(coco_content)))


def test_images_without_objects_are_data(coco_content, save_coco):
    coco_content["annotations"] = []
    assert [r["annotations"] for r in load_coco(*save_coco(coco_content))] == [[], []]


def test_ignored_objects_count_as_crowds(coco_content, save_coco):
    coco_content["annotations"][0]["ignore"] = 1
    assert load_coco(*save_coco(coco_content))[1]["annotations"][0]["iscrowd"] == 1


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (0, {"category_id": 5}, r"annotation id 1 has category_id 5, which is not in categories \(2\.\.9"),
        (0, {"image_id": 99}, "annotation id 1 belongs to image_id 99"),
        (0, {"bbox": [1, float("nan"), 3, 4]}, "annotation id 1 has bbox .*nan.* four finite numbers"),
        (0, {"bbox": [1, 2, float("inf"), 4]}, "four finite numbers"),
        (0, {"bbox": [1, 2, 3]}, "four finite numbers"),
        (0, {"bbox": ["1", 2, 3, 4]}, "four finite numbers"),
        (1, {"id": 1}, "annotation id 1 comes twice"),
        (1, {"id": None}, r"annotations\[1\] needs an id"),
        (1, {"category_id": [1]}, "not in categories"),
        (1, {"category_id": 2.0}, r"category_id 2\.0, which is not in categories"),
        (1, {"category_id": "2"}, "category_id '2', which is not in categories"),
        (1, {"category_id": True}, "category_id True, which is not in categories"),
        (1, {"image_id": "3"}, "image_id '3', which is not in images"),
        (1, {"bbox": [True, 2, 3, 4]}, "four finite numbers"),
        (1, {"iscrowd": "0"}, "annotation id 2: 'iscrowd' is the text '0', expected 0 or 1"),
        (1, {"iscrowd": 2}, "'iscrowd' is the number 2, expected 0 or 1"),
        (1, {"ignore": "no"}, "'ignore' is the text 'no', expected 0 or 1"),
        (1, {"area": "400"}, "'area' is the text '400', expected a number of square pixels"),
        (1, {"area": float("nan")}, "'area' is the number nan, expected"),
        (1, {"area": -1}, "'area' is the number -1, expected"),
    ],
)
def test_structural_errors_of_annotations(coco_content, save_coco, number, change, message):
    coco_content["annotations"][number].update(change)
    paths = save_coco(coco_content)
    with pytest.raises(ValueError, match=message) as error:
        load_coco(*paths)
    assert paths[0] in str(error.value)


def test_all_structural_errors_at_once(coco_content, save_coco):
    for annotation in coco_content["annotations"]:
        annotation["category_id"] = 77
    with pytest.raises(ValueError, match=r"3 errors:(.|\n)*id 1 (.|\n)*id 2 (.|\n)*id 3 "):
        load_coco(*save_coco(coco_content))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images", [], '"images" is empty'),
        ("categories", [], '"categories" is empty'),
        ("images", None, 'no list "images"'),
        ("annotations", {}, "no list"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category id 1 comes twice"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "category name 'a' comes twice"),
        ("categories", [{"id": 1}], "needs an integer id and a name"),
        ("categories", [{"id": "1", "name": "a"}], "needs an integer id and a name"),
        ("categories", [{"id": True, "name": "a"}], "needs an integer id and a name"),
        ("categories", [{"id": 1, "name": 7}], "needs an integer id and a name that is a text"),
        (
            "images",
            [{"id": i, "file_name": "a.jpg", "width": 2, "height": 2} for i in (1, "1")],
            "1 and '1' are the same",
        ),
        ("images", [{"id": 1, "file_name": "a.jpg", "width": "2", "height": 2}], "has size '2'x2, expected whole"),
        ("images", [{"id": 1, "file_name": "a.jpg"}], "has size NonexNone"),
        ("images", [{"id": 1, "width": 2, "height": 2}], "needs an id .* and a file_name"),
        ("images", 2 * [{"id": 1, "file_name": "a.jpg", "width": 2, "height": 2}], "image id 1 comes twice"),
    ],
)
def test_structural_errors_of_the_file(coco_content, save_coco, key, value, message):
    coco_content[key] = value
    with pytest.raises(ValueError, match=message):
        load_coco(*save_coco(coco_content))


def test_a_cut_off_file_is_recognised(coco_content, save_coco):
    json_file, images = save_coco(coco_content)
    text = json.dumps(coco_content)
    with open(json_file, "w") as file:
        file.write(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"is not JSON.*Cut off"):
        load_coco(json_file, images)


def test_missing_files_say_how_to_get_them(coco_content, save_coco, tmp_path):
    json_file, images = save_coco(coco_content)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist.*make it"):
        load_coco(str(tmp_path / "nowhere.json"), images, hint="make it")
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere of"):
        load_coco(json_file, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("box", [[5, 5, 0, 9], [5, 5, 9, -1], [64, 0, 5, 5], [0, -9, 5, 9]])
def test_useless_boxes_are_dropped_and_logged(coco_content, save_coco, caplog, box):
    coco_content["annotations"][0]["bbox"] = box
    records = load_coco(*save_coco(coco_content))
    assert [len(r["annotations"]) for r in records] == [2, 0]
    assert "1 of 3 boxes are useless" in caplog.text
    assert "annotation id 1" in caplog.text


def test_too_many_useless_boxes_are_fatal(coco_content, save_coco):
    box = coco_content["annotations"][0]
    good = [{**box, "id": 100 + i} for i in range(180)]
    bad = [{**box, "id": 1000 + i, "bbox": [1, 1, 0, 5]} for i in range(21)]
    coco_content["annotations"] = good + bad[:20]  # exactly 10 %
    assert sum(len(r["annotations"]) for r in load_coco(*save_coco(coco_content))) == 180
    coco_content["annotations"] = good + bad
    with pytest.raises(ValueError, match="21 of 201 boxes are useless"):
        load_coco(*save_coco(coco_content))
    coco_content["annotations"] = bad[:1]
    with pytest.raises(ValueError, match="1 of 1 boxes are useless"):
        load_coco(*save_coco(coco_content))


def test_flags_may_be_true_or_false_or_null(coco_content, save_coco):
    for annotation, value in zip(coco_content["annotations"], (False, None, True)):
        annotation.update(iscrowd=value, area=None)
    records = load_coco(*save_coco(coco_content))
    assert [a["iscrowd"] for r in records for a in r["annotations"]] == [0, 1, 0]


def test_image_ids_may_be_numbers_and_texts_in_one_file(coco_content, save_coco):
    coco_content["images"][0]["id"] = coco_content["annotations"][0]["image_id"] = "b"
    assert [r["image_id"] for r in load_coco(*save_coco(coco_content))] == [3, "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_with_a_byte_order_mark(coco_content, save_coco, encoding):
    json_file, images = save_coco(coco_content)
    expected = load_coco(json_file, images)
    with open(json_file, "w", encoding=encoding) as file:
        json.dump(coco_content, file)
    assert load_coco(json_file, images) == expected
