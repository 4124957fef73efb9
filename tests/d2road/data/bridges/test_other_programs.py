"""What is written here, read by the programs that it is for; each answers with boxes as JSON."""

import json
import os

import pytest

from d2road.data.bridges import convert_boxes
from tests.factories.box_data import GOLDEN, IMAGES, SOURCE, source_boxes, worst_difference
from tests.factories.peers import run_peer

DATUMARO = """
import json, sys
import datumaro as dm

def boxes(path, name, **options):
    data = dm.Dataset.import_from(path, name, **options)
    labels = data.categories()[dm.AnnotationType.label]
    return [
        [item.id.rpartition("/")[2], labels[a.label].name, [a.x, a.y, a.x + a.w, a.y + a.h]]
        for item in data for a in item.annotations if a.type == dm.AnnotationType.bbox
    ]

root = sys.argv[1]
found = {"yolo": boxes(root + "/flat", "yolo"), "edges": boxes(root + "/edges", "voc_detection")}
found["pixels"] = boxes(root + "/pixels", "voc_detection", coordinate_mode="voc-one-based")
print("FOUND" + json.dumps(found))
"""

TOOLS = """
import glob, json, sys
from pathlib import Path
root = Path(sys.argv[1])
found = {}

from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label
data = check_det_dataset(str(root / "yolo" / "data.yaml"), autodownload=False)
images = sorted(str(path) for path in (root / "yolo" / "images" / "train").rglob("*.*"))
found["ultralytics"], found["refused"] = [], []
for image, label in zip(images, img2label_paths(images)):
    answer = verify_image_label((image, label, "", False, data["nc"], 0, 0, False))
    if answer[0] is None:
        found["refused"].append(answer[-1])
        continue
    height, width = answer[2]
    for index, x, y, w, h in answer[1].tolist():
        corners = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        found["ultralytics"].append([Path(image).stem, data["names"][int(index)], corners])

import supervision as sv
def sv_boxes(data):
    return [
        [Path(path).stem, data.classes[index], corners]
        for path, _, boxes in data
        for index, corners in zip(boxes.class_id.tolist(), boxes.xyxy.tolist())
    ]
found["supervision"] = sv_boxes(sv.DetectionDataset.from_pascal_voc(
    str(root / "pixels" / "JPEGImages"), str(root / "pixels" / "Annotations")))

from globox import AnnotationSet
found["globox"] = [
    [Path(a.image_id).stem, box.label, list(box.ltrb)]
    for a in AnnotationSet.from_pascal_voc(root / "edges" / "Annotations") for box in a.boxes
]

from libs.pascal_voc_io import PascalVocReader
found["labelimg"] = [
    [path.stem, shape[0], [*shape[1][0], *shape[1][2]]]
    for path in (root / "edges" / "Annotations").rglob("*.xml") for shape in PascalVocReader(str(path)).get_shapes()
]

from label_studio_sdk.label_interface import LabelInterface
interface = LabelInterface((root / "tasks.xml").read_text())
tasks = json.loads((root / "tasks.json").read_text())
predictions = [prediction for task in tasks for prediction in task["predictions"]]
found["label_studio"] = [e for p in predictions for e in interface.validate_prediction(p, return_errors=True)]
predictions[0]["result"][0]["value"]["rectanglelabels"] = ["lorry"]
found["wrong"] = interface.validate_prediction(predictions[0], return_errors=True)
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """YOLO (in flat/ without nested folders), VOC with both conventions of corners, tasks of Label Studio."""
    root = tmp_path_factory.mktemp("written")
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    for name, key in (("images", "id"), ("annotations", "image_id")):
        content[name] = [entry for entry in content[name] if entry[key] != 2]
    (root / "flat.json").write_text(json.dumps(content))
    for split in ("train", "val"):
        convert_boxes(SOURCE, root / "yolo", "yolo", split=split)
        convert_boxes(f"coco:{root}/flat.json:{IMAGES}", root / "flat", "yolo", split=split)
    for corners in ("edges", "pixels"):
        convert_boxes(SOURCE, root / corners, "voc", voc_corners=corners)
    convert_boxes(SOURCE, root / "tasks.json", "label-studio")
    return root


def answers(peer, code, root):
    """What a peer found in the files, as boxes to compare."""
    found = json.loads(run_peer(peer, code, root, timeout=400).partition("FOUND")[2])
    return {
        name: sorted((stem, label, tuple(corners)) for stem, label, corners in rows)
        if rows and isinstance(rows[0], list)
        else rows
        for name, rows in found.items()
    }


def test_datumaro_reads_what_is_written(written):
    found = answers("datumaro", DATUMARO, written)
    # datumaro writes nested folders of YOLO and cannot read them.
    flat = [box for box in source_boxes() if box[2][:2] != (40, 20) and box[0] != "b"]
    assert worst_difference(found["yolo"], sorted(2 * flat)) < 0.01  # two decimals; train and val
    assert worst_difference(found["edges"], source_boxes()) < 0.01
    assert worst_difference(found["pixels"], source_boxes()) < 0.01


def test_annotation_tools_read_what_is_written(written):
    found = answers("annotation_tools", TOOLS, written)
    expected = source_boxes()
    upright = [box for box in expected if box[2][:2] != (40, 20)]
    assert found["refused"] == [] and worst_difference(found["ultralytics"], upright) < 1e-3
    flat = [box for box in expected if box[0] != "b"]  # supervision and globox read no folders within
    assert worst_difference(found["supervision"], flat) < 1e-3
    assert worst_difference(found["globox"], flat) < 1e-3
    assert worst_difference(found["labelimg"], expected) < 1  # cuts off to whole pixels
    assert found["label_studio"] == [] and found["wrong"]


def test_the_stored_files_are_what_datumaro_writes(tmp_path):
    code = "import runpy, sys\nsys.argv = ['make', 'datumaro', sys.argv[1]]\n"
    path = os.fspath(GOLDEN / "make_golden.py")
    run_peer("datumaro", f"{code}runpy.run_path({path!r}, run_name='__main__')", tmp_path)
    names = ("datumaro_voc", "datumaro_voc_one_based", "datumaro_cvat", "datumaro_coco", "datumaro_yolo/labels")
    written = {path: path.read_text() for name in names for path in (tmp_path / name).rglob("*.*") if path.is_file()}
    stored = {path: (GOLDEN / path.relative_to(tmp_path)).read_text() for path in written}
    assert written == stored and len(written) > 10
