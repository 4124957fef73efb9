"""What is written about a frame: Rope3D's text files, COCO annotations, attributes.

Visible is the share of an object's pixels inside the image that nothing covers, measured while rendering. Occluded is
0 from 0.8 visible, 1 from 0.5, 2 from 0.15, 3 below. Truncated is the share of the projected box outside the image.
Objects with no visible pixel are not labelled; below 0.15 visible or above 0.7 truncated COCO evaluation ignores them.
"""

from typing import Any

import numpy as np

from d2road.structures.upright_boxes import box_corners, heading_to_ry, project_boxes, ry_to_alpha
from d2road.synthetic.roadside.compose import Frame
from d2road.synthetic.roadside.street_traffic import Actor
from d2road.synthetic.roadside.views import HEIGHT, WIDTH, View, rotation_to_quaternion

# Rope3D's official merge of its types.
CATEGORIES = ["car", "big_vehicle", "cyclist", "pedestrian"]
CATEGORY_OF_TYPE = {
    "car": "car", "van": "car", "truck": "big_vehicle", "bus": "big_vehicle", "cyclist": "cyclist",
    "pedestrian": "pedestrian",
}  # fmt: skip
OCCLUDED_BELOW = (0.8, 0.5, 0.15)
IGNORE_VISIBLE_BELOW = 0.15
IGNORE_TRUNCATED_ABOVE = 0.7
SMALLEST_BOX_PX = 2.0


def describe_objects(frame: Frame) -> list[dict[str, Any]]:
    """One plain dict per labelled object, all values rounded as the label files hold them."""
    described: list[dict[str, Any]] = []
    for actor, visible in zip(frame.actors, frame.visible):
        entry = _describe(actor, float(visible), frame.view)
        if entry is not None:
            described.append({"label_row": len(described), **entry})
    return described


def _describe(actor: Actor, visible: float, view: View) -> dict[str, Any] | None:
    location = np.round(view.to_camera(np.append(actor.position, 0.0)), 4)
    rotation = view.camera.ground_rotation()
    heading_cam = view.R @ np.array([np.cos(actor.heading), np.sin(actor.heading), 0.0])
    ry = round(float(heading_to_ry(heading_cam, rotation)), 6)
    corners = box_corners(location[None], actor.hwl[None], np.array([ry]), rotation)
    (whole,), _ = project_boxes(view.camera, corners)
    box = np.clip(whole, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    size = box[2:] - box[:2]
    if visible <= 0 or size.min() < SMALLEST_BOX_PX:
        return None
    truncated = round(1 - float(np.prod(size) / np.prod(whole[2:] - whole[:2])), 4)
    return {
        "type": actor.kind,
        "truncated": truncated,
        "occluded": sum(visible < threshold for threshold in OCCLUDED_BELOW),
        "alpha": round(float(ry_to_alpha(np.asarray(ry), location)), 6),
        "box_xyxy": np.round(box, 4).tolist(),
        "hwl": np.round(actor.hwl, 4).tolist(),
        "location": location.tolist(),
        "ry": ry,
        "visible": round(visible, 4),
        "range_m": round(float(np.hypot(location[0], location[2])), 3),
        "color": actor.color_name,
        "lane": actor.lane,
        "direction": _direction(actor),
        "motion": actor.motion,
        "state": actor.state,
    }


def _direction(actor: Actor) -> str:
    """Where an actor heads as the camera sees it: toward, away, left or right."""
    ray = actor.position / np.linalg.norm(actor.position)
    along = np.cos(actor.heading) * ray[0] + np.sin(actor.heading) * ray[1]
    to_right = np.cos(actor.heading) * ray[1] - np.sin(actor.heading) * ray[0]
    if abs(along) >= abs(to_right):
        return "away" if along > 0 else "toward"
    return "right" if to_right > 0 else "left"


def label_row(entry: dict[str, Any]) -> str:
    """A row of label_2: type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry."""
    numbers = [entry["alpha"], *entry["box_xyxy"], *entry["hwl"], *entry["location"], entry["ry"]]
    return f"{entry['type']} {entry['truncated']} {entry['occluded']} " + " ".join(map(_decimal, numbers))


def _decimal(number: float) -> str:
    """All the digits that a number was rounded to, without an exponent."""
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def calibration_files(view: View) -> dict[str, str]:
    """Texts of calib, denorm and extrinsics, by folder name."""
    P, ground = view.camera.P, view.camera.ground
    assert ground is not None, "every view stands on its ground"
    w, x, y, z = rotation_to_quaternion(view.R.T)
    extrinsics = [
        "transform:", "  translation:", "    x: 0.0", "    y: 0.0", f"    z: {view.height_m}",
        "  rotation:", f"    w: {w:.12f}", f"    x: {x:.12f}", f"    y: {y:.12f}", f"    z: {z:.12f}",
        "child_frame_id: camera1", "header:", "  frame_id: world", "  seq: 0",
        "  stamp:", "    nsecs: 0", "    secs: 0",
    ]  # fmt: skip
    return {
        "calib": "P2: " + " ".join(f"{value:.6f}" for value in P.reshape(-1)) + "\n",
        "denorm": " ".join(f"{value:.9f}" for value in ground) + "\n",
        "extrinsics": "\n".join(extrinsics) + "\n",
    }


def coco_annotation(entry: dict[str, Any], annotation_id: int, image_id: int) -> dict[str, Any]:
    """COCO annotation of one object; fields beyond COCO's own describe it further."""
    x1, y1, x2, y2 = entry["box_xyxy"]
    ignored = entry["visible"] < IGNORE_VISIBLE_BELOW or entry["truncated"] > IGNORE_TRUNCATED_ABOVE
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORIES.index(CATEGORY_OF_TYPE[entry["type"]]) + 1,
        "bbox": [x1, y1, round(x2 - x1, 4), round(y2 - y1, 4)],
        "area": round((x2 - x1) * (y2 - y1), 4),
        "iscrowd": int(ignored),
        "type": entry["type"],
        "range_m": entry["range_m"],
        "visible": entry["visible"],
        "truncated": entry["truncated"],
        "occluded": entry["occluded"],
        "height_px": round(y2 - y1, 3),
    }


def frame_record(frame: Frame, file_name: str) -> dict[str, Any]:
    """All that the data set's own files say about a frame, as JSON-able values."""
    camera, street = frame.view.camera, frame.street
    return {
        "file_name": file_name,
        "camera": {
            "fx": float(camera.P[0, 0]), "fy": float(camera.P[1, 1]), "cx": float(camera.P[0, 2]),
            "cy": float(camera.P[1, 2]), "height_m": frame.view.height_m,
            "pitch_deg": round(float(np.rad2deg(frame.view.pitch_rad)), 5),
            "roll_deg": round(float(np.rad2deg(frame.view.roll_rad)), 5),
        },
        "street": {
            "lanes_each_way": street.lanes, "lane_width_m": round(street.lane_width, 3),
            "yaw_deg": round(float(np.rad2deg(street.yaw_rad)), 3), "crossing": street.crossing_s is not None,
        },
        "objects": describe_objects(frame),
    }  # fmt: skip
