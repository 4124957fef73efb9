"""Table of the records of cameras that move, as Markdown."""

from pathlib import Path
from typing import Any

from benchmarks.common.records import RESULTS, read_record
from d2road.traffic.calibration.camera_turn import AXES
from d2road.utils.output_files import atomic_write


def write_table(bench: str) -> Path:
    """Write the tables of the records that are there; returns the file."""
    lines: list[str] = []
    for part, title in (("threshold", "hours that the limit is chosen on"), ("test", "test hours")):
        record = read_record(bench, f"tracks_{part}")
        if record is not None:
            lines += _tracks(record["metrics"], title)
    record = read_record(bench, "frames")
    if record is not None:
        lines += _frames(record["metrics"])
    path = RESULTS / bench / "camera_drift.md"
    with atomic_write(path, "w") as file:
        file.write("\n".join(lines))
    return path


def _tracks(metrics: dict[str, Any], title: str) -> list[str]:
    rate, low, high = metrics["false_alarms_a_day"]
    lines = [
        f"Tracks through the model of seeing, {title}: {metrics['hours']:.0f} h of {metrics['streams']} cameras, "
        f"{metrics['tracks_a_minute']:.0f} tracks a minute, limit {metrics['limit']:g}; "
        f"{metrics['false_alarms']} false alarms, {rate:.2f} in 24 h ({low:.2f} to {high:.2f}); "
        f"highest statistic {metrics['highest_statistic']:.1f}",
        "",
        "| turn | found within 60 s | within 15 min | median delay |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, one in metrics["turns"].items():
        axis, size = name.split("_")
        delay = "-" if one["median_s"] is None else f"{one['median_s']:.0f} s"
        lines.append(f"| {axis} {size}° | {100 * one['within_60_s']:.0f} % | {100 * one['found']:.0f} % | {delay} |")
    return [*lines, ""]


def _frames(metrics: dict[str, Any]) -> list[str]:
    heads = [f"{way} {axis}" for way in ("video", "tracks") for axis in AXES]
    lines = [
        "Rendered clips, a turn of 0.2° at a random instant: delays in s", "",
        "| clip | video: alarms | tracks: alarms | " + " | ".join(heads) + " |", "|---" * (3 + len(heads)) + "|",
    ]  # fmt: skip
    for row in metrics["clips"]:
        cells = [row["clip"], *("-" if row[way] is None else str(row[way]["alarms"]) for way in ("video", "tracks"))]
        for way in ("video", "tracks"):
            cells += ["-" if row[way] is None else _delay(row[way]["delays_s"][axis]) for axis in AXES]
        lines.append("| " + " | ".join(cells) + " |")
    for way in ("video", "tracks"):
        one = metrics[way]
        if not one["clips"]:
            continue
        _, low, high = one["alarms_an_hour"]
        lines += ["", f"{way}: {one['alarms']} false alarms in {one['hours']:.2f} h ({low:.2f} to {high:.2f} an hour), "
                  f"{one['within_60_s']} of {one['turns']} turns found within 60 s"]  # fmt: skip
    return [*lines, ""]


def _delay(value: float | None) -> str:
    return "not" if value is None else f"{value:.0f}"
