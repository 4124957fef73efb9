"""Let other programs write one small data set in their formats, and say how they read it.

    make peers
    .peers/datumaro/bin/python tests/golden/bridges/make_golden.py datumaro FOLDER
    .peers/annotation_tools/bin/python tests/golden/bridges/make_golden.py tools FOLDER

The first call writes FOLDER/source (COCO JSON and images, made up here), both read it.
"""

import json
import sys
from pathlib import Path

from PIL import Image

# As shown; turned.jpg is stored as 60x30 with EXIF orientation 6.
IMAGES = [("a.png", 64, 48), ("sub/b.png", 100, 40), ("empty.png", 32, 32), ("turned.jpg", 30, 60)]
CATEGORIES = [(3, "car"), (7, "traffic light"), (20, "bus")]
# image, category, x, y, width, height in pixels, iscrowd
BOXES = [
    (1, 3, 10.25, 8.5, 20.5, 12.125, 0),
    (1, 7, 0, 0, 5, 9, 0),
    (1, 3, 40, 20, 24, 28, 1),
    (2, 7, 33.3, 11.1, 44.4, 22.2, 0),
    (4, 3, 4, 30, 11, 25, 0),
]


def write_source(folder: Path) -> None:
    """COCO JSON and images."""
    images = [{"id": i, "file_name": n, "width": w, "height": h} for i, (n, w, h) in enumerate(IMAGES, 1)]
    boxes = [
        {"id": i, "image_id": image, "category_id": c, "bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd}
        for i, (image, c, x, y, w, h, crowd) in enumerate(BOXES, 1)
    ]
    categories = [{"id": i, "name": name} for i, name in CATEGORIES]
    for name, width, height in IMAGES:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "turned.jpg":
            exif = Image.Exif()
            exif[274] = 6
            Image.new("RGB", (height, width), (90, 120, 60)).save(path, exif=exif, quality=30)
        else:
            Image.new("RGB", (width, height), (90, 120, 60)).save(path)
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))


def datumaro_files(folder: Path) -> None:
    """CVAT's, Pascal VOC's and YOLO's files by datumaro, with its two conventions of corners; its COCO of a merge."""
    import datumaro as dm
    from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories, Polygon, RotatedBbox

    source = json.loads((folder / "source" / "coco.json").read_text())
    index = {c["id"]: i for i, c in enumerate(source["categories"])}
    items = []
    for image in source["images"]:
        boxes = [
            Bbox(*a["bbox"], label=index[a["category_id"]], attributes={"difficult": bool(a["iscrowd"]), "occluded": 0})
            for a in source["annotations"]
            if a["image_id"] == image["id"]
        ]
        media = dm.Image.from_file(path=str(folder / "source" / "images" / image["file_name"]))
        name = image["file_name"].rsplit(".", 1)[0]
        items.append(dm.DatasetItem(id=name, subset="train", media=media, annotations=boxes))
    labels = {AnnotationType.label: LabelCategories.from_iterable(c["name"] for c in source["categories"])}
    data = dm.Dataset.from_iterable(items, categories=labels)
    data.export(folder / "datumaro_voc", "voc_detection", save_media=False)
    data.export(folder / "datumaro_voc_one_based", "voc_detection", save_media=False, coordinate_mode="voc-one-based")
    subsets = [item.wrap(subset="val" if item.id == "empty" else "train") for item in items]
    split = dm.Dataset.from_iterable(subsets, categories=labels)
    split.export(folder / "datumaro_yolo", "yolo_ultralytics", save_media=True)
    shapes = [
        Polygon([5, 5, 25, 10, 15, 30], label=0),
        RotatedBbox(15, 20, 20, 10, 30, label=1, attributes={"occluded": True}),
        dm.Points([1, 2, 3, 4], label=0),
        dm.Label(1),
    ]
    items[2] = items[2].wrap(annotations=shapes)
    data = dm.Dataset.from_iterable(items, categories=labels)
    data.export(folder / "datumaro_cvat", "cvat", save_media=False)
    data.export(folder / "datumaro_coco", "coco_instances", save_media=False)


