"""Grounding data by hand for tests: one camera, boxes where they are wanted."""

import json
from pathlib import Path
from typing import Any

P = [[700.0, 0.0, 480.0, 0.0], [0.0, 700.0, 270.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
CLASSES = ("car", "truck", "pedestrian")
CAR = [1.5, 1.6, 4.0]


def box(x: float, z: float, ry: float = 0.0, hwl: list | None = None, y: float = 1.6) -> list[float]:
    """A row x, y, z, h, w, l, ry."""
    return [x, y, z, *(hwl or CAR), ry]


def annotation(key: Any, row: list, image_id: Any = 0, category: int = 0, **more: Any) -> dict:
    """An entry of `annotations` without 2D box, which the reader projects."""
    x, y, z, h, w, l, ry = row  # noqa: E741
    entry = {"id": key, "image_id": image_id, "category_id": category, "location": [x, y, z]}
    return {**entry, "dimensions": [h, w, l], "rotation_y": ry, "truncation": 0.0, "occlusion": 0, **more}


def expression(key: Any, targets: list, image_id: Any = 0, text: str = "the car", **more: Any) -> dict:
    """An entry of `expressions`."""
    return {"id": key, "image_id": image_id, "text": text, "target_ids": targets, **more}


def world(annotations: list[dict], expressions: list[dict], images: tuple = (0,), **info: Any) -> dict:
    """The content of a grounding file."""
    return {
        "info": info,
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 960, "height": 540, "P": P, "ground_plane": None}
            for i in images
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": annotations,
        "expressions": expressions,
    }


def answer(key: Any, boxes: list, scores: list | None = None) -> dict:
    """An entry of `predictions`."""
    return {"expression_id": key, "boxes": boxes, "scores": [0.9] * len(boxes) if scores is None else scores}


def write(folder: Path, raw: dict, predictions: list[dict], threshold: float | None = 0.5) -> tuple[Path, Path]:
    """The two files of tools/eval_grounding.py."""
    gt, pred = folder / "gt.json", folder / "pred.json"
    gt.write_text(json.dumps(raw))
    pred.write_text(json.dumps({"score_threshold": threshold, "predictions": predictions}))
    return gt, pred
