#!/usr/bin/env bash
# datumaro cannot read the YOLO files that it wrote itself where images lie in folders
# Versions: datumaro 1.13.12 (numpy 2.4.6)
# Guess:    a data set exported as yolo_ultralytics and imported as yolo is the same again, images in folders ("left/a")
#           included, as with datumaro's COCO and Pascal VOC
# Seen:     without folders it is. With one, files are written to images/train/left/a.jpg and labels/train/left/a.txt, as
#           Ultralytics wants them, but to read them raises ItemImportError: the item is looked for as ('a', 'left'), the
#           folder in place of the subset. Dataset.import_from alone raises nothing, as it reads only when asked for items
# Matters:  a conversion to YOLO that reports success cannot be read back. Export images under flat, unique names, or
#           check the files with another reader
# Output:   voc, nested: 2 items   coco, nested: 2 items   yolo, flat: 2 items
#           yolo, nested: ItemImportError: Failed to import item ('a', 'left'): 'a'
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datumaro==1.13.12 numpy==2.4.6
cat > "$work/return.py" <<'PYTHON'
import sys

import datumaro as dm
import numpy as np
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories
from datumaro.components.errors import ItemImportError


def read_back(folder: str, written: str, read: str, first: str) -> list:
    """What comes back of two images with a box each, one in "train" and one in "val"."""
    image = dm.Image.from_numpy(np.zeros((40, 60, 3), np.uint8))
    items = [
        dm.DatasetItem(id=name, subset=subset, media=image, annotations=[Bbox(10, 10, 20, 20, label=0)])
        for name, subset in ((first, "train"), ("b", "val"))
    ]
    labels = {AnnotationType.label: LabelCategories.from_iterable(["part"])}
    dm.Dataset.from_iterable(items, categories=labels, media_type=dm.Image).export(folder, written, save_media=True)
    return sorted(item.id for item in dm.Dataset.import_from(folder, read))


found = {}
for kind, written, read in (("voc", "voc_detection", "voc_detection"), ("coco", "coco_instances", "coco_instances")):
    found[f"{kind}, nested"] = read_back(f"{sys.argv[1]}/{kind}", written, read, "left/a")
found["yolo, flat"] = read_back(f"{sys.argv[1]}/flat", "yolo_ultralytics", "yolo", "a")
print("   ".join(f"{name}: {len(ids)} items" for name, ids in found.items()))
right = found == {"voc, nested": ["b", "left/a"], "coco, nested": ["b", "left/a"], "yolo, flat": ["a", "b"]}
try:
    print("yolo, nested:", read_back(f"{sys.argv[1]}/nested", "yolo_ultralytics", "yolo", "left/a"))
    right = False
except ItemImportError as error:
    print(f"yolo, nested: ItemImportError: {error}")
sys.exit(0 if right else 1)
PYTHON
"$work/venv/bin/python" -W ignore "$work/return.py" "$work" 2>"$work/log" || { tail -n 5 "$work/log" >&2; exit 1; }