def labelimg_files(folder: Path) -> None:
    """Pascal VOC by LabelImg, as its window saves boxes."""
    from libs.labelFile import LabelFile
    from libs.pascal_voc_io import PascalVocWriter

    source = json.loads((folder / "source" / "coco.json").read_text())
    names = {c["id"]: c["name"] for c in source["categories"]}
    (folder / "labelimg").mkdir()
    for image in source["images"]:
        name = Path(image["file_name"]).name
        writer = PascalVocWriter("images", name, (image["height"], image["width"], 3), local_img_path=f"/images/{name}")
        for box in (a for a in source["annotations"] if a["image_id"] == image["id"]):
            x, y, w, h = box["bbox"]
            corners = LabelFile.convert_points_to_bnd_box([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
            writer.add_bnd_box(*corners, names[box["category_id"]], box["iscrowd"])
        writer.save(str(folder / "labelimg" / f"{Path(name).stem}.xml"))


def supervision_files(folder: Path) -> None:
    """Pascal VOC and YOLO by supervision."""
    import supervision as sv

    data = sv.DetectionDataset.from_coco(str(folder / "source" / "images"), str(folder / "source" / "coco.json"))
    data.as_pascal_voc(annotations_directory_path=str(folder / "supervision_voc"))
    data.as_yolo(
        annotations_directory_path=str(folder / "supervision_yolo" / "labels"),
        data_yaml_path=str(folder / "supervision_yolo" / "data.yaml"),
    )


def globox_files(folder: Path) -> None:
    """Pascal VOC and CVAT's XML by globox."""
    from globox import AnnotationSet

    data = AnnotationSet.from_coco(folder / "source" / "coco.json")
    (folder / "globox_voc" / "sub").mkdir(parents=True)  # globox makes no folders within
    data.save_pascal_voc(folder / "globox_voc")
    data.save_cvat(folder / "globox_cvat.xml")


def ultralytics_files(folder: Path) -> None:
    """YOLO's label files by ultralytics' converter of COCO."""
    from ultralytics.data.converter import convert_coco

    convert_coco(str(folder / "source"), str(folder / "ultralytics_yolo"), cls91to80=False)


def label_studio_files(folder: Path) -> None:
    """Label Studio's tasks by its SDK's converter of COCO, and what its other converter makes of them.

    They get what an export adds: ids, dates, a skipped annotation, a task that nobody labelled, a turned rectangle.
    """
    from label_studio_sdk.converter.converter import Converter, Format
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    out = folder / "label_studio"
    out.mkdir()
    source, path = folder / "source" / "coco.json", out / "export.json"
    url = "/data/local-files/?d=images"
    convert_coco_to_ls(str(source), str(path), out_type="annotations", image_root_url=url, use_super_categories=False)
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks, 1):
        task["id"] = number
        for annotation in task["annotations"]:
            date = f"2026-01-0{number}T10:00:00.000000Z"
            annotation.update(id=10 + number, was_cancelled=False, created_at=date, updated_at=date, completed_by=1)
    tasks[1]["annotations"][0]["result"][0]["value"]["rotation"] = 30
    tasks[0]["annotations"].append({**tasks[0]["annotations"][0], "id": 20, "result": [], "was_cancelled": True})
    tasks.append({"id": 5, "data": {"image": f"{url}/unlabelled.png"}, "annotations": []})
    path.write_text(json.dumps(tasks))
    config = (out / "export.label_config.xml").read_text()
    converter = Converter(config, str(out), upload_dir=str(out))
    converter.convert(str(path), str(out / "coco"), Format.COCO, is_dir=False)
    converter.convert(str(path), str(out / "yolo"), Format.YOLO, is_dir=False)
    converter.convert(str(path), str(out / "yolo_obb"), Format.YOLO_OBB, is_dir=False)


if __name__ == "__main__":
    program, target = sys.argv[1], Path(sys.argv[2]).absolute()
    if program == "datumaro":
        write_source(target / "source")
        datumaro_files(target)
    else:
        for write in (labelimg_files, supervision_files, globox_files, ultralytics_files, label_studio_files):
            write(target)
