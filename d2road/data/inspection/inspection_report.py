"""Sums up what `frame_inspection` saw of all frames, decides what is a problem, and writes it out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.data.inspection.frame_inspection import (
    MAX_PLANE_MEDIAN_M,
    MIN_EDGE_PX,
    MIN_IOU,
    InspectedFrame,
    odd_dimensions,
)

LISTED = 10
HEIGHT_QUANTILES = (0, 10, 50, 90, 100)


def summarize(
    frames: Sequence[InspectedFrame], columns: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, Any]:
    """Counts, sizes, and, where there are 3D boxes, how well they agree with images and planes; ready for JSON.

    Sizes and classes are those of objects that are trained on and scored; the 3D checks take every 3D box, also of
    crowds and of types of no class.
    """
    if not frames:
        return {"images": 0, "objects": 0, "classes": {}}
    counted = (columns["class_id"] >= 0) & ~columns["crowd"]
    per_image = np.bincount(columns["frame"][counted], minlength=len(frames))
    report: dict[str, Any] = {
        "images": len(frames),
        "images_without_objects": int((per_image == 0).sum()),
        "objects": int(counted.sum()),
        "most_objects_in_an_image": int(per_image.max()),
        "crowds": _num_crowds(columns),
        "of_no_class": dict(Counter(columns["type"][columns["class_id"] < 0]).most_common()),
        "classes": _classes(columns, counted, class_names),
    }
    known = np.isfinite(columns["dimensions"]).all(axis=1)
    if known.any():
        report["dimensions"] = _dimensions(columns, frames)
        report["behind_camera"] = _list(columns, frames, np.flatnonzero(columns["behind"]))
    if np.isfinite(columns["iou"]).any():
        report["projection"] = _projection(columns, frames)
    if np.isfinite(columns["plane_m"]).any():
        report["ground_plane"] = _ground_plane(columns)
    return report


def _num_crowds(columns: Mapping[str, np.ndarray]) -> int:
    """Regions, each once: one that is a crowd of several classes has a row for each of them."""
    crowd = columns["crowd"]
    return len(np.unique(np.concatenate([columns["frame"][crowd, None], columns["box"][crowd]], axis=1), axis=0))


def _classes(columns: Mapping[str, np.ndarray], counted: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Objects, types and 2D heights by class; classes without objects too."""
    ids = range(max([len(names) - 1, *columns["class_id"][counted]], default=-1) + 1)
    heights = columns["box"][:, 3] - columns["box"][:, 1]
    classes = {}
    for i in ids:
        mine = counted & (columns["class_id"] == i)
        entry: dict[str, Any] = {"objects": int(mine.sum())}
        if mine.any():
            entry["types"] = dict(Counter(t for t in columns["type"][mine] if t).most_common())
            entry["height_px"] = [round(float(v), 1) for v in np.percentile(heights[mine], HEIGHT_QUANTILES)]
        classes[names[i] if i < len(names) else str(i)] = entry
    return classes


def _dimensions(columns: Mapping[str, np.ndarray], frames: Sequence[InspectedFrame]) -> dict[str, Any]:
    known = np.isfinite(columns["dimensions"]).all(axis=1)
    types = {}
    for kind in sorted(set(columns["type"][known])):
        values = columns["dimensions"][known & (columns["type"] == kind)]
        median, low, high = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
        types[kind] = {
            "objects": len(values),
            "median_hwl": np.round(median, 2).tolist(),
            "min_hwl": np.round(low, 2).tolist(),
            "max_hwl": np.round(high, 2).tolist(),
        }
    odd = np.flatnonzero(odd_dimensions(columns["type"], columns["dimensions"]))
    return {"objects": int(known.sum()), "types": types, "odd": _list(columns, frames, odd)}


