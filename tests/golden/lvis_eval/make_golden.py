"""Make a small LVIS data set with hard cases, and what the package lvis says of detections on it.

    python3.11 -m venv lvisenv && lvisenv/bin/pip install "numpy<1.24" lvis==0.5.3 pycocotools opencv-python-headless
    lvisenv/bin/python make_golden.py FOLDER

Older NumPy because lvis 0.5.3 uses np.float. FOLDER gets truth.json, detections.json and expected.json: the figures as
fractions, -1 where lvis has none, and the precision of each category at all areas, as a mean.
"""

import json
import sys
from pathlib import Path

import numpy as np
from lvis import LVIS, LVISEval, LVISResults

SIZES = (4, 8, 16, 32, 32, 64, 96, 96, 120)


def make(seed: int) -> tuple[dict, list[dict]]:
    """Ties, equal boxes, areas on the limits and of 0, an image of over 300 detections, empty ones, no common class."""
    rng = np.random.default_rng(seed)
    categories = [{"id": 3 * i + 2, "name": f"c{i}", "synonyms": [f"c{i}"]} for i in range(6)]
    for category, frequency in zip(categories, "rrfffr"):  # no common one
        category.update(frequency=frequency, image_count=5, instance_count=9, synset="", **{"def": ""})
    ids = [c["id"] for c in categories]
    images, annotations, detections = [], [], []
    for i in range(1, 13):
        present = [int(c) for c in rng.choice(ids[:5], rng.integers(0, 4), replace=False)]
        absent = [c for c in ids if c not in present]
        image = {
            "id": i,
            "width": 200,
            "height": 150,
            "coco_url": f"http://images.cocodataset.org/val2017/{i:012d}.jpg",
        }
        image["neg_category_ids"] = [int(c) for c in rng.choice(absent, 1, replace=False)]
        image["not_exhaustive_category_ids"] = present[:1] if rng.random() < 0.5 else []
        images.append(image)
        mine = []
        for category in present:
            for _ in range(rng.integers(1, 5)):
                w, h = (float(v) for v in rng.choice(SIZES, 2))
                x, y = (float(v) for v in rng.uniform(0, 100, 2).round(1))
                area = w * h if rng.random() < 0.8 else float(rng.choice([1024, 9216, 0]))
                box = {"bbox": [x, y, w, h], "area": area, "segmentation": [[x, y, x + w, y, x + w, y + h]]}
                annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category, **box})
                mine.append(annotations[-1])
        for _ in range(330 if i == 4 else int(rng.integers(0, 30))):
            if mine and rng.random() < 0.7:
                near = mine[rng.integers(len(mine))]
                box = (np.array(near["bbox"]) + rng.choice([0, 1, 2, 4], 4) * rng.choice([0, 1])).tolist()
                category = near["category_id"] if rng.random() < 0.8 else int(rng.choice(ids))
            else:
                box, category = [*rng.uniform(0, 100, 2).round(1).tolist(), 32.0, 32.0], int(rng.choice(ids))
            if rng.random() < 0.03:
                box[2] = 0.0
            score = float(rng.choice([0.1, 0.3, 0.3, 0.5, 0.9, round(rng.random(), 3)]))
            detections.append({"image_id": i, "category_id": category, "bbox": box, "score": score})
    return {"images": images, "categories": categories, "annotations": annotations}, detections


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    folder.mkdir(parents=True, exist_ok=True)
    truth, detections = make(seed)
    (folder / "truth.json").write_text(json.dumps(truth, separators=(",", ":")))
    (folder / "detections.json").write_text(json.dumps(detections, separators=(",", ":")))
    data = LVIS(str(folder / "truth.json"))
    evaluation = LVISEval(data, LVISResults(data, detections), "bbox")
    evaluation.run()
    precision = evaluation.eval["precision"][..., 0]
    each = [float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in np.moveaxis(precision, 2, 0)]
    results = {name: float(value) for name, value in evaluation.get_results().items() if name.startswith("AP")}
    (folder / "expected.json").write_text(json.dumps({"results": results, "categories": each}, indent=1))


if __name__ == "__main__":
    main()
