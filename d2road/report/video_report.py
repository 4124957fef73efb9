"""The page of a tracked or watched video: what ran, alarms, vehicles with their speeds, flow, frames, truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.report.example_drawing import as_jpeg
from d2road.report.html_elements import Markup, element, embedded_image, table
from d2road.report.page_layout import Section, captioned, figures_of, page_of_sections
from d2road.report.video_alarms import alarm_section
from d2road.report.video_figures import (
    flow_curves,
    lane_name,
    paths_from_above,
    speed_histogram,
    time_space_png,
)
from d2road.report.video_frames import annotated_frames
from d2road.report.video_run import VideoRun
from d2road.report.video_truth import compare_with_truth
from d2road.traffic.tracking.vehicle_summary import flow_by_minute, passings, summarize_vehicles
from d2road.utils.errors import D2RoadError

OPEN_VEHICLES = 20  # rows; the rest is folded
MOST_VEHICLES = 500
LEAST_SEEN_S = 1.0  # of a vehicle whose speed counts in the table by class and lane
MOST_MINUTES = 60  # rows of the table of flow


def video_page(run: VideoRun, images: int = 6, truth: Path | None = None) -> str:
    """The HTML of a tracked or watched video.

    Args:
        images: frames that are drawn, at most. truth: folder of the rendered clip, to compare with.
    Raises:
        FileNotFoundError, DataError: `truth` is none.
    """
    vehicles = summarize_vehicles(run.tracks, run.trajectories)
    sections: list[Section] = [
        ("alarms", "Alarms", alarm_section(run)),
        ("vehicles", "Vehicles and speeds", _speeds(vehicles)),
        ("scene", "The scene from above, and over time", _scene(run)),
        ("flow", "Flow", _flow(run)),
        ("frames", "Frames", _frames(run, images)),
        ("truth", "Against the truth", [] if truth is None else _truth(run, truth)),
        ("list", "All vehicles", _vehicle_list(vehicles)),
        ("time", "Where the time went", _time(run)),
        ("settings", "Settings", _settings(run)),
        ("environment", "Environment", _pairs(_environment(run))),
        ("notes", "What should be known", [element("p", text, class_="note") for text in _notes(run)]),
    ]
    name = run.path.resolve().name
    return page_of_sections(f"Report of {name}", name, _facts(run, vehicles), sections)


def _facts(run: VideoRun, vehicles: pd.DataFrame) -> list[tuple[str, str]]:
    record, watch = run.record, run.watch
    settings = {**(watch.get("settings") or {}), **(record.get("settings") or {})}
    first = watch or record
    facts = [("state", run.state()), ("started", first.get("started", ""))]
    facts.append(("input", (record.get("settings") or {}).get("input") or watch.get("input", "")))
    facts.append(("model", settings.get("config") or settings.get("config_file") or settings.get("detections", "")))
    if run.camera is not None:
        camera = run.camera
        lanes = 0 if camera.road is None else len(camera.road.directions)
        size = f"{camera.width}x{camera.height}, {camera.height_m:.1f} m high"
        facts.append(("camera", f"{size}, {np.rad2deg(camera.pitch_rad):.1f} degrees down, {lanes} lanes"))
    frames = record.get("frames", watch.get("frames"))
    facts.append(("video", f"{frames} frames, {run.seconds:.1f} s" if frames else f"{run.seconds:.1f} s"))
    facts.append(("frames a second", record.get("frames_per_second") or ""))
    facts.append(("vehicles", str(len(vehicles))))
    if run.is_watch:
        facts.append(("alarms", str(len(run.alarms))))
    return [(label, str(value)) for label, value in facts if value not in ("", None)]


def _speeds(vehicles: pd.DataFrame) -> list[Markup]:
    known = vehicles[np.isfinite(vehicles["speed_kmh"]) & (vehicles["seen_s"] >= LEAST_SEEN_S)]
    if not len(known):
        return [element("p", "No vehicle was seen for a second or longer.", class_="note")]
    rows = [_speed_row("all", "all", known)]
    rows += [_speed_row(str(cls), "all", one) for cls, one in known.groupby("cls")]
    for (direction, lane), one in known.groupby(["direction", "lane"]):
        name = lane_name(int(direction), str(lane))
        rows += [_speed_row("all", name, one)]
        rows += [_speed_row(str(cls), name, own) for cls, own in one.groupby("cls")]
    head = ("class", "lane", "vehicles", "median km/h", "15 % slower than", "85 % slower than", "stated deviation km/h",
            "stood")  # fmt: skip
    text = (
        f"Of the {len(known)} vehicles that were seen for {LEAST_SEEN_S:g} s or longer. The speed of a vehicle is the "
        "median over its rows; the stated deviation, the median of the tracker's own, takes the calibration as exact."
    )
    figure = speed_histogram(known)
    drawn = [] if figure is None else [figures_of([("speeds by class", figure)])]
    return [element("p", text), table(head, rows), *drawn]


def _speed_row(cls: str, lane: str, vehicles: pd.DataFrame) -> tuple[str, ...]:
    low, middle, high = np.quantile(vehicles["speed_kmh"], [0.15, 0.5, 0.85])
    stood = int((vehicles["standing_s"] > 0).sum())
    deviation = vehicles["speed_sd_kmh"].median()
    return cls, lane, str(len(vehicles)), f"{middle:.1f}", f"{low:.1f}", f"{high:.1f}", f"{deviation:.1f}", str(stood)


def _scene(run: VideoRun) -> list[Markup]:
    content = []
    if run.camera is not None and len(run.tracks):
        image = as_jpeg(paths_from_above(run.tracks, run.camera))
        caption = "All tracks from above, each with a square at its end; rings stand 10 m apart from the camera's foot."
        content.append(captioned(embedded_image(image, "jpeg", "all tracks from above"), caption))
    if run.trajectories is not None:
        for direction in run.trajectories.directions:
            png = time_space_png(run.trajectories, direction, run.alarms)
            caption = "Each line is a vehicle, coloured by its speed; white frames are windows of alarms."
            content.append(captioned(embedded_image(png, "png", f"time-space diagram, direction {direction}"), caption))
    return content


def _flow(run: VideoRun) -> list[Markup]:
    if run.trajectories is None or not len(run.trajectories):
        return []
    passed = passings(run.trajectories)
    counts = flow_by_minute(passed, 0.0, run.seconds)
    names = [lane_name(*column) for column in counts.columns]
    shown = counts.iloc[:MOST_MINUTES]
    rows = [(str(minute), *(str(value) for value in row)) for minute, row in zip(shown.index, shown.to_numpy())]
    hours = run.seconds / 3600
    if hours > 0:
        rate = [f"{counts[column].sum() / hours:.0f}" for column in counts.columns]
        rows.append(("an hour", *rate))
    text = (
        f"Vehicles that pass the middle of the view, by the minute of the video; {len(passed)} do. The last minute is "
        f"cut off where the video is, which has {run.seconds:.1f} s; a rate an hour from so little is a rough one."
    )
    figure = flow_curves(passed, run.seconds)
    drawn = [] if figure is None else [figures_of([("flow of each lane", figure)])]
    return [element("p", text), table(("minute", *names), rows), *drawn] if names else []


def _frames(run: VideoRun, images: int) -> list[Markup]:
    if not images or not len(run.tracks):
        return []
    try:
        drawn = [
            captioned(embedded_image(as_jpeg(image), "jpeg", f"frame at {t:.1f} s"), f"{t:.1f} s")
            for t, image in annotated_frames(run, images)
        ]
    except (D2RoadError, OSError) as error:
        return [element("p", f"No frames: {error}", class_="note")]
    return [element("div", *drawn, class_="figures")] if drawn else []


def _truth(run: VideoRun, clip: Path) -> list[Markup]:
    if run.camera is None:
        return [element("p", "Without the camera nothing can be compared.", class_="note")]
    found = compare_with_truth(clip, run.tracks, run.camera, run.alarms, run.seconds, run.is_watch)
    content = [element("p", f"{clip}, vehicles at 10 to 80 m; rows count where half of a vehicle or more is visible.")]
    content.append(table((), found.figures))
    if found.incidents:
        content.append(table(("incident", "in view", "alarmed"), found.incidents))
    rows = [
        (str(row.id), str(row.track), f"{row.true_kmh:.1f}", f"{row.found_kmh:.1f}", f"{row.error:+.1f}")
        for row in found.speeds.itertuples()
    ]
    head = ("true vehicle", "track", "true km/h", "found km/h", "error km/h")
    summary = element("summary", f"Speeds of the {len(rows)} vehicles that a track follows")
    return [*content, element("details", summary, table(head, rows))] if rows else content


def _vehicle_list(vehicles: pd.DataFrame) -> list[Markup]:
    if not len(vehicles):
        return []
    head = (
        "track",
        "class",
        "lane",
        "first s",
        "last s",
        "km/h",
        "deviation",
        "slowest",
        "fastest",
        "stood s",
        "m away",
    )
    rows = [
        (
            str(row.track), str(row.cls), str(row.lane) or "–", f"{row.start_s:.1f}", f"{row.end_s:.1f}",
            *(_one_digit(value) for value in (row.speed_kmh, row.speed_sd_kmh, row.slowest_kmh, row.fastest_kmh)),
            f"{row.standing_s:.1f}", f"{row.near_m:.0f} to {row.far_m:.0f}",
        )
        for row in vehicles.head(MOST_VEHICLES).itertuples()
    ]  # fmt: skip
    content = [table(head, rows[:OPEN_VEHICLES])]
    if rows[OPEN_VEHICLES:]:
        more = f"{len(rows) - OPEN_VEHICLES} more" + (
            ", the rest is in tracks.csv" if len(vehicles) > len(rows) else ""
        )
        content.append(element("details", element("summary", more), table(head, rows[OPEN_VEHICLES:])))
    return content


def _one_digit(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "–"


def _time(run: VideoRun) -> list[Markup]:
    content = []
    for name, record in (("tracking", run.record), ("watch", run.watch)):
        stages = record.get("stage_seconds") or {}
        total = sum(stages.values())
        rows = [(stage, f"{value:.1f} s", f"{value / total:.0%}") for stage, value in stages.items() if total > 0]
        totals = [(key, record.get(f"{key}_seconds")) for key in ("wall", "processor")]
        rows += [(f"{key}, all", f"{value:.1f} s", "") for key, value in totals if isinstance(value, (int, float))]
        if rows:
            content.append(table((name, "", ""), rows, "numbers"))
    return [element("div", *content, class_="columns")] if content else []


def _settings(run: VideoRun) -> list[Markup]:
    rows = []
    for record in (run.record, run.watch):
        rows += [(key, value) for key, value in (record.get("settings") or {}).items()]
    rows += [(f"rules: {key}", value) for key, value in (run.watch.get("rules") or {}).items()]
    return _pairs({key: value for key, value in rows if value not in ("", None, [])})


def _environment(run: VideoRun) -> Mapping[str, Any]:
    return run.record.get("environment") or run.watch.get("environment") or {}


def _pairs(values: Mapping[str, Any]) -> list[Markup]:
    rows = [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in values.items()
    ]
    return [table((), rows)] if rows else []


def _notes(run: VideoRun) -> list[str]:
    told: list[str] = []
    for record in (run.record, run.watch):
        told += [str(text) for key in ("problems", "notes") for text in record.get(key) or ()]
    return list(dict.fromkeys([*told, *run.notes]))
