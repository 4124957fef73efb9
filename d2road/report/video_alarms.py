"""Alarms of a watch on its page: sentence, time-space image and a small copy of the clip of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2road.report.example_drawing import as_jpeg
from d2road.report.html_elements import Markup, element, embedded_image, embedded_video, table
from d2road.report.page_layout import captioned, figures_of
from d2road.report.video_figures import score_curve
from d2road.report.video_frames import LARGEST_CLIP, fitted, small_clip
from d2road.report.video_run import VideoRun
from d2road.utils.errors import D2RoadError
from d2road.utils.image_io import read_image

MOST_SHOWN = 12  # alarms with image and clip, the highest scores of all
MOST_LISTED = 200


def alarm_section(run: VideoRun) -> list[Markup]:
    """What the page says of alarms; nothing of a folder that was not watched."""
    if not run.is_watch:
        return []
    rules = run.watch.get("rules") or {}
    content = [element("p", f"{len(run.alarms)} alarm(s). {str(rules.get('threshold_is') or '').capitalize()}")]
    content += _scores(run, rules)
    shown = sorted(run.alarms, key=lambda one: -float(one.get("score", 0.0)))[:MOST_SHOWN]
    for alarm in run.alarms:
        if any(alarm is one for one in shown):
            content.append(_alarm(run.path, alarm))
    if len(run.alarms) > len(shown):
        listed = run.alarms[:MOST_LISTED]
        rows = [(one["id"], f"{float(one['t']):.1f}", f"{float(one['score']):.3g}", one["sentence"]) for one in listed]
        summary = f"{len(listed)} of {len(run.alarms)} alarms in words; all are in alarms.jsonl"
        content.append(
            element("details", element("summary", summary), table(("alarm", "s", "score", "what"), rows))
        )  # fmt: skip
    if run.others:
        events = [(str(one.get("kind", "")), str(one.get("t", "")), _told(one)) for one in run.others[:MOST_LISTED]]
        content += [element("h3", "Other events"), table(("kind", "s", "what"), events)]
    return content


def _told(record: Mapping[str, Any]) -> str:
    """An event in words: its sentence, else all that it holds."""
    return str(record.get("sentence") or ", ".join(f"{key} {value}" for key, value in record.items() if key != "kind"))


def _scores(run: VideoRun, rules: Mapping[str, Any]) -> list[Markup]:
    named = rules.get("scores")
    if not isinstance(named, str):
        return []
    places = (Path(named), run.path / Path(named).name)
    path = next((one for one in places if one.is_file()), None)
    try:
        figure = None if path is None else score_curve(path, rules.get("threshold"))
    except (OSError, ValueError, KeyError) as error:
        run.notes.append(f"{named}: {error}")
        return []
    return [] if figure is None else [figures_of([("scores of windows", figure)])]


def _alarm(folder: Path, alarm: Mapping[str, Any]) -> Markup:
    """One alarm with its figures."""
    facts = f"score {float(alarm['score']):.3g}, threshold {float(alarm['threshold']):.3g}"
    rate = alarm.get("rate_per_hour")
    if isinstance(rate, (int, float)):
        facts += f", set for {rate:g} false alarm(s) an hour"
    vehicles = [
        (("*" if one.get("culprit") else "") + str(one.get("track")), one.get("cls"), one.get("lane"),
         f"{float(one.get('speed_kmh', 0)):.0f}", f"{float(one.get('s_m', 0)):.0f}")
        for one in alarm.get("vehicles", [])
    ]  # fmt: skip
    figures = [*_image(folder, alarm.get("image")), *_clip(folder, alarm.get("clip"))]
    anew = f", names alarm {alarm['updates']} anew" if alarm.get("updates") else ""
    return element(
        "div",
        element("h3", f"{alarm['id']}{anew}: {alarm['sentence']}"),
        element("p", facts),
        element("div", *figures, class_="figures") if figures else "",
        table(("track (* it is about)", "class", "lane", "km/h", "m"), vehicles) if vehicles else "",
        *(_alarm(folder, one) for one in alarm.get("named_anew", ())),
        class_="alarm",
    )


def _image(folder: Path, name: Any) -> list[Markup]:
    if not isinstance(name, str):
        return []
    try:
        image = as_jpeg(fitted(read_image(folder / name)))
    except (D2RoadError, OSError) as error:
        return [element("p", f"{name}: {error}", class_="note")]
    return [captioned(embedded_image(image, "jpeg", f"time-space image {name}"), f"The window of the alarm ({name})")]


def _clip(folder: Path, name: Any) -> list[Markup]:
    if not isinstance(name, str):
        return []
    try:
        content = small_clip(folder / name)
    except (D2RoadError, OSError) as error:
        return [element("p", f"{name}: {error}", class_="note")]
    if content is None:
        limit = f"a small copy has more than {LARGEST_CLIP >> 20} MiB, so it is not in this page"
        return [element("p", f"The clip is {name}: {limit}.")]
    return [captioned(embedded_video(content, f"clip {name}"), f"The clip, made small ({name})")]