def _projection(columns: Mapping[str, np.ndarray], frames: Sequence[InspectedFrame]) -> dict[str, Any]:
    iou, edge = columns["iou"], columns["edge_px"]
    known = np.flatnonzero(np.isfinite(iou))
    order = known[np.argsort(iou[known], kind="stable")]
    away = order[(iou[order] < MIN_IOU) & (edge[order] > MIN_EDGE_PX)]
    finite = edge[known][np.isfinite(edge[known])]
    return {
        "objects": len(known),
        "mean_iou": round(float(iou[known].mean()), 4),
        "median_iou": round(float(np.median(iou[known])), 4),
        "p10_iou": round(float(np.percentile(iou[known], 10)), 4),
        "median_edge_px": round(float(np.median(finite)), 2) if len(finite) else None,
        "num_away": len(away),
        "away": _list(columns, frames, away),
        "worst": _list(columns, frames, order[:LISTED]),
    }


def _ground_plane(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    off = columns["plane_m"][np.isfinite(columns["plane_m"])]
    return {
        "objects": len(off),
        "median_m": round(float(np.median(np.abs(off))), 3),
        "p90_m": round(float(np.percentile(np.abs(off), 90)), 3),
        "median_signed_m": round(float(np.median(off)), 3),
    }


def _list(
    columns: Mapping[str, np.ndarray], frames: Sequence[InspectedFrame], index: np.ndarray
) -> list[dict[str, Any]]:
    """What a user needs to find objects again."""
    return [
        {
            "file": frames[columns["frame"][i]].file,
            "frame": int(columns["frame"][i]),
            "type": columns["type"][i],
            "box": np.round(columns["box"][i], 1).tolist(),
            "dimensions_hwl": np.round(columns["dimensions"][i], 2).tolist(),
            "iou": None if np.isnan(columns["iou"][i]) else round(float(columns["iou"][i]), 3),
        }
        for i in index
    ]


def find_problems(report: Mapping[str, Any], tolerance: float) -> list[str]:
    """What is wrong with a data set, a line each.

    Args:
        report: of `summarize`, with `defects`, and `annotated`: whether the images have labels at all.
        tolerance: share of 3D objects that may be odd.
    """
    problems = []
    if report["defects"]:
        problems.append(f"{len(report['defects'])} files or labels are missing or broken")
    if not report["images"] and not report["defects"]:
        problems.append("there are no frames")
    if report["images"] and report["annotated"] and not report["objects"]:
        crowds = report["crowds"]
        found = f"its {crowds} labelled regions are all crowds or ignored" if crowds else "no image has a label"
        problems.append(f"there is no object to train on: {found}")
    dimensions, projection = report.get("dimensions"), report.get("projection")
    if dimensions:
        allowed = tolerance * dimensions["objects"]
        odd, behind = len(dimensions["odd"]), len(report["behind_camera"])
        if odd > allowed:
            problems.append(f"{odd} of {dimensions['objects']} 3D boxes have dimensions far from those of their type")
        if behind > allowed:
            problems.append(f"{behind} of {dimensions['objects']} 3D boxes have their centre behind the camera")
    if projection and projection["num_away"] > tolerance * projection["objects"]:
        problems.append(
            f"{projection['num_away']} of {projection['objects']} 3D boxes project away from their 2D boxes; if most "
            "do, calibration, order of dimensions (h w l) or meaning of ry are not those of the format"
        )
    plane = report.get("ground_plane")
    if plane and plane["median_m"] > MAX_PLANE_MEDIAN_M:
        problems.append(f"half of the objects stand {plane['median_m']:g} m or more off the ground plane")
    return problems


def report_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [f"{report['name']}: {report['images']} images"]
    if report["classes"] or report["objects"]:  # data of images alone has neither
        lines[0] += (
            f" ({report.get('images_without_objects', 0)} without objects), "
            f"{report['objects']} objects (at most {report.get('most_objects_in_an_image', 0)} in an image), "
            f"{report.get('crowds', 0)} crowds"
        )
        lines += ["", *_class_table(report)]
    if report.get("image_labels"):
        lines += ["", "images by label:"]
        for label, entry in report["image_labels"].items():
            masks = f", {entry['with_mask']} with a mask" if entry["with_mask"] else ""
            lines.append(f"  {label:20} {entry['images']}{masks}")
    if report.get("of_no_class"):
        lines += ["", "of no class: " + ", ".join(f"{kind or '?'} {n}" for kind, n in report["of_no_class"].items())]
    if "dimensions" in report:
        lines += ["", *_dimension_table(report["dimensions"])]
    if "projection" in report:
        lines += ["", *_projection_lines(report["projection"])]
    if "ground_plane" in report:
        plane = report["ground_plane"]
        lines += [
            "",
            f"distance of {plane['objects']} bottom centres from the ground plane: median {plane['median_m']:g} m, ",
        ]
        lines[-1] += f"p90 {plane['p90_m']:g} m (median with sign {plane['median_signed_m']:+g} m, above is +)"
    for title, entries in (
        ("dimensions far from those of their type", report.get("dimensions", {}).get("odd", [])),
        ("centre behind the camera", report.get("behind_camera", [])),
    ):
        lines += _listing(title, [_entry(e, e["dimensions_hwl"]) for e in entries])
    lines += _listing("notes", report["notes"])
    lines += _listing("missing or broken", report["defects"])
    opened = "" if report["pictures_opened"] else " (images were not opened: --quick)"
    lines += ["", *(f"PROBLEM: {text}" for text in report["problems"])]
    count = len(report["problems"])
    lines += [f"{count or 'no'} problem{'s' * (count != 1)}{opened}"]
    return "\n".join(lines)


def _class_table(report: Mapping[str, Any]) -> list[str]:
    total = max(1, report["objects"])
    width = max([5, *(len(name) for name in report["classes"])])
    lines = [f"{'class':{width}}  objects   share   2D height px: min    p10 median    p90    max"]
    for name, entry in report["classes"].items():
        line = f"{name:{width}}  {entry['objects']:7d}  {100 * entry['objects'] / total:5.1f} %"
        if entry["objects"]:
            line += " " * 13 + " ".join(f"{v:6.0f}" for v in entry["height_px"])
            if len(entry["types"]) > 1:
                line += "   " + ", ".join(f"{kind} {n}" for kind, n in entry["types"].items())
        lines.append(line)
    return lines


def _dimension_table(dimensions: Mapping[str, Any]) -> list[str]:
    width = max([4, *(len(kind) for kind in dimensions["types"])])
    lines = [f"{'type':{width}}  3D boxes   height, width, length in m: median (min to max)"]
    for kind, entry in dimensions["types"].items():
        triples = zip(entry["median_hwl"], entry["min_hwl"], entry["max_hwl"])
        line = "   ".join(f"{median:5.2f} ({low:.2f} to {high:.2f})" for median, low, high in triples)
        lines.append(f"{kind:{width}}  {entry['objects']:8d}   {line}")
    return lines


def _projection_lines(projection: Mapping[str, Any]) -> list[str]:
    lines = [
        f"projected 3D box against labelled 2D box, {projection['objects']} objects: mean IoU "
        f"{projection['mean_iou']:.3f}, median {projection['median_iou']:.3f}, p10 {projection['p10_iou']:.3f}; "
        "farthest edge: median "
        f"{projection['median_edge_px']} px",
        f"{projection['num_away']} project away from their label (IoU < {MIN_IOU:g} and an edge more than "
        f"{MIN_EDGE_PX:g} px off)",
    ]
    return lines + [f"  worst: {_entry(e, e['iou'])}" for e in projection["worst"][:5]]


def _entry(entry: Mapping[str, Any], value: Any) -> str:
    box = ", ".join(f"{v:g}" for v in entry["box"])
    return f"{value}  {entry['type']} at [{box}] in {entry['file']}"


def _listing(title: str, entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    more = [f"  ... and {len(entries) - LISTED} more (all of them: --json)"] if len(entries) > LISTED else []
    return ["", f"{title}: {len(entries)}", *(f"  {text}" for text in entries[:LISTED]), *more]
