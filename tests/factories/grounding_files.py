"""Grounding data by hand for tests: one camera, boxes where they are wanted."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from d2road.synthetic.roadside.roadside_labels import describe_objects
from d2road.synthetic.roadside.street_traffic import sample_actors, sample_street
from d2road.synthetic.roadside.views import sample_view

P = [[700.0, 0.0, 480.0, 0.0], [0.0, 700.0, 270.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
CLASSES = ("car", "truck", "pedestrian")
CAR = [1.5, 1.6, 4.0]
TOY_CLASSES = ("car", "van", "truck", "bus", "cyclist", "pedestrian")


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


def grounding_content(annotations: list[dict], expressions: list[dict], images: tuple = (0,), **info: Any) -> dict:
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


def write_files(folder: Path, raw: dict, predictions: list[dict], threshold: float | None = 0.5) -> tuple[Path, Path]:
    """The two files of d2road/cli/eval_grounding.py."""
    gt, pred = folder / "gt.json", folder / "pred.json"
    gt.write_text(json.dumps(raw))
    pred.write_text(json.dumps({"score_threshold": threshold, "predictions": predictions}))
    return gt, pred


def toy_grounding_content(num_images: int, seed: int = 0) -> tuple[dict, list[list[dict]]]:
    """Unrendered toy roadside views as a grounding file, and what the toy generator says of their objects."""
    images, things, described = [], [], []
    for number in range(num_images):
        rng = np.random.default_rng([seed, number])
        view, street = sample_view(rng), sample_street(rng)
        actors = sample_actors(rng, street, view)
        visible = rng.choice([1.0, 0.97, 0.6, 0.3, 0.1], size=len(actors), p=[0.5, 0.2, 0.1, 0.1, 0.1])
        entries = describe_objects(SimpleNamespace(actors=actors, visible=visible, view=view))
        described.append(entries)
        images.append(
            {
                "id": number,
                "file_name": f"{number}.jpg",
                "width": 960,
                "height": 540,
                "P": view.camera.P.tolist(),
                "ground_plane": view.camera.ground.tolist(),
            }
        )
        things += [_toy_annotation(entry, number, len(things) + i) for i, entry in enumerate(entries)]
    raw = {"info": {"rotation_y": "ground"}, "images": images, "annotations": things, "expressions": []}
    return {**raw, "categories": [{"id": i, "name": name} for i, name in enumerate(TOY_CLASSES)]}, described


def _toy_annotation(entry: dict, image_id: int, key: int) -> dict:
    return {
        "id": key,
        "image_id": image_id,
        "category_id": TOY_CLASSES.index(entry["type"]),
        "bbox": entry["box_xyxy"],
        "truncation": entry["truncated"],
        "occlusion": entry["occluded"],
        "dimensions": entry["hwl"],
        "location": entry["location"],
        "rotation_y": entry["ry"],
        "attributes": {name: entry[name] for name in ("color", "lane", "state", "visible")},
        "ignore": entry["visible"] < 0.15,
    }
