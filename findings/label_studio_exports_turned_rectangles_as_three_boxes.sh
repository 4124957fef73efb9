#!/usr/bin/env bash
# label-studio-sdk exports one turned rectangle as three different boxes
# Versions: label-studio-sdk 2.1.2 (pillow 13.0.0)
# Guess:    COCO, Pascal VOC and YOLO hold the box around the turned rectangle: 80x20 px, turned by 90 degrees about its
#           corner at (100, 10) in an image of 200x100, gives 80 10 100 90, the box around the corners of YOLO OBB too
# Seen:     YOLO OBB alone is right. COCO turns in percent of the image, whose axes have unlike lengths, so that the shape
#           changes (40x40 px); Pascal VOC and YOLO leave the rotation out. Nothing is logged
# Matters:  COCO boxes of turned rectangles are wrong in every image that is not square, VOC's and YOLO's in every image.
#           Take the boxes from the JSON export or from YOLO OBB, or refuse tasks with a rotation
# Output:   COCO 60 10 100 50   VOC 100 10 180 30   YOLO 100 10 180 30   YOLO_OBB 80 10 100 90
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q label-studio-sdk==2.1.2 pillow==13.0.0
cat > "$work/export.py" <<'PYTHON'
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from label_studio_sdk.converter.converter import Converter, Format
from PIL import Image

out = Path(sys.argv[1])
out.mkdir()
width, height = 200, 100
Image.new("RGB", (width, height)).save(out / "a.png")
rectangle = {"x": 50, "y": 10, "width": 40, "height": 20, "rotation": 90, "rectanglelabels": ["part"]}
result = {"id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": rectangle}
result |= {"original_width": width, "original_height": height, "image_rotation": 0}
annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [result]}
task = {"id": 1, "data": {"image": str(out / "a.png")}, "annotations": [annotation]}
(out / "tasks.json").write_text(json.dumps([task]))
config = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="part"/></RectangleLabels></View>"""
converter = Converter(config, str(out), upload_dir=str(out), download_resources=False)
for form in (Format.COCO, Format.VOC, Format.YOLO, Format.YOLO_OBB):
    converter.convert(str(out / "tasks.json"), str(out / form.name), form, is_dir=False)

boxes = {}
x, y, w, h = json.loads((out / "COCO/result.json").read_text())["annotations"][0]["bbox"]
boxes["COCO"] = (x, y, x + w, y + h)
node = ET.parse(out / "VOC/Annotations/a.xml").getroot().find("object/bndbox")
boxes["VOC"] = tuple(float(node.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax"))
x, y, w, h = map(float, (out / "YOLO/labels/a.txt").read_text().split()[1:])
edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
boxes["YOLO"] = tuple(v * s for v, s in zip(edges, (width, height) * 2))
corners = list(map(float, (out / "YOLO_OBB/labels/a.txt").read_text().split()[1:]))
xs, ys = [v * width for v in corners[::2]], [v * height for v in corners[1::2]]
boxes["YOLO_OBB"] = (min(xs), min(ys), max(xs), max(ys))
boxes = {name: tuple(round(v) for v in box) for name, box in boxes.items()}
print("   ".join(f"{name} {' '.join(map(str, box))}" for name, box in boxes.items()))
plain = (100, 10, 180, 30)
sys.exit(boxes != {"COCO": (60, 10, 100, 50), "VOC": plain, "YOLO": plain, "YOLO_OBB": (80, 10, 100, 90)})
PYTHON
"$work/venv/bin/python" -W ignore "$work/export.py" "$work/out"
